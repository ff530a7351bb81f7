"""TrainJobs of Kubeflow Trainer on JobSet, of kind mpi: a launcher and two nodes.

What pods are like is said in a TrainingRuntime, so that is where the plan goes: a TrainJob's own patches know neither
schedulerName nor priorityClassName.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rig.api import Json, Refused, until
from rig.cluster import Cluster
from rig.controllers import trainer
from rig.controllers.runtime import Operator
from rig.node import Node

from . import Composed, Keys, Kind, Kinds, template, weigh
from .jobset import IGNORE_DISRUPTION
from .jobset import operator as jobset_operator

LAUNCHER, NODE = (
    ("spec", "template", "spec", "replicatedJobs", index, "template", "spec", "template") for index in range(2)
)
NAMES = ("launcher-0-0", "node-0-0", "node-0-1")
IS_TRAINER = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
LAUNCHER_DECIDES = {"operator": "All", "targetReplicatedJobs": ["launcher"]}


def train_job(
    kinds: Kinds, name: str, *, of_job: Json | None = None, weights: Mapping[Keys, str] | None = None, **policies: Any
) -> Composed:
    """A TrainJob on a TrainingRuntime of its name, of kind mpi: a launcher and two nodes, no second attempt.

    `policies` are those of the JobSet that comes of it; `weights`: how much CPU the pods of those templates ask for.
    """

    def replicated(role: str, labels: Json) -> Json:
        spec = {"backoffLimit": 0, "template": template(role, restartPolicy="Never"), **(of_job or {})}
        return {"name": role, "template": {"metadata": {"labels": labels}, "spec": spec}}

    mpi = {"numProcPerNode": 1, "mpiImplementation": "OpenMPI", "sshAuthMountPath": "/tmp/ssh"}
    jobs = [replicated("launcher", {}), replicated("node", IS_TRAINER)]
    runtime = kinds.compose(
        "trainjob",
        {
            "apiVersion": trainer.API,
            "kind": "TrainingRuntime",
            "metadata": {"name": name},
            "spec": {
                "mlPolicy": {"numNodes": 2, "mpi": mpi},
                "template": {"spec": {"successPolicy": LAUNCHER_DECIDES, "replicatedJobs": jobs, **policies}},
            },
        },
        {LAUNCHER: "launcher", NODE: "node"},
    )
    for path, cpu in (weights or {}).items():
        runtime = weigh(runtime, path, cpu)
    kinds.api.create(runtime.manifest)
    reference = {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": name}
    manifest = {
        "apiVersion": trainer.API,
        "kind": "TrainJob",
        "metadata": {"name": name},
        "spec": {"runtimeRef": reference},
    }
    job = kinds.compose("trainjob", manifest, {})
    until(lambda: is_known(kinds, job), "Trainer to know the new TrainingRuntime")
    return job


def is_known(kinds: Kinds, job: Composed) -> bool:
    """Trainer's webhook looks for a TrainJob's runtime in a cache, which learns of it a moment after its creation."""
    try:
        kinds.api.create(job.manifest, dryRun="All")
    except Refused as refused:
        if "specified trainingRuntime must be created before" not in str(refused):
            raise
        return False
    return True


def operator(cluster: Cluster, node: Node) -> Operator:
    return trainer.start(cluster)


def weighed(kinds: Kinds, name: str, leader: str, worker: str) -> Composed:
    weights = {LAUNCHER: leader, NODE: worker}
    return train_job(kinds, name, of_job={"podFailurePolicy": IGNORE_DISRUPTION}, weights=weights)


KIND = Kind("TrainJob", (jobset_operator, operator), weighed, NAMES, leader="launcher-0-0", worker="node-0-0")
