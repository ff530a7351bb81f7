"""What a Job and its pods say, as one answer; attempts that outlive their pods."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from jupyter_research_spawner.batch.answer import answer
from jupyter_research_spawner.batch.attempts import (
    ATTEMPTS,
    KEPT,
    Attempt,
    attempt_of,
    event_reasons,
    from_events,
    merged,
    recorded,
    written,
)
from jupyter_research_spawner.pod.overlay import literal, typed
from jupyter_research_spawner.schedulers import SCHEDULERS

PREEMPTED = "Preempted: work of a higher priority needed its place."
PLAN = {"home": "/home/alice", "queue": "backfill", "profile": "small", "priority": "low", "warnings": ["16 groups"]}


def at(seconds: int) -> str:
    return f"2026-11-23T12:00:{seconds:02}Z"


def a_job(
    *conditions: tuple[str, int], attempts: list[Attempt] | None = None, scheduler: str = "plain", **metadata: Any
) -> dict[str, Any]:
    annotations = {
        "research-spawner/job-name": "Sweep",
        "research-spawner/plan": json.dumps({**PLAN, "scheduler": scheduler}),
        "research-spawner/wall-time": "3600",
        "research-spawner/wall-time-hard": "7200",
    }
    if attempts is not None:
        annotations[ATTEMPTS] = written(attempts)
    container = {"name": "job", "image": "python:3.12", "command": ["python", "$$(HOME)"]}
    return {
        "metadata": {
            "name": "sweep-x7k2p",
            "uid": "job-1",
            "creationTimestamp": at(0),
            "annotations": annotations,
            **metadata,
        },
        "spec": {"completions": 1, "backoffLimit": 0, "template": {"spec": {"containers": [container]}}},
        "status": {
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": at(when), "message": f"{kind} says so"}
                for kind, when in conditions
            ]
        },
    }


def a_pod(
    name: str = "a",
    phase: str = "Running",
    *,
    scheduled: bool = True,
    running: int | None = None,
    ended: tuple[int, int, int] | None = None,
    preempted: bool = False,
    deleted: int | None = None,
    created: int = 0,
) -> dict[str, Any]:
    """`ended`: began at, ended at, exit code."""
    state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
    if running is not None:
        state = {"running": {"startedAt": at(running)}}
    if ended is not None:
        state = {"terminated": {"startedAt": at(ended[0]), "finishedAt": at(ended[1]), "exitCode": ended[2]}}
    conditions = [{"type": "PodScheduled", "status": "True"}]
    if not scheduled:
        told = "0/1 nodes are available: 1 Insufficient cpu."
        conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": told}]
    if preempted:
        conditions.append({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"})
    metadata: dict[str, Any] = {"name": name, "creationTimestamp": at(created)}
    if deleted is not None:
        metadata |= {"deletionTimestamp": at(deleted), "deletionGracePeriodSeconds": 2}
    return {
        "metadata": metadata,
        "status": {
            "phase": phase,
            "conditions": conditions,
            "containerStatuses": [{"name": "job", "state": state}] if scheduled else [],
        },
    }


LOST = a_pod("a", ended=(1, 5, 143), preempted=True, deleted=6)
DONE = a_pod("b", "Succeeded", ended=(7, 9, 0), created=6)


def test_a_job_says_which_volume_is_not_mounted():
    waits = a_pod("a", "Pending")
    waits["spec"] = {"nodeName": "node-1"}
    told = answer(a_job(), [waits], [{"reason": "FailedMount", "message": "mount.nfs: Connection timed out"}])
    assert (told["state"], told["message"]) == (
        "starting",
        "A file system cannot be mounted or does not answer (FailedMount): mount.nfs: Connection timed out.",
    )


def test_the_whole_answer():
    job = a_job(("Complete", 10), attempts=[Attempt("a", at(1), at(5), 143, PREEMPTED)])
    assert answer(job, [DONE]) == {
        "id": "sweep-x7k2p",
        "name": "Sweep",
        "kind": "job",
        "state": "succeeded",
        "message": "",
        "reason": "",
        "waiting": None,
        "queue": "backfill",
        "profile": "small",
        "priority": "low",
        "image": "python:3.12",
        "command": ["python", "$(HOME)"],
        "workdir": "/home/alice",
        "created": at(0),
        "started": at(7),
        "finished": at(9),
        "exit_code": 0,
        "attempts": [
            {"pod": "a", "started": at(1), "finished": at(5), "exit_code": 143, "reason": PREEMPTED},
            {"pod": "b", "started": at(7), "finished": at(9), "exit_code": 0, "reason": ""},
        ],
        "wall_time_seconds": 3600,
        "wall_time_hard_seconds": 7200,
        "warnings": ["16 groups"],
    }


FAILED = a_pod(phase="Failed", ended=(1, 5, 3))
EXIT_3 = "Container job ended with exit code 3."


@pytest.mark.parametrize(
    ("job", "pods", "state", "told"),
    [
        (a_job(), [], "queued", ""),
        (a_job(("Suspended", 1)), [], "queued", "its queue"),
        (a_job(), [a_pod(phase="Pending", scheduled=False)], "queued", "enough free CPUs."),
        (a_job(), [a_pod(phase="Pending")], "starting", ""),
        (a_job(), [a_pod(running=1)], "running", ""),
        (a_job(), [FAILED], "failed", EXIT_3),
        (a_job(("Failed", 6)), [FAILED], "failed", EXIT_3),
        (a_job(("Failed", 6)), [], "failed", "Failed says so"),
        (a_job(("FailureTarget", 6)), [FAILED], "failed", EXIT_3),
        (a_job(("Complete", 6)), [], "succeeded", ""),
        (a_job(deletionTimestamp=at(2)), [a_pod(running=1)], "cancelling", "cancelled"),
        (a_job(("Complete", 1), deletionTimestamp=at(2)), [], "succeeded", ""),
        (a_job(), [a_pod(running=1, preempted=True, deleted=5)], "queued", PREEMPTED),
        (a_job(), [LOST], "queued", PREEMPTED),
        (a_job(attempts=[Attempt("a", reason=PREEMPTED)]), [], "queued", PREEMPTED),
        (
            a_job(),
            [LOST, a_pod("b", phase="Pending", scheduled=False, created=6)],
            "queued",
            "It starts when a node has enough free CPUs.",
        ),
        (a_job(), [a_pod("b", running=7, created=6), LOST], "running", ""),
    ],
)
def test_states(job, pods, state, told):
    found = answer(job, pods)
    assert found["state"] == state
    assert told in found["message"]
    assert (found["finished"] is None) is (state not in ("succeeded", "failed"))
    assert found["exit_code"] is None or state in ("succeeded", "failed")


def test_a_job_whose_other_containers_still_run_has_not_ended():
    found = a_pod(ended=(1, 5, 0))
    found["status"]["containerStatuses"].append({"name": "proxy", "state": {"running": {}}})
    found["spec"] = {"restartPolicy": "Never"}
    told = answer(a_job(), [found])
    assert (told["state"], told["message"]) == (
        "running",
        "Container job has ended, but other containers of its pod still run.",
    )


def test_why_a_job_has_no_pod_is_told_by_an_event():
    events = [{"reason": "FailedCreate", "message": "exceeded quota: cpu"}]
    assert "exceeded quota: cpu" in answer(a_job(), [], events)["message"]
    events = [{"reason": "FailedCreate", "message": "no\x1b[31m\n" + "x" * 5000}]
    told = answer(a_job(), [], events)["message"]
    assert told.isprintable()
    assert len(told) < 400


def test_a_job_that_waits_again_has_not_started():
    assert answer(a_job(), [LOST])["started"] is None
    assert answer(a_job(), [LOST, a_pod("b", running=7, created=6)])["started"] == at(7)


def test_a_job_that_nobody_planned_is_still_an_answer():
    job = {"metadata": {"name": "x", "uid": "1"}, "spec": {"template": {"spec": {}}}}
    found = answer(job, [])
    assert (found["name"], found["queue"], found["command"], found["wall_time_seconds"]) == ("x", "", [], 0)


@pytest.mark.parametrize("word", ["$", "$$", "a$(HOME)b", "$$(X)", "plain"])
def test_words_are_shown_as_they_were_typed(word):
    assert typed(literal(word)) == word


@pytest.mark.parametrize(
    ("pod", "gone", "attempt"),
    [
        (a_pod(running=1), False, Attempt("a", at(1))),
        (FAILED, False, Attempt("a", at(1), at(5), 3, failure=EXIT_3)),
        (LOST, False, Attempt("a", at(1), at(5), 143, PREEMPTED)),
        (a_pod(running=1, preempted=True), False, Attempt("a", at(1), reason=PREEMPTED)),
        (
            a_pod(running=1, deleted=8),
            True,
            Attempt("a", at(1), at(8), reason="Evicted by the cluster before it ended."),
        ),
        (
            a_pod(ended=(1, 7, 143), deleted=8),
            False,
            Attempt("a", at(1), at(7), 143, "Evicted by the cluster before it ended."),
        ),
        # Removed long after its own end: nobody took it away.
        (a_pod(phase="Failed", ended=(1, 5, 3), deleted=50), True, Attempt("a", at(1), at(5), 3, failure=EXIT_3)),
        (a_pod(phase="Succeeded", ended=(1, 7, 0), deleted=8), True, Attempt("a", at(1), at(7), 0)),
    ],
)
def test_an_attempt_is_what_its_pod_tells(pod, gone, attempt):
    assert attempt_of(a_job(), pod, gone=gone) == attempt


def refused(reason: str, message: str) -> dict[str, Any]:
    """Return a pod that its node refused or ended, without a container's status, as a kubelet writes it."""
    return {**a_pod(), "status": {"phase": "Failed", "reason": reason, "message": message}}


def killed(**terminated: Any) -> dict[str, Any]:
    found = a_pod(phase="Failed", ended=(1, 5, 137))
    found["status"]["containerStatuses"][0]["state"]["terminated"] |= terminated
    return found


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (FAILED, EXIT_3),
        (killed(reason="OOMKilled"), "Container job used more memory than its limit (OOMKilled)."),
        (killed(reason="Error"), "Container job ended with exit code 137 (SIGKILL)."),
        (killed(reason="SeccompKilled"), "Container job ended with exit code 137 (SeccompKilled)."),
        (
            refused("OutOfcpu", "Node didn't have enough resource: cpu"),
            "Node didn't have enough resource: cpu (OutOfcpu).",
        ),
        (refused("BrandNew", ""), "The pod failed (BrandNew)."),
        (refused("", "It was swapped out"), "It was swapped out."),
        (LOST, PREEMPTED),
        (DONE, ""),
        (a_pod(running=1), ""),
    ],
)
def test_each_attempt_that_failed_has_a_reason_also_when_its_pod_is_gone(pod, reason):
    assert answer(a_job(), [pod])["attempts"][0]["reason"] == reason
    known = written([attempt_of(a_job(), pod, gone=False)])
    gone = a_job()
    gone["metadata"]["annotations"][ATTEMPTS] = known
    (attempt,) = answer(gone, [])["attempts"]
    assert attempt["reason"] == reason
    assert set(attempt) == {"pod", "started", "finished", "exit_code", "reason"}


def test_an_attempt_of_an_earlier_version_has_its_exit_code_as_reason():
    job = a_job()
    job["metadata"]["annotations"][ATTEMPTS] = json.dumps([{"pod": "a", "exit_code": 3, "reason": ""}])
    assert answer(job, [])["attempts"][0]["reason"] == "It ended with exit code 3."


def test_what_is_known_of_an_attempt_is_never_lost():
    later = Attempt("a", at(1), at(5), 143, failure="Container job ended with exit code 143 (SIGTERM).")
    (kept,) = merged([Attempt("a", at(1), reason=PREEMPTED)], [later])
    assert kept.why == PREEMPTED
    (kept,) = merged([later], [Attempt("a")])
    assert kept == later
    whole = Attempt("a", at(1), at(5), 143, PREEMPTED)
    assert merged([whole], [Attempt("a", reason="Evicted by the cluster before it ended.")]) == [whole]
    assert merged([Attempt("a", at(1), reason=PREEMPTED)], [whole]) == [whole]


def test_the_annotation_is_bounded_and_keeps_the_newest():
    attempts = [Attempt(f"sweep-x7k2p-{n}", at(1), at(2), 1, "x" * 500) for n in range(KEPT + 10)]
    job = a_job(attempts=attempts)
    assert recorded(job) == attempts[10:]
    assert len(job["metadata"]["annotations"][ATTEMPTS]) < 128_000


@pytest.mark.parametrize("text", ["", "{", "{}", "null", '[{"pod": "a", "more": 1}]', "[1]"])
def test_an_annotation_that_nobody_can_read_is_nothing(text):
    job = a_job()
    job["metadata"]["annotations"][ATTEMPTS] = text
    assert recorded(job) == []


def event(reason: str, kind: str, name: str, uid: str, when: int, message: str = "") -> dict[str, Any]:
    return {
        "reason": reason,
        "message": message,
        "lastTimestamp": at(when),
        "involvedObject": {"kind": kind, "name": name, "uid": uid},
    }


EVENTS = [
    event("Preempted", "Pod", "sweep-a", "pod-a", 5, "Preempted by pod 1 on node node-1"),
    event("SuccessfulCreate", "Job", "sweep-x7k2p", "job-1", 6, "Created pod: sweep-b"),
    event("SuccessfulCreate", "Job", "sweep-x7k2p", "job-1", 1, "Created pod: sweep-a"),
    event("Started", "Pod", "sweep-a", "pod-a", 2, "Started container job"),
    event("SuccessfulCreate", "Job", "sweep-x7k2p", "another", 1, "Created pod: sweep-of-another"),
    event("Preempted", "Pod", "somebody-else", "pod-c", 5),
]


def test_events_tell_of_pods_that_went_unseen():
    assert from_events(a_job(), EVENTS) == [Attempt("sweep-a", at(2), at(5), None, PREEMPTED), Attempt("sweep-b")]


@pytest.mark.parametrize(
    ("scheduler", "reason", "message"),
    [
        ("volcano", "Evict", "Pod is evicted, because of preempt"),
        ("yunikorn", "Informational", "Preempted by alice/train from application r-1 in root.climate"),
    ],
)
def test_a_scheduler_reports_a_preemption_in_an_event_of_its_own(scheduler, reason, message):
    told = event(reason, "Pod", "sweep-a", "pod-a", 5, message)
    job = a_job(scheduler=scheduler)
    (lost, _) = from_events(job, [told, *EVENTS[1:]])
    sentence = "Preempted: work of a higher priority, or of a queue below its share, needed its place."
    assert lost == Attempt("sweep-a", at(2), at(5), None, sentence)
    assert {reason, "Preempted", "Started"} <= set(event_reasons([job]))
    (lost, _) = from_events(a_job(), [told, *EVENTS[1:]])
    assert lost.reason == ""
    assert reason not in event_reasons([a_job()])


@pytest.mark.parametrize("scheduler", [*SCHEDULERS, "no-longer-known"])
def test_kube_scheduler_preempts_pods_of_every_scheduler(scheduler):
    assert from_events(a_job(scheduler=scheduler), EVENTS)[0].reason == PREEMPTED


def test_yunikorn_uses_one_reason_for_all_its_events():
    told = event("Informational", "Pod", "sweep-a", "pod-a", 5, "Pod is bound")
    assert from_events(a_job(scheduler="yunikorn"), [told, *EVENTS[1:]])[0].reason == ""


def test_events_of_the_newer_kind_have_their_time_elsewhere():
    events = copy.deepcopy(EVENTS)
    for found in events:
        found["eventTime"] = found.pop("lastTimestamp")[:-1] + ".123456Z"
    assert from_events(a_job(), events) == from_events(a_job(), EVENTS)
