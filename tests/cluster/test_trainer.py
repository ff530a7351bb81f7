"""TrainJobs of Kubeflow Trainer 2.3.0 on JobSet 0.12.0: what is alice's in their pods, and what happens when one dies.

What pods are like is said in a TrainingRuntime, so that is where the plan goes: a TrainJob's own patches know neither
schedulerName nor priorityClassName.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ground import ground
from kinds import (
    ALICE,
    MARKING,
    Composed,
    Kinds,
    condition,
    conditions,
    exit_status,
    marks_of,
    template,
    uid,
    weigh,
    who,
)
from rig.api import Json, Refused, until
from rig.cluster import Cluster
from rig.controllers import jobset, trainer
from rig.node import Node

pytestmark = pytest.mark.programs("jobset", "trainer")

LAUNCHER, NODE = (
    ("spec", "template", "spec", "replicatedJobs", index, "template", "spec", "template") for index in range(2)
)
NAMES = ("launcher-0-0", "node-0-0", "node-0-1")
IS_TRAINER = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
LAUNCHER_DECIDES = {"operator": "All", "targetReplicatedJobs": ["launcher"]}


@pytest.fixture(scope="module")
def kinds(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kinds]:
    below = jobset.start(cluster)
    try:
        operator = trainer.start(cluster)
        try:
            with ground(cluster, "trainer", tmp_path_factory.mktemp("trainer") / "storage") as here:
                yield Kinds(here)
        finally:
            operator.stop()
    finally:
        below.stop()


def train_job(
    kinds: Kinds, name: str, *, of_job: Json | None = None, heavy: tuple[str | int, ...] | None = None, **policies: Any
) -> Composed:
    """A TrainJob on a TrainingRuntime of its name, of kind mpi: a launcher and two nodes, no second attempt.

    `policies` are those of the JobSet that comes of it; `heavy`: the template whose pods a preemptor needs the CPU of.
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
    kinds.api.create((weigh(runtime, heavy) if heavy else runtime).manifest)
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


def test_its_pods_are_hers(kinds: Kinds) -> None:
    job = train_job(kinds, "hers")
    with kinds.running(job, *NAMES) as pods:
        for name, pod in pods.items():
            assert who(pod)["runAsUser"] == 20001
            assert kinds.said(pod) == ALICE
            # Trainer's own: a key pair for this job, in a volume of each of its pods.
            assert job.findings(pod, name.split("-")[0]) == {
                "spec.volumes[mpi-ssh-auth].secret": (
                    "is the secret 'hers-mpi-ssh-auth', which pods.allow.secrets does not name"
                )
            }


@pytest.mark.parametrize("scheduler", MARKING)
def test_its_pods_carry_the_marks_of_a_scheduler(kinds: Kinds, scheduler: str) -> None:
    job = train_job(kinds.under(scheduler), f"marked-by-{scheduler}")
    with kinds.made(job, *NAMES) as pods:
        for name, pod in pods.items():
            assert list(job.findings(pod, name.split("-")[0])) == ["spec.volumes[mpi-ssh-auth].secret"]
        assert marks_of(kinds.now(job), job.plan) == marks_of(job.manifest, job.plan)


def test_marks_of_the_train_job_do_not_reach_its_job_set(kinds: Kinds) -> None:
    """Only a scheduler that looks at the TrainJob itself sees the queue there; others need it in the runtime."""
    job = train_job(kinds, "marks")
    with kinds.running(job, *NAMES):
        made = kinds.api.get(jobset.API, "JobSet", "marks", kinds.ground.namespace)
        assert made["metadata"].get("labels") is None
        assert made["metadata"].get("annotations") is None


def test_a_deleted_node_is_made_again_where_its_job_may_fail_once(kinds: Kinds) -> None:
    job = train_job(kinds, "node-deleted", of_job={"backoffLimit": 1})
    with kinds.running(job, *NAMES) as pods:
        kinds.kill(pods["node-0-0"])
        kinds.runs_again(pods["node-0-0"])
        assert kinds.same(pods["launcher-0-0"])
        assert kinds.same(pods["node-0-1"])
        assert conditions(kinds.now(job)) == {}


def test_a_failed_node_ends_the_job(kinds: Kinds) -> None:
    job = train_job(kinds, "node-failed")
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["node-0-0"], 3)
        failed = condition(kinds.becomes(job, Failed="FailedJobs"), "Failed")
        assert failed["message"].endswith("(first failed job: node-failed-node-0)")
        until(lambda: len(kinds.pods()) == 1, "the others are gone")
        assert [exit_status(pod, "node") for pod in kinds.pods()] == [3]


def test_with_a_failure_policy_a_failed_node_restarts_everybody(kinds: Kinds) -> None:
    job = train_job(kinds, "all-restarted", failurePolicy={"maxRestarts": 1})
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["node-0-0"], 3)
        for name in NAMES:
            kinds.runs_again(pods[name])
        assert not {uid(pod) for pod in kinds.pods()} & {uid(pod) for pod in pods.values()}


def test_a_preempted_node_ends_the_job(kinds: Kinds) -> None:
    job = train_job(kinds, "node-preempted", heavy=NODE)
    with kinds.running(job, *NAMES) as pods, kinds.preempting(pods["node-0-0"], pods["node-0-1"]) as victim:
        assert condition(victim, "DisruptionTarget")["reason"] == "PreemptionByScheduler"
        kinds.becomes(job, Failed="FailedJobs")


def test_a_failed_launcher_ends_the_job_and_a_deleted_one_too(kinds: Kinds) -> None:
    job = train_job(kinds, "launcher-failed")
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["launcher-0-0"], 7)
        kinds.becomes(job, Failed="FailedJobs")
        until(lambda: len(kinds.pods()) == 1, "its nodes are gone")
    job = train_job(kinds, "launcher-deleted")
    with kinds.running(job, *NAMES) as pods:
        kinds.kill(pods["launcher-0-0"])
        kinds.becomes(job, Failed="FailedJobs")
        until(lambda: not kinds.pods(), "all are gone")


def test_a_launcher_that_succeeds_ends_the_job_and_its_nodes(kinds: Kinds) -> None:
    job = train_job(kinds, "done")
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["launcher-0-0"], 0)
        kinds.becomes(job, Complete="AllJobsCompleted")
        until(lambda: len(kinds.pods()) == 1, "its nodes are gone")
