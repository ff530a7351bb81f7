"""The cgroups of a cluster, one below every controller (cgroups(7), both versions): where the kubelet puts its pods."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

HIERARCHIES = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")


class NoCgroups(RuntimeError):
    """The cgroups cannot be made or removed; the sentence says why."""


def is_unified() -> bool:
    """Return whether the machine has version 2 only. Beside version 1 (hybrid), version 2 has no controllers."""
    return (HIERARCHIES / "cgroup.controllers").exists()


def make(name: str) -> None:
    """Make /NAME below every controller.  Raises NoCgroups."""
    for hierarchy in _hierarchies():
        directory = hierarchy / name
        try:
            if is_unified():
                _delegate(hierarchy, directory)
            else:
                directory.mkdir(parents=True, exist_ok=True)
                _inherit_cpuset(hierarchy, directory)
        except OSError as error:
            raise NoCgroups(
                f"{directory} cannot be made ({error.strerror}): containers need root and cgroups that it may write."
            ) from None


def remove(name: str, *, seconds: float = 20) -> None:
    """Kill every process in /NAME and below, and remove these cgroups. Raises NoCgroups."""
    end = time.monotonic() + seconds
    while left := [directory for hierarchy in _hierarchies() if (directory := hierarchy / name).exists()]:
        for directory in left:
            _kill(directory)
            _remove_tree(directory)
        if time.monotonic() > end:
            raise NoCgroups(f"These cgroups cannot be removed within {seconds:.0f} s: {', '.join(map(str, left))}.")
        time.sleep(0.02)


def _hierarchies() -> Iterator[Path]:
    """All that are mounted; beside version 1 also a version 2 without controllers, where runc makes cgroups too."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2") and Path(place).is_relative_to(HIERARCHIES):
            yield Path(place)


def _delegate(hierarchy: Path, directory: Path) -> None:
    """Version 2: a controller is there for a cgroup when its parent passes it on."""
    path = hierarchy
    for part in directory.relative_to(hierarchy).parts:
        for controller in CONTROLLERS:
            if controller in (path / "cgroup.controllers").read_text().split():
                (path / "cgroup.subtree_control").write_text(f"+{controller}")
        path /= part
        path.mkdir(exist_ok=True)


def _inherit_cpuset(hierarchy: Path, directory: Path) -> None:
    """Version 1: a new cpuset is empty, and nothing can run in an empty one."""
    path = hierarchy
    for part in directory.relative_to(hierarchy).parts:
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (path / file).exists():
                (path / part / file).write_text((path / file).read_text())
        path /= part


def _kill(directory: Path) -> None:
    for file in directory.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):  # gone meanwhile
            # 0 stands for a process that is just ending, but for kill(2) for all of one's own group.
            for pid in {int(word) for word in file.read_text().split()} - {0}:
                os.kill(pid, signal.SIGKILL)


def _remove_tree(directory: Path) -> None:
    deepest_first = sorted((path for path in directory.rglob("*") if path.is_dir()), reverse=True)
    for path in [*deepest_first, directory]:
        with contextlib.suppress(OSError):  # its processes have not ended yet: the next round removes it
            path.rmdir()
