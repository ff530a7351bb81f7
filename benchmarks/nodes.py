"""What a pod of either side costs kube-scheduler among thousands of nodes, on a real control plane with kwok's nodes.

As root, with the programs that `make test-cluster` builds.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from . import sides
from .processes import REPOSITORY, DidNotStart, running, tail
from .sides import Json

LIMIT_SECONDS = 3600.0


@dataclass(frozen=True)
class Run:
    """CPU of the programs, and the time from the first create until all pods run, in seconds."""

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


async def measure(nodes: int, pods: int, pairs: int) -> list[Run]:
    """Both sides in turns on one cluster, in a process that finds `rig` and KubeSpawner a kubeconfig.

    Raises DidNotStart.
    """
    with TemporaryDirectory(prefix="benchmark-") as directory:
        state = Path(directory)
        kubeconfig, log = state / "kubeconfig", state / "nodes.log"
        kubeconfig.write_text(json.dumps(sides.kubeconfig("http://127.0.0.1:1", "none")))
        path = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests" / "cluster")))
        environment = {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": path}
        arguments = ["-m", "benchmarks.nodes_cluster", directory, *map(str, (nodes, pods, pairs))]
        async with running(arguments, log, environment) as process:
            assert process.stdout is not None
            told = await asyncio.wait_for(process.stdout.read(), LIMIT_SECONDS)
            if await process.wait():
                raise DidNotStart(f"Pods among {nodes} nodes could not be measured:\n{tail(log)}")
        return [Run(**run) for run in json.loads(told)]
