"""RayClusters of KubeRay: a head and two groups of one worker.  No Ray is in their image."""

from __future__ import annotations

from rig.api import Json
from rig.cluster import Cluster
from rig.controllers import ray
from rig.controllers.runtime import Operator
from rig.node import Node

from . import Composed, Kind, Kinds, conditions, template, weigh

HEAD = ("spec", "headGroupSpec", "template")
WORKERS = tuple(("spec", "workerGroupSpecs", index, "template") for index in range(2))
NAMES = ("head", "a-worker", "b-worker")
READY = {"HeadPodReady": "HeadPodRunningAndReady", "RayClusterProvisioned": "AllPodRunningAndReadyFirstTime"}


def ray_cluster(kinds: Kinds, name: str, **spec: object) -> Composed:
    """A head and two workers; `spec` is of each pod."""

    def group(letter: str) -> Json:
        return {
            "groupName": letter,
            "replicas": 1,
            "minReplicas": 0,
            "maxReplicas": 1,
            "rayStartParams": {},
            "template": template("worker", **spec),
        }

    manifest = {
        "apiVersion": ray.API,
        "kind": "RayCluster",
        "metadata": {"name": name, "annotations": {"ray.io/overwrite-container-cmd": "true"}},
        "spec": {
            "headGroupSpec": {"rayStartParams": {}, "template": template("head", **spec)},
            "workerGroupSpecs": [group("a"), group("b")],
        },
    }
    return kinds.compose("ray", manifest, {HEAD: "head", **dict.fromkeys(WORKERS, "worker")})


def operator(cluster: Cluster, node: Node) -> Operator:
    return ray.start(cluster)


def weighed(kinds: Kinds, name: str, leader: str, worker: str) -> Composed:
    made = weigh(ray_cluster(kinds, name), HEAD, leader)
    for path in WORKERS:
        made = weigh(made, path, worker)
    return made


def is_provisioned(ray_cluster: Json) -> bool:
    return "RayClusterProvisioned" in conditions(ray_cluster)


KIND = Kind("RayCluster", (operator,), weighed, NAMES, leader="head", worker="a-worker", knows=is_provisioned)
