"""One whole cluster: its network, control plane and nodes, below one state directory."""

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
    """Start it with `Cluster.start`.  Everything that it has on disk is below `state`."""

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
        """Sweep what a killed run left in `state`, then start anew.

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
        """A kubelet with containers on this machine, ready when this returns.  Arguments as of Node.start."""
        return Node.start(self.plane, self.network, self.binary, name, options=options, labels=labels, runtime=runtime)

    def kubectl(self, *words: str) -> str:
        """What kubectl prints, as the administrator.  Raises CalledProcessError with what it said."""
        command: list[str | Path] = [self.binary("kubectl"), f"--kubeconfig={self.kubeconfig}", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def inside(self, pod: Json, *command: str, container: str | None = None) -> str:
        """What a command prints in a running container, without the last line break."""
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
    """End what runs in `state`, whoever started it, and remove what it left on this machine.  Logs stay."""
    # The API server waits up to a minute for its watches to end; nobody needs that here.
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
    """Mount points of this machine (proc_pid_mountinfo(5))."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [Path(line.split()[4].encode().decode("unicode_escape")) for line in lines]
