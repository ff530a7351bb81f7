"""MPIJobs of the MPI operator 0.8.0: what is alice's in their pods, and what happens when one of them dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

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
    restarts,
    uid,
    weigh,
    who,
)
from kinds.mpi import KIND, LAUNCHER, NAMES, RUNNING, WORKER, mpi_job
from rig.api import until
from rig.cluster import Cluster
from rig.node import Node

pytestmark = pytest.mark.programs("mpi-operator")


@pytest.fixture(scope="module")
def kinds(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kinds]:
    storage = tmp_path_factory.mktemp("mpi") / "storage"
    with operators(cluster, node, KIND), ground(cluster, "mpi", storage) as here:
        yield Kinds(here)


def test_its_pods_are_hers(kinds: Kinds) -> None:
    job = mpi_job(kinds, "hers")
    with kinds.running(job, *NAMES) as pods:
        for name, pod in pods.items():
            assert who(pod) == who({"spec": job.manifest["spec"]["mpiReplicaSpecs"]["Worker"]["template"]["spec"]})
            assert kinds.said(pod) == ALICE
            # The operator's own: a key pair for this job, in a volume of each of its pods.
            assert job.findings(pod, name.split("-")[0]) == {
                "spec.volumes[ssh-auth].secret": "is the secret 'hers-ssh', which pods.allow.secrets does not name"
            }


def test_its_pods_carry_the_marks_of_every_scheduler(kinds: Kinds) -> None:
    job = mpi_job(kinds.under_all(), "marked")
    with kinds.made(job, *NAMES) as pods:
        assert job.lost_marks(kinds.now(job), pods.values()) == []
        assert {pod["spec"]["schedulerName"] for pod in pods.values()} == {"volcano"}


def test_a_deleted_worker_is_made_again_and_nobody_is_told(kinds: Kinds) -> None:
    job = mpi_job(kinds, "worker-deleted")
    with kinds.running(job, *NAMES) as pods:
        kinds.kill(pods["worker-0"])
        kinds.another(pods["worker-0"])
        assert kinds.same(pods["launcher"])
        assert kinds.same(pods["worker-1"])
        kinds.becomes(job, **RUNNING)


def test_a_failed_worker_stays_failed_and_the_job_runs_on(kinds: Kinds) -> None:
    job = mpi_job(kinds, "worker-failed")
    with kinds.running(job, *NAMES) as pods:
        kinds.becomes(job, **RUNNING)
        kinds.end(pods["worker-0"], 3)
        until(lambda: _workers(kinds, job) == {"active": 1, "failed": 1}, "the operator to count it")
        time.sleep(3)
        failed = kinds.pod("worker-failed-worker-0")
        assert failed
        assert (uid(failed), exit_status(failed, "worker")) == (uid(pods["worker-0"]), 3)
        assert kinds.same(pods["launcher"])
        assert conditions(kinds.now(job)) == RUNNING

        kinds.kill(failed)
        kinds.another(failed)


def test_a_failed_worker_may_be_restarted_in_its_pod(kinds: Kinds) -> None:
    job = mpi_job(kinds, "worker-restarted", worker="OnFailure")
    with kinds.running(job, *NAMES) as pods:
        kinds.becomes(job, **RUNNING)
        kinds.end(pods["worker-0"], 3)
        until(lambda: restarts(kinds.pod("worker-restarted-worker-0")) == 1, "the kubelet to restart it")
        assert kinds.same(pods["worker-0"])
        assert conditions(kinds.now(job)) == RUNNING


def test_a_preempted_worker_waits_for_its_place_and_the_job_says_that_it_runs(kinds: Kinds) -> None:
    job = weigh(mpi_job(kinds, "worker-preempted"), WORKER)
    with kinds.running(job, *NAMES) as pods:
        kinds.becomes(job, **RUNNING)
        with kinds.preempting(pods["worker-0"], pods["worker-1"]) as victim:
            assert condition(victim, "DisruptionTarget")["reason"] == "PreemptionByScheduler"
            again = kinds.another(victim)
            assert again["status"]["phase"] == "Pending"
            assert kinds.same(pods["launcher"])
            kinds.becomes(job, **RUNNING)


def test_a_deleted_launcher_is_one_failed_attempt(kinds: Kinds) -> None:
    job = mpi_job(kinds, "launcher-deleted", backoffLimit=1)
    with kinds.running(job, *NAMES) as pods:
        kinds.kill(pods["launcher"])
        until(lambda: _launchers(kinds, job).get("failed") == 1, "the operator to count it")
        kinds.runs_again(pods["launcher"])
        assert kinds.same(pods["worker-0"])
        assert kinds.same(pods["worker-1"])
        kinds.becomes(job, **RUNNING)


def test_a_failed_launcher_ends_the_job(kinds: Kinds) -> None:
    job = mpi_job(kinds, "launcher-failed", backoffLimit=0)
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["launcher"], 7)
        kinds.becomes(job, Created="MPIJobCreated", Failed="BackoffLimitExceeded")
        until(lambda: len(kinds.pods()) == 1, "its workers are gone")
        assert exit_status(kinds.pods()[0], "launcher") == 7


def test_a_preempted_launcher_ends_a_job_that_may_not_fail(kinds: Kinds) -> None:
    """An MPIJob has no place for a podFailurePolicy: losing the place counts as failing."""
    job = weigh(mpi_job(kinds, "launcher-preempted", backoffLimit=0), LAUNCHER)
    with kinds.running(job, *NAMES) as pods, kinds.preempting(pods["launcher"]) as victim:
        assert condition(victim, "DisruptionTarget")["reason"] == "PreemptionByScheduler"
        kinds.becomes(job, Created="MPIJobCreated", Failed="BackoffLimitExceeded")


def test_a_launcher_that_succeeds_ends_the_job_and_its_workers(kinds: Kinds) -> None:
    job = mpi_job(kinds, "done")
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["launcher"], 0)
        kinds.becomes(job, Created="MPIJobCreated", Succeeded="MPIJobSucceeded")
        until(lambda: len(kinds.pods()) == 1, "its workers are gone")


def _workers(kinds: Kinds, job: Composed) -> Any:
    return kinds.now(job)["status"]["replicaStatuses"]["Worker"]


def _launchers(kinds: Kinds, job: Composed) -> Any:
    return kinds.now(job)["status"]["replicaStatuses"]["Launcher"]
