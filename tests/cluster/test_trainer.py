"""TrainJobs of Kubeflow Trainer 2.3.0 on JobSet 0.12.0: what is alice's in their pods, and what happens when one dies.

What pods are like is said in a TrainingRuntime, so that is where the plan goes: a TrainJob's own patches know neither
schedulerName nor priorityClassName.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ground import ground
from kinds import (
    ALICE,
    Kinds,
    condition,
    conditions,
    exit_status,
    operators,
    uid,
    who,
)
from kinds.trainer import KIND, NAMES, NODE, train_job
from rig.api import until
from rig.cluster import Cluster
from rig.controllers import jobset
from rig.node import Node

pytestmark = pytest.mark.programs("jobset", "trainer")


@pytest.fixture(scope="module")
def kinds(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kinds]:
    storage = tmp_path_factory.mktemp("trainer") / "storage"
    with operators(cluster, node, KIND), ground(cluster, "trainer", storage) as here:
        yield Kinds(here)


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


def test_its_pods_carry_the_marks_of_every_scheduler(kinds: Kinds) -> None:
    job = train_job(kinds.under_all(), "marked")
    with kinds.made(job, *NAMES) as pods:
        assert job.lost_marks(kinds.now(job), pods.values()) == []
        assert {pod["spec"]["schedulerName"] for pod in pods.values()} == {"volcano"}


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
    job = train_job(kinds, "node-preempted", weights={NODE: "300m"})
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
