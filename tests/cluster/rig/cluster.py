"""A whole cluster: its network, control plane and nodes. All its files are below one state directory."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import node, processes
from .account import Account
from .api import Json
from .containerd import Runtime
from .control_plane import ControlPlane, Flags
from .network import Network
from .node import Node

Binary = Callable[[str], Path]
Source = Callable[[str], Path]


class Cluster:
    """A running cluster. Start it with `Cluster.start`; all its files are below `state`."""

    def __init__(self, state: Path, network: Network, plane: ControlPlane, binary: Binary, source: Source) -> None:
        self.state = state
        self.network = network
        self.plane = plane
        self.api = plane.api
        self.authority = plane.authority
        self.kubeconfig = plane.kubeconfig
        self.binary = binary
        self.source = source

    @classmethod
    def start(cls, state: Path, binary: Binary, source: Source, flags: Flags | None = None) -> Cluster:
        """Remove what a killed run left in `state`, then start a new cluster.

        binary: the program of that name.  source: the module directory of that program, for its CRDs and manifests.
        Raises DidNotStart, NoNetwork.
        """
        sweep(state)
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        network = Network.make(state)
        try:
            plane = ControlPlane.start(state, network.address, binary, flags)
        except BaseException:
            sweep(state)
            raise
        return cls(state, network, plane, binary, source)

    def add_node(
        self,
        name: str = "node",
        *,
        options: Mapping[str, object] | None = None,
        labels: Mapping[str, str] | None = None,
        runtime: Runtime | None = None,
    ) -> Node:
        """Add a kubelet with containers on this machine, and wait until it is ready. Arguments as for Node.start."""
        return Node.start(self.plane, self.network, self.binary, name, options=options, labels=labels, runtime=runtime)

    def kubectl(self, *words: str) -> str:
        """Return what kubectl prints when the administrator runs it. Raises CalledProcessError with its output."""
        command: list[str | Path] = [self.binary("kubectl"), f"--kubeconfig={self.kubeconfig}", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def inside(self, pod: Json, *command: str, container: str | None = None) -> str:
        """Return what a command prints in a running container, without the last line break."""
        named = ["-c", container] if container else []
        metadata = pod["metadata"]
        return self.kubectl("exec", "-n", metadata["namespace"], metadata["name"], *named, "--", *command).rstrip("\n")

    def run(
        self,
        name: str,
        *words: str | Path,
        is_ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        account: Account | None = None,
    ) -> None:
        """Start a controller on this machine, as a pod of that account would run, and wait until it is ready.

        Without an account it has to be told the administrator's kubeconfig.  Raises DidNotStart.
        """
        command: Sequence[str | Path] = [self.binary(name), *words]
        variables = dict(environment or {})
        if account:
            command = account.command(self.plane, *command)
            variables |= account.environment(self.plane)
        process = processes.start(self.state, name, command, environment=variables)
        processes.ready(self.state, name, process, is_ready)

    def end(self, *names: str) -> None:
        processes.end(self.state, names)

    def stop(self) -> None:
        sweep(self.state)


def sweep(state: Path) -> None:
    """End all processes of the cluster in `state`, and remove everything of it on this machine but its logs."""
    # The API server would wait up to a minute for its watches to end.
    processes.end(state, ("kube-apiserver",), seconds=2)
    node.sweep(state)
    processes.end(state)
    if network := Network.of(state):
        network.remove()
    if mounted := [mount for mount in _mounts() if mount == state or state in mount.parents]:
        raise RuntimeError(f"Nothing below {state} is removed, because this is still mounted there: {mounted[0]}")
    for left in state.glob("*"):
        if left.name != "logs":
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def _mounts() -> list[Path]:
    """Return the mount points of this machine (proc_pid_mountinfo(5))."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]
