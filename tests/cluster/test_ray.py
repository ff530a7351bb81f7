"""RayClusters of KubeRay 1.6.0: what is alice's in their pods, and what happens when one of them dies.

No Ray runs here: the head and its workers are programs of ours, and what is seen is the operator's part.
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
    operators,
    restarts,
    weigh,
    who,
)
from kinds.ray import HEAD, KIND, NAMES, READY, WORKERS, ray_cluster
from rig.api import until
from rig.cluster import Cluster
from rig.node import Node

pytestmark = pytest.mark.programs("kuberay")


@pytest.fixture(scope="module")
def kinds(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kinds]:
    storage = tmp_path_factory.mktemp("ray") / "storage"
    with operators(cluster, node, KIND), ground(cluster, "ray", storage) as here:
        yield Kinds(here)


def test_its_pods_are_hers(kinds: Kinds) -> None:
    job = ray_cluster(kinds, "hers")
    with kinds.running(job, *NAMES) as pods:
        for name, pod in pods.items():
            assert who(pod)["runAsUser"] == 20001
            assert kinds.said(pod) == ALICE
            assert job.findings(pod, name.split("-")[-1]) == {}
            assert pod["spec"]["restartPolicy"] == "Always"
        kinds.becomes(job, **READY)


def test_its_pods_carry_the_marks_of_every_scheduler(kinds: Kinds) -> None:
    job = ray_cluster(kinds.under_all(), "marked")
    with kinds.made(job, *NAMES) as pods:
        assert job.lost_marks(kinds.now(job), pods.values()) == []
        assert {pod["spec"]["schedulerName"] for pod in pods.values()} == {"volcano"}


def test_a_deleted_worker_is_made_again(kinds: Kinds) -> None:
    job = ray_cluster(kinds, "worker-deleted")
    with kinds.running(job, *NAMES) as pods:
        kinds.kill(pods["a-worker"])
        kinds.runs_again(pods["a-worker"])
        assert kinds.same(pods["head"])
        assert kinds.same(pods["b-worker"])
        kinds.becomes(job, **READY)


def test_a_failed_worker_is_restarted_in_its_pod(kinds: Kinds) -> None:
    job = ray_cluster(kinds, "worker-failed")
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["a-worker"], 3)
        until(lambda: restarts(kinds.pod(pods["a-worker"]["metadata"]["name"])) == 1, "the kubelet restarts it")
        assert kinds.same(pods["a-worker"])
        kinds.becomes(job, **READY)


def test_a_failed_worker_that_is_never_restarted_is_made_again_and_its_log_is_lost(kinds: Kinds) -> None:
    job = ray_cluster(kinds, "worker-again", restartPolicy="Never")
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["a-worker"], 3)
        kinds.runs_again(pods["a-worker"])
        assert len(kinds.pods()) == 3
        assert kinds.same(pods["head"])
        kinds.becomes(job, **READY)


def test_a_preempted_worker_waits_for_its_place_and_the_cluster_says_that_it_is_ready(kinds: Kinds) -> None:
    job = weigh(ray_cluster(kinds, "worker-preempted"), WORKERS[0])
    with kinds.running(job, *NAMES) as pods:
        kinds.becomes(job, **READY)
        with kinds.preempting(pods["a-worker"]) as victim:
            assert condition(victim, "DisruptionTarget")["reason"] == "PreemptionByScheduler"
            assert kinds.another(victim)["status"]["phase"] == "Pending"
            assert kinds.same(pods["head"])
            until(lambda: kinds.now(job)["status"]["availableWorkerReplicas"] == 1, "the operator counts it")
            status = kinds.now(job)["status"]
            assert status["state"] == "ready"
            assert conditions({"status": status}) == READY
        kinds.runs_again(victim)


def test_a_deleted_head_is_made_again_and_the_workers_stay(kinds: Kinds) -> None:
    job = ray_cluster(kinds, "head-deleted")
    with kinds.running(job, *NAMES) as pods:
        kinds.becomes(job, **READY)
        kinds.kill(pods["head"])
        kinds.becomes(job, RayClusterProvisioned="AllPod")
        kinds.runs_again(pods["head"])
        assert kinds.same(pods["a-worker"])
        assert kinds.same(pods["b-worker"])
        kinds.becomes(job, **READY)


def test_a_failed_head_is_restarted_in_its_pod(kinds: Kinds) -> None:
    job = ray_cluster(kinds, "head-failed")
    with kinds.running(job, *NAMES) as pods:
        kinds.end(pods["head"], 7)
        until(lambda: restarts(kinds.pod(pods["head"]["metadata"]["name"])) == 1, "the kubelet restarts it")
        assert kinds.same(pods["head"])
        assert kinds.same(pods["a-worker"])
        kinds.becomes(job, **READY)


def test_a_preempted_head_waits_while_the_workers_hold_their_places(kinds: Kinds) -> None:
    job = weigh(ray_cluster(kinds, "head-preempted"), HEAD)
    with kinds.running(job, *NAMES) as pods:
        kinds.becomes(job, **READY)
        with kinds.preempting(pods["head"]) as victim:
            assert kinds.another(victim)["status"]["phase"] == "Pending"
            assert kinds.same(pods["a-worker"])
            assert kinds.same(pods["b-worker"])
            kinds.becomes(job, RayClusterProvisioned="AllPod")
            assert kinds.now(job)["status"]["state"] == "ready"
        kinds.runs_again(victim)


def test_the_hard_wall_time_of_its_pods_does_not_end_it(kinds: Kinds) -> None:
    """Each pod ends when its time is over, and the operator makes the next with as much time again."""
    job = ray_cluster(kinds, "no-end", activeDeadlineSeconds=20)
    with kinds.running(job, *NAMES) as pods:
        kinds.becomes(job, **READY)
        for pod in pods.values():
            kinds.runs_again(pod)
        assert kinds.now(job)["status"]["state"] == "ready"
