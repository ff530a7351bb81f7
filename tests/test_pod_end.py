"""Why a pod ended: the code, the sentence, the time and what its user can do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from jupyter_research_spawner.schedulers import SCHEDULERS, Objects, QueueStatus
from jupyter_research_spawner.schedulers.scheduler_defaults import PREEMPTED
from jupyter_research_spawner.shape import Json
from jupyter_research_spawner.watch import classify
from jupyter_research_spawner.watch.phase import why_failed, why_no_home, why_no_secret, why_not_gone, why_not_ready
from jupyter_research_spawner.watch.pod_end import (
    DELETED,
    EXITED,
    HINTS,
    UNKNOWN,
    End,
    EndCode,
    code_of_failed_start,
    count_restarts,
    find_end,
    find_lost_end,
    find_restart,
    make_end,
    with_larger_profiles,
)

MAIN = "notebook"
PLAIN, KUEUE, YUNIKORN = SCHEDULERS["plain"], SCHEDULERS["kueue"], SCHEDULERS["yunikorn"]


def at(second: int) -> str:
    return f"2026-11-29T10:00:{second:02d}Z"


def a_pod(
    *conditions: dict[str, Any], phase: str = "Running", ended: dict[str, Any] | None = None, **fields: Any
) -> Json:
    """Return a pod whose main container runs, or has `ended`.  `deleted` and fields of the status are keywords."""
    metadata: dict[str, Any] = {"name": "jupyter-alice", "uid": "u"}
    if (deleted := fields.pop("deleted", None)) is not None:
        metadata |= {"deletionTimestamp": at(deleted + 30), "deletionGracePeriodSeconds": 30}
    state = {"terminated": ended} if ended is not None else {"running": {"startedAt": at(1)}}
    container = {"name": MAIN, "state": state}
    conditions_ = [{"status": "True", "lastTransitionTime": at(20), "message": "", **found} for found in conditions]
    status = {"phase": phase, "containerStatuses": [container], "conditions": conditions_, **fields}
    return {"metadata": metadata, "spec": {"restartPolicy": "OnFailure"}, "status": status}


def disrupted(reason: str, message: str = "") -> dict[str, Any]:
    return {"type": "DisruptionTarget", "reason": reason, "message": message}


def by_kueue(reason: str) -> dict[str, Any]:
    return {"type": "TerminationTarget", "reason": f"WorkloadEvictedDueTo{reason}", "message": "why"}


SIGTERM = {"exitCode": 143, "finishedAt": at(25)}
OOM = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": at(12)}


def found(pod: Json, scheduler: Any = PLAIN, **given: Any) -> tuple[str, str, str] | None:
    end = find_end(pod, MAIN, scheduler, **given)
    assert end is None or end.hint == HINTS[end.code]
    return None if end is None else (end.code, end.message, end.at)


@pytest.mark.parametrize(
    ("pod", "scheduler", "code", "told", "when"),
    [
        (a_pod(disrupted("PreemptionByScheduler"), deleted=20), PLAIN, "preempted", PREEMPTED, 20),
        (a_pod(disrupted("PreemptionByScheduler"), deleted=20, ended=SIGTERM), PLAIN, "preempted", PREEMPTED, 25),
        (a_pod(by_kueue("Preempted"), deleted=21), KUEUE, "preempted", PREEMPTED, 20),
        (a_pod(by_kueue("PodsReadyTimeout"), deleted=21), KUEUE, "not-ready", "Kueue's waitForPodsReady timeout", 20),
        (
            a_pod(by_kueue("DeactivatedDueToMaximumExecutionTimeExceeded"), deleted=21),
            *(KUEUE, "wall-time", "Ended by its hard wall time.", 20),
        ),
        (a_pod(by_kueue("NodeFailures"), deleted=21), KUEUE, "node-lost", "Evicted by Kueue (NodeFailures): why.", 20),
        (a_pod(by_kueue("LocalQueueStopped"), deleted=21), KUEUE, "evicted", "(LocalQueueStopped): why.", 20),
        (a_pod(disrupted("EvictionByEvictionAPI"), deleted=3), PLAIN, "drained", "its node was drained", 20),
        (a_pod(disrupted("DeletionByTaintManager"), deleted=3), PLAIN, "node-lost", "Its node was lost", 20),
        (a_pod(disrupted("DeletionByPodGC"), deleted=3), PLAIN, "node-lost", "Its node was lost", 20),
        (a_pod(disrupted("SomethingNew", "by what"), deleted=3), PLAIN, "evicted", "(SomethingNew): by what", 20),
        (a_pod(deleted=7), PLAIN, "deleted", DELETED, 7),
        (a_pod(deleted=7, ended=SIGTERM), PLAIN, "deleted", DELETED, 25),
        (a_pod(deleted=7, ended=SIGTERM, phase="Failed"), PLAIN, "deleted", DELETED, 25),
        (a_pod(deleted=7, phase="Failed", reason="DeadlineExceeded"), PLAIN, "wall-time", "hard wall time", None),
        (a_pod(deleted=20, ended=OOM), PLAIN, "out-of-memory", "more memory than its limit (OOMKilled)", 12),
        (a_pod(), PLAIN, "deleted", DELETED, None),
    ],
)
def test_a_pod_that_is_gone(pod: Json, scheduler: Any, code: str, told: str, when: int | None) -> None:
    end = found(pod, scheduler, is_gone=True)
    assert end is not None and end[0] == code
    assert told in end[1]
    assert when is None or end[2] == at(when)


@pytest.mark.parametrize(
    ("pod", "code", "told"),
    [
        (a_pod(phase="Failed", ended=OOM), "out-of-memory", "more memory than its limit (OOMKilled)"),
        (a_pod(phase="Failed", reason="DeadlineExceeded"), "wall-time", "It reached its hard wall time."),
        (a_pod(phase="Failed", ended={"exitCode": 3}), "failed", "ended with exit code 3"),
        (a_pod(phase="Succeeded", ended={"exitCode": 0}), "exited", EXITED),
        (
            a_pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory. "),
            *("evicted", "The node was low on resource: memory (Evicted)."),
        ),
        (
            a_pod(disrupted("TerminationByKubelet", "low on memory"), phase="Failed", reason="Evicted"),
            *("evicted", "Evicted by the cluster (TerminationByKubelet): low on memory"),
        ),
        (
            a_pod(disrupted("TerminationByKubelet", "imminent node shutdown"), phase="Failed", reason="Terminated"),
            *("node-lost", "imminent node shutdown"),
        ),
        (
            a_pod(phase="Failed", ended={"exitCode": 137, "reason": "ContainerStatusUnknown"}),
            *("node-lost", "ContainerStatusUnknown"),
        ),
        (a_pod(phase="Failed", containerStatuses=[], reason="TopologyAffinityError"), "topology", "belong together"),
        (a_pod(phase="Failed", containerStatuses=[], reason="OutOfcpu", message="no cpu"), "rejected", "no cpu"),
        (a_pod(phase="Failed", reason="NewReason", message="as it came"), "unknown", "as it came (NewReason)."),
        (a_pod(phase="Failed", containerStatuses=None), "unknown", "the cluster does not say why"),
    ],
)
def test_a_pod_whose_containers_have_ended(pod: Json, code: str, told: str) -> None:
    end = found(pod)
    assert end is not None and (end[0], told in end[1]) == (code, True), end


@pytest.mark.parametrize(
    "pod",
    [
        a_pod(),
        a_pod(deleted=3),
        a_pod(disrupted("PreemptionByScheduler")),
        a_pod(by_kueue("Preempted"), deleted=3),
        a_pod(ended=OOM),
        a_pod(phase="Pending", containerStatuses=None),
        {},
        {"metadata": {}, "status": None},
    ],
    ids=["runs", "ends", "is chosen for preemption", "is preempted", "restarts", "waits", "nothing", "no status"],
)
def test_a_pod_that_has_not_ended(pod: Json) -> None:
    assert found(pod, KUEUE) is None


def test_a_pod_on_a_lost_node_has_ended_although_no_kubelet_says_so() -> None:
    assert found(a_pod(disrupted("DeletionByTaintManager"))) is None
    end = found(a_pod(disrupted("DeletionByTaintManager"), deleted=3))
    assert end is not None and end[0] == "node-lost"


def test_a_notebook_that_exits_while_a_sidecar_runs_has_ended() -> None:
    assert found(a_pod(ended={"exitCode": 0, "finishedAt": at(9)})) == ("exited", EXITED, at(9))
    assert found(a_pod(ended={"exitCode": 1, "finishedAt": at(9)})) is None  # OnFailure: the kubelet restarts it


PREEMPTED_EVENT = {
    "reason": "Informational",
    "message": "Preempted by 8f from application a in root.b",
    "eventTime": "2026-11-29T11:00:31.123456+01:00",
}


def test_a_scheduler_without_a_condition_tells_a_preemption_with_an_event() -> None:
    assert YUNIKORN.preemption_events[0].matches(PREEMPTED_EVENT)
    end = found(a_pod(deleted=30), YUNIKORN, is_gone=True, events=[{"reason": "Started"}, PREEMPTED_EVENT])
    assert end == ("preempted", YUNIKORN.preemption_events[0].message, at(31))
    assert find_lost_end(YUNIKORN, [PREEMPTED_EVENT]).code == "preempted"


def test_an_end_that_nobody_saw_is_unknown() -> None:
    for events in ([], [{"reason": "Killing", "message": "Stopping container notebook"}]):
        end = find_lost_end(PLAIN, events)
        assert (end.code, end.message) == ("unknown", UNKNOWN)


@pytest.mark.parametrize(
    "pod",
    [
        {},
        {"metadata": None, "status": None, "spec": None},
        {"metadata": {"deletionTimestamp": at(3)}},
        {"metadata": {"name": "p"}, "status": {}},
        {"metadata": {"name": "p"}, "status": {"conditions": None, "containerStatuses": None}},
        {"metadata": {"name": "p"}, "spec": {"nodeName": "n"}, "status": {"phase": "Failed"}},
        {"metadata": {"name": "p"}, "status": {"containerStatuses": [{"name": MAIN}]}},
    ],
)
def test_a_pod_without_status_has_a_phase_and_an_end(pod: Json) -> None:
    timeless: list[Json] = [{}, {"reason": "Preempted", "involvedObject": None}, {"type": "Warning", "metadata": None}]
    for scheduler in SCHEDULERS.values():
        for events in ([], timeless):
            end = find_end(pod, MAIN, scheduler, Objects(), events, is_gone=True)
            assert end is not None and end.at.endswith("Z") and len(end.at) == 20
        status = scheduler.status(pod, Objects(), ())
        assert isinstance(status, QueueStatus)
        assert classify(pod, status, MAIN, scheduler.eviction(pod, Objects()), timeless).name
    for why in (why_not_ready, why_failed):
        assert isinstance(why(pod, MAIN, timeless), str)
    assert isinstance(why_no_secret(pod, timeless) + why_no_home(pod) + why_not_gone(pod), str)
    assert (count_restarts(pod, MAIN), find_restart(pod, MAIN, 0)) == (0, None)


def test_an_event_without_time_counts() -> None:
    end = find_lost_end(PLAIN, [{"reason": "Preempted", "message": "by another pod"}])
    assert (end.code, len(end.at)) == ("preempted", 20)
    created = {"reason": "Preempted", "message": "by another pod", "metadata": {"creationTimestamp": at(44)}}
    assert find_lost_end(PLAIN, [created]).at == at(44)


def restarted(count: int, ended: dict[str, Any]) -> Json:
    pod = a_pod()
    pod["status"]["containerStatuses"][0] |= {"restartCount": count, "lastState": {"terminated": ended}}
    return pod


def test_a_restart_in_place_is_told_once() -> None:
    pod = restarted(1, OOM)
    end = find_restart(pod, MAIN, 0)
    assert end == End(
        "out-of-memory",
        "Container notebook used more memory than its limit (OOMKilled). It was restarted, and its kernels were lost.",
        at(12),
        HINTS["out-of-memory"],
        continues=True,
    )
    assert find_restart(pod, MAIN, count_restarts(pod, MAIN)) is None
    crashed = find_restart(restarted(2, {"exitCode": 1}), MAIN, 1)
    assert crashed is not None and (crashed.code, crashed.continues) == ("failed", True)


def test_out_of_memory_names_the_profiles_with_more() -> None:
    end = make_end("out-of-memory", "It used more memory than its limit.")
    assert with_larger_profiles(end, ["Large", "Huge"]).hint == (
        "Use less memory, or choose a profile with more: Large or Huge."
    )
    assert "No profile that you may choose has more memory." in with_larger_profiles(end, []).hint
    other = make_end("preempted", PREEMPTED)
    assert with_larger_profiles(other, ["Large"]) == other


@pytest.mark.parametrize(
    ("pod", "code"),
    [
        (None, "start-failed"),
        (a_pod(phase="Pending", containerStatuses=[{"name": MAIN, "state": {"waiting": {}}}]), "start-failed"),
        (a_pod(phase="Failed", containerStatuses=None, reason="TopologyAffinityError"), "topology"),
        (a_pod(phase="Failed", ended={"exitCode": 1}), "start-failed"),
        *(
            (a_pod(containerStatuses=[{"name": MAIN, "state": {"waiting": {"reason": reason}}}]), "image-not-pulled")
            for reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName")
        ),
    ],
)
def test_a_start_that_failed(pod: Json | None, code: str) -> None:
    assert code_of_failed_start(pod, MAIN) == code


def test_each_code_has_a_hint() -> None:
    codes = {code for part in get_args(EndCode) for code in (get_args(part) or (part,))}
    assert codes == set(HINTS)
    for code, hint in HINTS.items():
        assert hint.endswith(".") or code in ("stopped", "rights-lost"), code


def test_a_message_of_the_cluster_is_one_bounded_line() -> None:
    end = make_end("evicted", "Evicted by Kueue (New): a\nb\x1b[31m" + "x" * 40_000)
    assert len(end.message) <= 1000 and end.message.isprintable()
    assert end.message.startswith("Evicted by Kueue (New): a b")


def test_a_time_is_written_in_utc_with_seconds() -> None:
    for written in ("2026-11-29T12:00:05.4+02:00", "2026-11-29T10:00:05.123456789Z", "2026-11-29T10:00:05.000001Z"):
        assert make_end("failed", "", written).at == at(5), written
    assert len(make_end("failed", "", "not a time").at) == 20


def test_the_reference_explains_each_code() -> None:
    page = (Path(__file__).parent.parent / "docs" / "reference" / "reasons.md").read_text()
    table = page.split("## Why a notebook ended", 1)[1]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == set(HINTS)
