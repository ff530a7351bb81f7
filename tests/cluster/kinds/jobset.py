"""JobSets: a leader and two workers."""

from __future__ import annotations

from typing import Any

from rig.api import Json
from rig.cluster import Cluster
from rig.controllers import jobset
from rig.controllers.runtime import Operator
from rig.node import Node

from . import Composed, Kind, Kinds, template, weigh

LEADER, WORKER = (("spec", "replicatedJobs", index, "template", "spec", "template") for index in range(2))
NAMES = ("leader-0-0", "worker-0-0", "worker-0-1")
# As the product gives a Job: a pod that lost its place is no failure.
IGNORE_DISRUPTION = {
    "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
}


def job_set(kinds: Kinds, name: str, *, of_job: Json | None = None, **policies: Any) -> Composed:
    """A leader and two workers, each a Job with what `of_job` says and no second attempt; `policies` of the JobSet."""

    def replicated(role: str, pods: int) -> Json:
        spec = {
            "completionMode": "Indexed",
            "parallelism": pods,
            "completions": pods,
            "backoffLimit": 0,
            "template": template(role, restartPolicy="Never"),
            **(of_job or {}),
        }
        return {"name": role, "replicas": 1, "template": {"spec": spec}}

    manifest = {
        "apiVersion": jobset.API,
        "kind": "JobSet",
        "metadata": {"name": name},
        "spec": {"replicatedJobs": [replicated("leader", 1), replicated("worker", 2)], **policies},
    }
    return kinds.compose("jobset", manifest, {LEADER: "leader", WORKER: "worker"})


def operator(cluster: Cluster, node: Node) -> Operator:
    return jobset.start(cluster)


def weighed(kinds: Kinds, name: str, leader: str, worker: str) -> Composed:
    made = job_set(kinds, name, of_job={"podFailurePolicy": IGNORE_DISRUPTION})
    return weigh(weigh(made, LEADER, leader), WORKER, worker)


KIND = Kind("JobSet", (operator,), weighed, NAMES, leader="leader-0-0", worker="worker-0-0")
