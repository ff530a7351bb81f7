"""Check that a machine can run a real cluster, and say what to do where it cannot."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from . import cgroups, debian, layers, programs

OLDEST_GO = (1, 26)
# A cluster with its images: directories of containers, etcd's, logs.
FREE_GIB = 10
# What go build leaves in GOCACHE when it builds all of them, with Go 1.26.
GIB_OF_ALL_BUILDS = 20
# containerd, the kubelet and what runs out of cluster hold one each and more (inotify(7)).
INOTIFY_INSTANCES = 64
INOTIFY_SETTING = Path("/proc/sys/fs/inotify/max_user_instances")
# Without these a kubelet does not start, or a container does not.
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
DEBIAN = {
    "runc": "runc",
    "ip": "iproute2",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "nsenter": "util-linux",
    "debootstrap": "debootstrap",
}
PLUGINS = ("bridge", "host-local", "loopback")
PLACES_OF_PLUGINS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
# In a mount namespace of its own, so that nothing remains.
MOUNT_OVERLAY = """
cd "$1"
mkdir lower upper work merged
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
"""


class CannotRun(RuntimeError):
    """This machine cannot run a cluster. The message has a line for each reason, with what would help."""


def examine(directory: Path | None = None, to_build: Collection[str] | None = None) -> None:
    """Raise CannotRun unless this machine can build these programs (default: all) as far as they are not built, and run
    a cluster with its state below `directory` (default: TMPDIR)."""
    reasons = list(_reasons(directory or Path(tempfile.gettempdir()), to_build))
    if reasons:
        raise CannotRun("\n".join(reasons))


def _reasons(directory: Path, to_build: Collection[str] | None) -> Iterator[str]:
    if platform.system() != "Linux":
        yield f"A real cluster runs on Linux, and this is {platform.system()}: use a Linux machine or a virtual one."
        return
    if os.geteuid() != 0:
        yield "A real cluster runs containers, and only root can start them here: run the same command with sudo."
        return
    yield from _go()
    try:
        debian.suite()
    except layers.CannotBuildImage as error:
        yield str(error)
        return
    yield from _debian_packages()
    yield from _containers(directory)
    yield from _inotify()
    yield from _disk(directory, to_build)


def _go() -> Iterator[str]:
    wanted = ".".join(map(str, OLDEST_GO))
    try:
        version = programs.go_version()
    except programs.CannotBuild as error:
        yield str(error)
        return
    found = re.search(r"go(\d+)\.(\d+)", version)
    if not found or (int(found[1]), int(found[2])) < OLDEST_GO:
        yield (
            f"Go is {version}, and the programs of the cluster need {wanted} or newer: "
            "put one from go.dev/dl first on PATH."
        )


def _debian_packages() -> Iterator[str]:
    missing = {program: package for program, package in DEBIAN.items() if shutil.which(program) is None}
    for plugin in PLUGINS:
        if not any((place / plugin).is_file() for place in PLACES_OF_PLUGINS):
            missing[f"the CNI plugin {plugin}"] = "containernetworking-plugins"
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        yield f"{', '.join(missing)} cannot be found: apt-get install {packages}"


def _containers(directory: Path) -> Iterator[str]:
    if missing := [controller for controller in CONTROLLERS if controller not in _controllers()]:
        yield (
            f"There is no cgroup controller {', '.join(missing)} below {cgroups.HIERARCHIES}: "
            "mount it, or start the container that this runs in with --privileged --cgroupns=host."
        )
        return
    name = f"rig-examination-{os.getpid()}"
    try:
        cgroups.make(name)
        cgroups.remove(name)
    except cgroups.NoCgroups as error:
        yield str(error)
    with tempfile.TemporaryDirectory(dir=directory) as place:
        command = ["unshare", "--mount", "sh", "-euc", MOUNT_OVERLAY, "sh", place]
        try:
            mounted = subprocess.run(command, check=False, capture_output=True, text=True)
        except FileNotFoundError:  # said before, with its package
            return
    if mounted.returncode:
        yield (
            f"overlayfs cannot be mounted in {directory} ({mounted.stderr.strip()}): modprobe overlay, "
            "or set TMPDIR to a directory on a local disk."
        )


def _controllers() -> set[str]:
    """Return the cgroup controllers of this machine, of either version (cgroups(7))."""
    if cgroups.is_unified():
        return set((cgroups.HIERARCHIES / "cgroup.controllers").read_text().split())
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return {option for _, _, kind, options, *_ in mounts if kind == "cgroup" for option in options.split(",")}


def _inotify() -> Iterator[str]:
    allowed = int(INOTIFY_SETTING.read_text())
    if allowed < INOTIFY_INSTANCES:
        yield (
            f"fs.inotify.max_user_instances is {allowed}, and a cluster needs up to {INOTIFY_INSTANCES}: "
            f"sysctl fs.inotify.max_user_instances={2 * INOTIFY_INSTANCES}"
        )


def _disk(directory: Path, to_build: Collection[str] | None) -> Iterator[str]:
    """Places on one file system share what is free there."""
    wanted = [(directory, "TMPDIR", FREE_GIB), (programs.cache(), "XDG_CACHE_HOME", 0)]
    with contextlib.suppress(programs.CannotBuild):  # said before
        share = programs.share_to_build(to_build)
        wanted.append((programs.go_cache(), "GOCACHE", round(share * GIB_OF_ALL_BUILDS)))
    needed: dict[int, list[tuple[Path, str, int]]] = defaultdict(list)
    for place, variable, gib in wanted:
        existing = next(parent for parent in (place, *place.parents) if parent.exists())
        needed[existing.stat().st_dev].append((existing, variable, gib))
    for places in needed.values():
        total = sum(gib for _, _, gib in places)
        free = shutil.disk_usage(places[0][0]).free / 2**30
        if free < total:
            yield (
                f"{', '.join(str(place) for place, _, _ in places)} has {free:.1f} GiB free, and a cluster with its "
                f"images and what is still to be built needs {total}: make room, or let "
                f"{', '.join(variable for _, variable, _ in places)} be where there is more."
            )
