"""Nodes without a kubelet. kwok reports that they are ready and that their pods run.

Contract: kwok 0.8.0, its own stages (kustomize/stage), here given in its configuration, so that it needs no CRDs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests
import yaml

from .. import processes
from ..api import Api, Json, until
from ..cluster import Cluster
from ..extensions import read

NAME = "kwok"
# As in kwok's own deployment; only nodes with this annotation are kwok's.
PRETENDED = {"kwok.x-k8s.io/node": "fake"}
# A pod runs at once and for ever, a job's pod succeeds at once, and a deleted pod is removed.
STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
# Keeps away pods that do not tolerate it.
TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}


@dataclass(frozen=True)
class Kwok:
    """`start` it on a cluster, `add` nodes, and `stop` it."""

    cluster: Cluster
    port: int

    @classmethod
    def start(cls, cluster: Cluster, more_stages: Iterable[Json] = (), without: Iterable[str] = ()) -> Kwok:
        """more_stages: objects of kind Stage beside kwok's own; without: names of its own.  Raises DidNotStart."""
        kwok = cls(cluster, processes.free_port("127.0.0.1"))
        configuration = cluster.state / "kwok.yaml"
        stages = [stage for stage in kwok._stages() if stage["metadata"]["name"] not in set(without)]
        configuration.write_text(yaml.safe_dump_all([kwok._options(), *stages, *more_stages]))
        cluster.run(
            NAME,
            f"--config={configuration}",
            f"--kubeconfig={cluster.kubeconfig}",
            f"--server-address=127.0.0.1:{kwok.port}",
            is_ready=kwok._is_healthy,
        )
        return kwok

    def add(self, names: Iterable[str], amounts: Mapping[str, str], labels: Mapping[str, str], seconds: float) -> None:
        """Create nodes with these amounts, and wait until all are ready for pods that tolerate TAINT."""
        made = [_node(name, amounts, labels) for name in names]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._create, _parts(made, 8)))
        wanted = {node["metadata"]["name"] for node in made}

        def are_ready() -> bool:
            found = self.cluster.api.all_of("v1", "Node", labelSelector=_selector(PRETENDED))
            return wanted <= {node["metadata"]["name"] for node in found if _is_ready(node)}

        until(are_ready, f"{len(wanted)} nodes are ready", seconds=seconds, every=1)

    def stop(self) -> None:
        """Remove the nodes and end kwok. Their pods must be gone before, because only kwok reports that they ended."""
        self.cluster.api.call("DELETE", "/api/v1/nodes", labelSelector=_selector(PRETENDED))
        self.cluster.end(NAME)

    def _create(self, nodes: list[Json]) -> None:
        plane = self.cluster.plane
        api = Api(plane.url, str(plane.authority.certificate), pair=plane.administrator)  # one for each thread
        for node in nodes:
            api.create(node)

    def _stages(self) -> list[Json]:
        directory = self.cluster.source(NAME) / "kustomize" / "stage"
        found = read(*(directory / stage for stage in STAGES))
        return [obj for obj in found if obj["kind"] == "Stage"]

    def _options(self) -> Json:
        """Those of its own deployment, which take nodes by PRETENDED."""
        (options,) = read(self.cluster.source(NAME) / "kustomize" / "kwok" / "kwok.yaml")
        own = {"enableCRDs": [], "nodeIP": self.cluster.network.address}
        return {**options, "options": {**options["options"], **own}}

    def _is_healthy(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/healthz", timeout=2).ok
        except OSError:
            return False


def _node(name: str, amounts: Mapping[str, str], labels: Mapping[str, str]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": PRETENDED,
            "labels": {**PRETENDED, "kubernetes.io/hostname": name, **labels},
        },
        "spec": {"taints": [TAINT]},
        "status": {"allocatable": dict(amounts), "capacity": dict(amounts)},
    }


def _is_ready(node: Json) -> bool:
    conditions = node["status"].get("conditions", [])
    ready = any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)
    return ready and node["spec"].get("taints") == [TAINT]


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _parts(found: list[Json], count: int) -> list[list[Json]]:
    return [found[first::count] for first in range(count)]
