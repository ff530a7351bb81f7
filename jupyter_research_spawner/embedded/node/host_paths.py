"""Run containers without namespaces: translate their paths into paths of this machine.

HOME, the working directory and the words of the command are translated if they are paths in a mount.  A file that is
mounted into a directory of PATH is copied into the pod's own directory, which is put first in PATH.  The annotation
NOT_HONOURED names everything else that the pod requests but does not get.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from ..apimachinery.object_fields import Json
from .container_process import Mount

NOT_HONOURED = "embedded/not-honoured"  # annotation: a list such as "uid, gid, groups, mounts"


def not_honoured(pod: Json) -> str:
    """Return what the pod requests but does not get, such as "uid, gid", or an empty string."""
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
    """Translate a path in the container to the path on this machine.  Return None if no mount contains it.

    A path in the source directory of a mount is returned unchanged.
    """
    inside = PurePosixPath(path)
    if any(mount.source == Path(path) or mount.source in Path(path).parents for mount in mounts):
        return Path(path)
    for mount in sorted(mounts, key=lambda mount: len(mount.target), reverse=True):
        if inside == PurePosixPath(mount.target) or PurePosixPath(mount.target) in inside.parents:
            return mount.source / inside.relative_to(mount.target)
    return None


def adapt(env: dict[str, str], cwd: str, mounts: list[Mount], directory: Path) -> tuple[dict[str, str], str]:
    """Return the environment and working directory with paths of this machine.  New files are below `directory`."""
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
