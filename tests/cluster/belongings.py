"""Find everything on this machine that belongs to a cluster, without asking the cluster."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rig import cgroups, processes
from rig.network import bridge_of

Belongings = dict[str, set[str]]


def of(state: Path) -> Belongings:
    """By kind; all of them empty when nothing but logs is left."""
    links = _links()
    bridge = [link for link in links if link.startswith(bridge_of(state))]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return {
        "processes": {f"{process.name} {process.pid}" for process in processes.running(state)},
        "containers": containers(state),
        "cgroups": set(_cgroups(bridge_of(state))),
        "links": {link.split("@")[0].split()[0] for link in [*bridge, *_links("master", bridge_of(state))]},
        "mounts": {mount for mount in mounts if str(state) in mount or bridge_of(state) in mount},
        "files": {str(path) for path in state.glob("*") if path.name != "logs"},
    }


def containers(state: Path) -> set[str]:
    """Processes in the cgroups of that cluster."""
    found: set[str] = set()
    for cgroup in _cgroups(bridge_of(state)):
        with contextlib.suppress(FileNotFoundError):  # the cgroup has just ended
            found.update(Path(cgroup, "cgroup.procs").read_text().split())
    return found


def _cgroups(name: str) -> Iterator[str]:
    """Yield the paths of the cgroups with this name and of those below.

    os.walk, other than Path.glob, goes on when a cgroup ends while it is read.
    """
    for path, _, _ in os.walk(cgroups.HIERARCHIES):
        if name in Path(path).parts:
            yield path


def _links(*which: str) -> list[str]:
    shown = subprocess.run(["ip", "-br", "link", "show", *which], check=False, capture_output=True, text=True)
    return shown.stdout.splitlines()
