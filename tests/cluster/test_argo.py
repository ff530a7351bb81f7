"""Workflows of Argo 3.7.0: what is alice's in their pods, and what happens when one of them, or the controller, dies.

A Workflow has no pod template: the plan goes into a pod, and that into the Workflow's own fields and a podSpecPatch.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ground import ground
from kinds import ALICE, Composed, Kinds, condition, operators, uid, who
from kinds.argo import KIND, NAMES, executors_account, sees_running, workflow
from kinds.argo import nodes as nodes_of
from rig.api import until
from rig.cluster import Cluster
from rig.controllers.argo import Argo
from rig.node import Node

pytestmark = pytest.mark.programs("argo")

# What check says of each pod: the executor's token, the person's volumes mounted a second time, for artifacts, and two
# containers of Argo's own that do not hide NVIDIA's devices.
ARGOS_OWN = {
    "spec.initContainers[1].env",
    "spec.containers[0].env",
    "spec.volumes[exec-sa-token].secret",
    "spec.containers[0].volumeMounts[1]",
    "spec.containers[0].volumeMounts[2]",
}


@pytest.fixture(scope="module")
def argo(cluster: Cluster, node: Node) -> Iterator[Argo]:
    with operators(cluster, node, KIND) as (controller,):
        assert isinstance(controller, Argo)
        yield controller


@pytest.fixture(scope="module")
def kinds(argo: Argo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kinds]:
    with ground(argo.cluster, "argo-work", tmp_path_factory.mktemp("argo") / "storage") as here:
        argo.cluster.api.apply(*executors_account(here))
        yield Kinds(here)


def nodes(kinds: Kinds, job: Composed) -> dict[str, tuple[str, str]]:
    return nodes_of(kinds.now(job))


def seen_running(kinds: Kinds, job: Composed, *names: str) -> None:
    until(lambda: sees_running(kinds.now(job), *names), f"Argo to see {names} run")


def test_its_pods_are_hers_and_what_argo_adds_is_too(kinds: Kinds) -> None:
    job = workflow(kinds, "hers")
    with kinds.running(job, *NAMES) as pods:
        for pod in pods.values():
            assert who(pod)["runAsUser"] == 20001
            assert kinds.said(pod, "main") == ALICE
            assert set(job.findings(pod, "main")) == ARGOS_OWN
            assert pod["spec"]["containers"][0]["name"] == "wait"
            main = pod["spec"]["containers"][1]
            assert "exec-sa-token" not in {mount["name"] for mount in main["volumeMounts"]}


def test_its_pods_carry_the_marks_of_every_scheduler(kinds: Kinds) -> None:
    job = workflow(kinds.under_all(), "marked")
    with kinds.made(job, *NAMES) as pods:
        assert job.lost_marks(kinds.now(job), pods.values()) == []
        assert {pod["spec"]["schedulerName"] for pod in pods.values()} == {"volcano"}


def test_a_failed_step_fails_the_workflow_when_those_beside_it_have_ended(kinds: Kinds) -> None:
    job = workflow(kinds, "step-failed")
    with kinds.running(job, *NAMES) as pods:
        seen_running(kinds, job, *NAMES)
        kinds.end(pods["first"], 3)
        until(lambda: nodes(kinds, job)["first"][0] == "Failed", "Argo to see it")
        # With the end of its log, since our main containers have terminationMessagePolicy FallbackToLogsOnError.
        assert nodes(kinds, job)["first"][1].startswith(f"main: Error (exit code 3): {ALICE}\n")
        assert kinds.now(job)["status"]["phase"] == "Running"
        assert kinds.same(pods["second"])

        kinds.end(pods["second"], 0)
        until(lambda: kinds.now(job)["status"]["phase"] == "Failed", "the workflow to fail")
        assert "last" not in nodes(kinds, job)


def test_a_deleted_step_is_an_error_and_is_not_made_again(kinds: Kinds) -> None:
    job = workflow(kinds, "step-deleted")
    with kinds.running(job, *NAMES) as pods:
        seen_running(kinds, job, *NAMES)
        kinds.kill(pods["first"])
        until(lambda: nodes(kinds, job)["first"] == ("Error", "pod deleted"), "Argo to miss it")
        assert kinds.same(pods["second"])
        assert [uid(pod) for pod in kinds.pods()] == [uid(pods["second"])]


@pytest.mark.parametrize(("policy", "is_made_again"), [("Always", True), ("OnFailure", False)])
def test_a_deleted_step_is_tried_again_where_errors_are(kinds: Kinds, policy: str, is_made_again: bool) -> None:
    retry = {"limit": 1, "retryPolicy": policy}
    job = workflow(kinds, f"retry-{policy.lower()}", retryStrategy=retry)
    with kinds.running(job, *NAMES) as pods:
        seen_running(kinds, job, "first(0)", "second(0)")
        kinds.kill(pods["first"])
        until(lambda: nodes(kinds, job)["first(0)"] == ("Error", "pod deleted"), "Argo to miss it")
        if is_made_again:
            until(lambda: nodes(kinds, job).get("first(1)", ("",))[0] == "Running", "the second attempt to run")
        else:
            assert "first(1)" not in nodes(kinds, job)
        assert kinds.same(pods["second"])


def test_a_preempted_step_is_a_deleted_one(kinds: Kinds) -> None:
    job = workflow(kinds, "step-preempted", cpu="300m")
    with kinds.running(job, *NAMES) as pods:
        seen_running(kinds, job, *NAMES)
        with kinds.preempting(*pods.values()) as victim:
            assert condition(victim, "DisruptionTarget")["reason"] == "PreemptionByScheduler"
            (lost,) = (name for name in NAMES if uid(pods[name]) == uid(victim))
            until(lambda: nodes(kinds, job)[lost] == ("Error", "pod deleted"), "Argo to miss it")


def test_the_controller_may_be_gone_for_a_while(kinds: Kinds, argo: Argo) -> None:
    """It is what launches: steps run on without it, and what has ended meanwhile is counted."""
    job = workflow(kinds, "no-controller")
    with kinds.running(job, *NAMES) as pods:
        seen_running(kinds, job, *NAMES)
        argo.down()
        kinds.end(pods["first"], 0)
        kinds.end(pods["second"], 0)
        until(lambda: {pod["status"]["phase"] for pod in kinds.pods()} == {"Succeeded"}, "both to end")
        assert len(kinds.pods()) == 2

        argo.up()
        until(lambda: len(kinds.pods()) == 3, "the last step to begin")
        until(lambda: nodes(kinds, job)["first"][0] == "Succeeded", "Argo to have counted the first")
