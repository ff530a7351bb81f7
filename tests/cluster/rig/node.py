"""A real node: containerd and kubelet in namespaces and cgroups of their own, pods on the cluster's bridge."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from . import cgroups, containerd, kubelet, processes
from .api import Api, Json, Refused, until
from .containerd import Runtime
from .control_plane import ControlPlane
from .namespaces import Namespaces
from .network import Network, bridge_of

Binary = Callable[[str], Path]


def programs_of(node: str) -> tuple[str, str, str]:
    """Return the names of its programs in the logs and in processes.end."""
    return f"{node}-namespaces", f"{node}-containerd", f"{node}-kubelet"


class Node:
    """A running node. Start it with `Node.start`; a cluster can have several."""

    def __init__(self, api: Api, namespaces: Namespaces, runtime: Runtime, directory: Path) -> None:
        self.name = namespaces.name
        self._api = api
        self._namespaces = namespaces
        self._runtime = runtime
        self._directory = directory

    @classmethod
    def start(
        cls,
        plane: ControlPlane,
        network: Network,
        binary: Binary,
        name: str = "node",
        *,
        options: Mapping[str, object] | None = None,
        labels: Mapping[str, str] | None = None,
        runtime: Runtime | None = None,
    ) -> Node:
        """Start a node, and wait until it is ready for pods. It has no images yet.

        options: go over the KubeletConfiguration, as {"cpuManagerPolicy": "static", "reservedSystemCPUs": "0"}.
        runtime: of another containerd than `binary` has.
        Raises DidNotStart, NoCgroups.
        """
        directory = _nodes(plane.state) / name
        _end(plane.state, name)
        directory.mkdir(parents=True)
        cgroup = _cgroup(plane.state, name)
        cgroups.make(cgroup)
        namespaces = Namespaces.make(
            plane.state,
            name,
            own=kubelet.own_places(directory) | {Path("/var/lib/cni"): directory / "cni-cache"},
        )
        node = cls(plane.api, namespaces, runtime or Runtime.of(binary), directory)
        node._start_containerd(network)
        node._start_kubelet(plane, network, binary("kubelet"), options or {}, labels or {})
        return node

    def import_images(self, write: Callable[[IO[bytes]], None]) -> None:
        """Import the images of an archive that `write` writes."""
        containerd.import_images(self._namespaces, self._runtime, write)

    def status(self) -> Json:
        found: Json = self._api.get("v1", "Node", self.name)["status"]
        return found

    def stop(self) -> None:
        """End its programs and all its containers, and remove it from the cluster.  Its logs stay."""
        _end(self._namespaces.state, self.name)
        with contextlib.suppress(Refused, OSError):  # the control plane may have ended before
            self._api.delete({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}})

    def _start_containerd(self, network: Network) -> None:
        program, process = containerd.start(self._namespaces, self._runtime, self._directory, network)
        answers = lambda: containerd.answers(self._namespaces, self._runtime)  # noqa: E731
        processes.ready(self._namespaces.state, program, process, answers)

    def _start_kubelet(
        self,
        plane: ControlPlane,
        network: Network,
        program: Path,
        options: Mapping[str, object],
        labels: Mapping[str, str],
    ) -> None:
        account = kubelet.Account(
            plane.client_config(f"{self.name}-kubelet", f"system:node:{self.name}", "system:nodes"),
            plane.authority.certificate,
            plane.authority.pair(f"{self.name}-kubelet-serving", hosts=[network.address, self.name]),
        )
        kubelet.start(
            self._namespaces,
            program,
            self._directory,
            address=network.address,
            account=account,
            cgroup=f"/{_cgroup(plane.state, self.name)}",
            options=options,
            labels=labels,
        )
        until(self._is_ready, f"node {self.name} to be Ready (logs: {plane.state / 'logs'})")

    def _is_ready(self) -> bool:
        found = self._api.find("v1", "Node", self.name)
        conditions = found["status"].get("conditions", []) if found else []
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def sweep(state: Path) -> None:
    """End what is left of all nodes of the cluster in `state`, and remove what they left on this machine but logs."""
    for directory in _nodes(state).glob("*"):
        _end(state, directory.name)
    cgroups.remove(bridge_of(state))


def _end(state: Path, name: str) -> None:
    # A container has nothing that says whose it is, but it ends with the first process of its node's namespaces.
    for process in processes.running(state):
        if process.name in programs_of(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    processes.end(state, programs_of(name))
    cgroups.remove(_cgroup(state, name))
    directory = _nodes(state) / name
    _free_addresses(state, directory)
    if directory.exists():
        shutil.rmtree(directory)


def _free_addresses(state: Path, directory: Path) -> None:
    """The nodes of a cluster share one store of addresses; a file there begins with the container that has it."""
    containers = {result.name.split("-")[1] for result in (directory / "cni-cache").glob("results/*-*-*")}
    for address in (state / "addresses").glob("*/*.*.*.*"):
        if address.read_text().split("\n")[0].strip() in containers:
            address.unlink()


def _nodes(state: Path) -> Path:
    return state / "nodes"


def _cgroup(state: Path, name: str) -> str:
    return f"{bridge_of(state)}/{name}"
