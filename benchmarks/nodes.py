"""Measure kube-scheduler's CPU time per pod in a real control plane with thousands of kwok nodes.

The measurement needs root and the programs that `make test-cluster` builds.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from . import sides
from .processes import REPOSITORY, StartFailed, running, tail
from .sides import Json

LIMIT_SECONDS = 3600.0


@dataclass(frozen=True)
class Run:
    """The CPU seconds of each program, and the seconds from the creation of the first pod until all pods run."""

    side: str
    pods: int
    scheduler_cpu: float
    api_server_cpu: float
    wall: float

    @property
    def scheduler_ms_per_pod(self) -> float:
        return 1000 * self.scheduler_cpu / self.pods

    @property
    def api_server_ms_per_pod(self) -> float:
        return 1000 * self.api_server_cpu / self.pods

    def as_json(self) -> Json:
        return asdict(self)


async def measure(nodes: int, pods: int) -> list[Run]:
    """Return one run of each spawner, which use the same cluster in turn.  Raises StartFailed.

    The runs need a separate process, whose environment contains the path of `rig` and KubeSpawner's kubeconfig.
    """
    with TemporaryDirectory(prefix="benchmark-") as directory:
        state = Path(directory)
        kubeconfig, log = state / "kubeconfig", state / "nodes.log"
        kubeconfig.write_text(json.dumps(sides.kubeconfig("http://127.0.0.1:1", "none")))
        path = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests" / "cluster")))
        environment = {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": path}
        arguments = ["-m", "benchmarks.nodes_cluster", directory, *map(str, (nodes, pods))]
        async with running(arguments, log, environment) as process:
            assert process.stdout is not None
            told = await asyncio.wait_for(process.stdout.read(), LIMIT_SECONDS)
            if await process.wait():
                raise StartFailed(f"Pods on {nodes} nodes could not be measured:\n{tail(log)}")
        return [Run(**run) for run in json.loads(told)]
