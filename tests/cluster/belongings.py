"""Find everything on this machine that belongs to a cluster, without asking the cluster."""

from __future__ import annotations

import subprocess
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
        "cgroups": {str(path) for path in cgroups.HIERARCHIES.glob(f"**/{bridge_of(state)}/**")},
        "links": {link.split("@")[0].split()[0] for link in [*bridge, *_links("master", bridge_of(state))]},
        "mounts": {mount for mount in mounts if str(state) in mount or bridge_of(state) in mount},
        "files": {str(path) for path in state.glob("*") if path.name != "logs"},
    }


def containers(state: Path) -> set[str]:
    """Processes in the cgroups of that cluster."""
    found = cgroups.HIERARCHIES.glob(f"**/{bridge_of(state)}/**/cgroup.procs")
    return {pid for file in found for pid in file.read_text().split()}


def _links(*which: str) -> list[str]:
    shown = subprocess.run(["ip", "-br", "link", "show", *which], check=False, capture_output=True, text=True)
    return shown.stdout.splitlines()
