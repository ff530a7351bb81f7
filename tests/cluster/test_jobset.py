"""JobSets of JobSet 0.12.0: what is alice's in their pods, and what happens when one of them dies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from ground import ground
from kinds import (
    ALICE,
    Composed,
    Kinds,
    condition,
    conditions,
    exit_status,
    operators,
    uid,
    weigh,
    who,
)
from kinds.jobset import IGNORE_DISRUPTION, KIND, NAMES, WORKER, job_set
from rig.api import until
from rig.cluster import Cluster
from rig.node import Node

pytestmark = pytest.mark.programs("jobset")


@pytest.fixture(scope="module")
def kinds(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kinds]:
    storage = tmp_path_factory.mktemp("jobset") / "storage"
    with operators(cluster, node, KIND), ground(cluster, "jobset", storage) as here:
        yield Kinds(here)


def test_its_pods_are_hers_and_nothing_is_added(kinds: Kinds) -> None:
    job = job_set(kinds, "hers")
    with kinds.running(job, *NAMES) as pods:
        for name, pod in pods.items():
            assert who(pod)["runAsUser"] == 20001
            assert kinds.said(pod) == ALICE
            assert job.findings(pod, name.split("-")[0]) == {}


def test_its_pods_carry_the_marks_of_every_scheduler(kinds: Kinds) -> None:
    job = job_set(kinds.under_all(), "marked")
    with kinds.made(job, *NAMES) as pods:
        assert job.lost_marks(kinds.now(job), pods.values()) == []
        assert {pod["spec"]["schedulerName"] for pod in pods.values()} == {"volcano"}


def test_a_deleted_worker_is_made_again_where_its_job_may_fail_once(kinds: Kinds) -> None:
    job = job_set(kinds, "worker-deleted", of_job={"backoffLimit": 1})
    with kinds.running(job, *NAMES) as pods:
        kinds.kill(pods["worker-0-0"])
        kinds.runs_again(pods["worker-0-0"])
        assert kinds.same(pods["leader-0-0"])
        assert kinds.same(pods["worker-0-1"])
        assert conditions(kinds.now(job)) == {}


def test_a_failed_worker_ends_all_of_it(kinds: Kinds) -> None:
    job = job_set(kinds, "worker-failed")
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["worker-0-0"], 3)
        status = kinds.becomes(job, Failed="FailedJobs")["status"]
        assert status["terminalState"] == "Failed"
        assert condition({"status": status}, "Failed")["message"].endswith("(first failed job: worker-failed-worker-0)")
        until(lambda: len(kinds.pods()) == 1, "the others are gone")
        assert [exit_status(pod, "worker") for pod in kinds.pods()] == [3]


def test_with_a_failure_policy_a_failed_worker_restarts_everybody_and_its_log_is_lost(kinds: Kinds) -> None:
    job = job_set(kinds, "all-restarted", failurePolicy={"maxRestarts": 1})
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["worker-0-0"], 3)
        for name in NAMES:
            kinds.runs_again(pods[name])
        assert not {uid(pod) for pod in kinds.pods()} & {uid(pod) for pod in pods.values()}
        assert kinds.now(job)["status"]["restarts"] == 1


def test_a_failed_leader_is_a_failed_worker(kinds: Kinds) -> None:
    job = job_set(kinds, "leader-failed")
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["leader-0-0"], 7)
        kinds.becomes(job, Failed="FailedJobs")
        until(lambda: len(kinds.pods()) == 1, "the workers are gone")


def test_a_deleted_leader_that_may_not_fail_ends_all_of_it(kinds: Kinds) -> None:
    job = job_set(kinds, "leader-deleted")
    with kinds.running(job, *NAMES) as pods:
        kinds.kill(pods["leader-0-0"])
        kinds.becomes(job, Failed="FailedJobs")
        until(lambda: not kinds.pods(), "all are gone")


def test_a_leader_that_succeeds_ends_it_only_where_the_success_policy_says_so(kinds: Kinds) -> None:
    policy = {"operator": "All", "targetReplicatedJobs": ["leader"]}
    job = job_set(kinds, "done", successPolicy=policy)
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["leader-0-0"], 0)
        kinds.becomes(job, Completed="AllJobsCompleted")
        until(lambda: len(kinds.pods()) == 1, "the workers are gone")

    job = job_set(kinds, "not-done")
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["leader-0-0"], 0)
        until(lambda: _succeeded(kinds, job) == {"leader": 1, "worker": 0}, "the leader's success is counted")
        assert kinds.same(pods["worker-0-0"])
        assert conditions(kinds.now(job)) == {}


def test_a_preempted_worker_ends_all_of_it(kinds: Kinds) -> None:
    job = weigh(job_set(kinds, "worker-preempted"), WORKER)
    with kinds.running(job, *NAMES) as pods, kinds.preempting(pods["worker-0-0"], pods["worker-0-1"]) as victim:
        assert condition(victim, "DisruptionTarget")["reason"] == "PreemptionByScheduler"
        kinds.becomes(job, Failed="FailedJobs")


def test_a_preempted_worker_alone_waits_for_its_place_where_disruptions_are_ignored(kinds: Kinds) -> None:
    job = weigh(job_set(kinds, "worker-waits", of_job={"podFailurePolicy": IGNORE_DISRUPTION}), WORKER)
    with kinds.running(job, *NAMES) as pods:
        with kinds.preempting(pods["worker-0-0"], pods["worker-0-1"]) as victim:
            assert kinds.another(victim)["status"]["phase"] == "Pending"
            assert kinds.same(pods["leader-0-0"])
            assert conditions(kinds.now(job)) == {}
        kinds.runs_again(victim)


def test_a_priority_below_zero_leaves_it_without_pods_and_without_a_word(kinds: Kinds) -> None:
    """JobSet writes the priority of a pod into a label, which may not begin with a dash."""
    job = job_set(replace(kinds, queue="backfill"), "negative")
    here = kinds.ground.namespace

    def is_refused() -> bool:
        told = [event for event in kinds.api.events(here, "negative-leader-0") if event["reason"] == "FailedCreate"]
        return any('Invalid value: "-100": a valid label' in event["message"] for event in told)

    with kinds.created(job):
        until(is_refused, "its pods are refused")
        assert kinds.of(job) == []
        assert conditions(kinds.now(job)) == {}


def _succeeded(kinds: Kinds, job: Composed) -> dict[str, int]:
    return {one["name"]: one["succeeded"] for one in kinds.now(job)["status"]["replicatedJobsStatus"]}
