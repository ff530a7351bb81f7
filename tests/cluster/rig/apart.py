"""Programs in a network namespace of their own, because they listen on a port that cannot be configured."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from . import processes
from .api import until
from .cluster import Cluster
from .network import NoNetwork

# The program starts as soon as it can reach the address in $1.
_WHEN_CONNECTED = 'until ip -4 route get "$1" > /dev/null 2>&1; do sleep 0.05; done; shift; '
_ONCE = _WHEN_CONNECTED + 'exec "$@"'
_RESTARTED = _WHEN_CONNECTED + 'while :; do "$@" || :; sleep 1; done'

# Each has an address of its own.
APART = ("yunikorn-scheduler", "mpi-operator", "yunikorn-admission-controller")


def address(cluster: Cluster, name: str) -> str:
    return cluster.network.apart(APART.index(name))


def run(
    cluster: Cluster,
    name: str,
    *words: str | Path,
    is_ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    restarted: bool = False,
) -> None:
    """Start one of APART at its address, and wait until it is ready. Its network namespace ends with it.

    restarted: start the program again whenever it ends, as a Deployment does.
    Raises DidNotStart, NoNetwork.
    """
    process = processes.start(
        cluster.state,
        name,
        [
            *("unshare", "--net", "--", "sh", "-ec", _RESTARTED if restarted else _ONCE, "sh", cluster.network.address),
            *(cluster.binary(name), *words),
        ],
        environment=environment,
    )
    until(lambda: _network_of(process.pid) != _network_of("self"), f"{name} has a network of its own")
    _connect(process.pid, cluster, name)
    processes.ready(cluster.state, name, process, is_ready)


def _connect(pid: int, cluster: Cluster, name: str) -> None:
    """Give the process an interface on the bridge.  It ends with the process's network namespace."""
    bridge = cluster.network.bridge
    outer, inside = f"{bridge}a{APART.index(name)}", ["nsenter", f"--target={pid}", "--net", "--", "ip"]
    peer = ["peer", "name", "up0", "netns", str(pid)]
    for command in (
        ["ip", "link", "add", outer, "master", bridge, "up", "type", "veth", *peer],
        [*inside, "link", "set", "lo", "up"],
        [*inside, "address", "add", f"{address(cluster, name)}/24", "dev", "up0"],
        [*inside, "link", "set", "up0", "up"],
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise NoNetwork(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


def _network_of(pid: int | Literal["self"]) -> str:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    return ""
