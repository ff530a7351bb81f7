"""Containers without namespaces: every process is the caller's, so paths of the container become paths of this machine.

HOME, the working directory and every word of the command that is such a path are translated through the mounts; a file
that would be mounted into a directory of PATH is put into a directory of the pod's own, first on PATH.  What else the
pod asked for is named, not faked.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from ..apimachinery.object_fields import Json
from .container_process import Mount

NOT_HONOURED = "embedded/not-honoured"  # annotation: a list such as "uid, gid, groups, mounts"


def not_honoured(pod: Json) -> str:
    """What this pod asks for and does not get, as one annotation's text; empty when nothing."""
    spec = pod["spec"]
    contexts = [spec.get("securityContext") or {}, *[c.get("securityContext") or {} for c in spec["containers"]]]
    groups = {
        *(contexts[0].get("supplementalGroups") or []),
        *([contexts[0]["fsGroup"]] if "fsGroup" in contexts[0] else []),
    }
    missing = {
        "uid": any(context.get("runAsUser", os.getuid()) != os.getuid() for context in contexts),
        "gid": any(context.get("runAsGroup", os.getgid()) != os.getgid() for context in contexts),
        "groups": bool(groups - {*os.getgroups(), os.getgid()}),
        "mounts": any(container.get("volumeMounts") for container in spec["containers"]),
    }
    return ", ".join(name for name, lacks in missing.items() if lacks)


def on_host(path: str, mounts: list[Mount]) -> Path | None:
    """Where a path of the container lies on this machine; None when no mount brings it.

    A program that asked for its own directory names it as it is on this machine, and it stays so.
    """
    inside = PurePosixPath(path)
    if any(mount.source == Path(path) or mount.source in Path(path).parents for mount in mounts):
        return Path(path)
    for mount in sorted(mounts, key=lambda mount: len(mount.target), reverse=True):
        if inside == PurePosixPath(mount.target) or PurePosixPath(mount.target) in inside.parents:
            return mount.source / inside.relative_to(mount.target)
    return None


def adapt(env: dict[str, str], cwd: str, mounts: list[Mount], directory: Path) -> tuple[dict[str, str], str]:
    """Environment and working directory for a plain process; `directory` is the container's own and may be written."""
    home = on_host(env["HOME"], mounts) if "HOME" in env else None
    if home is None or not home.is_dir():
        home = directory / "home"
        home.mkdir(parents=True, exist_ok=True)
    found = on_host(cwd, mounts) or (Path(cwd) if cwd and Path(cwd).is_dir() else home)
    programs = _programs(env["PATH"], mounts, directory / "bin")
    path = f"{programs}:{env['PATH']}" if programs else env["PATH"]
    return {**env, "HOME": str(home), "PATH": path}, str(found)


def words_on_host(argv: list[str], mounts: list[Mount]) -> list[str]:
    return [str((word.startswith("/") and on_host(word, mounts)) or word) for word in argv]


def _programs(path: str, mounts: list[Mount], directory: Path) -> Path | None:
    wanted = [m for m in mounts if m.source.is_file() and str(PurePosixPath(m.target).parent) in path.split(":")]
    if not wanted:
        return None
    directory.mkdir(parents=True, exist_ok=True)
    for mount in wanted:
        shutil.copy(mount.source, directory / PurePosixPath(mount.target).name)
    return directory
