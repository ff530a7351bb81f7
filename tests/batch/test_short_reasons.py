"""The word of squeue for each reason why a job waits or has failed, and times and exit codes that are not real."""

from __future__ import annotations

from typing import Any

import pytest
from test_answer import FAILED, LOST, PREEMPTED, a_job, a_pod, at

from jupyter_research_spawner.batch import short_reasons
from jupyter_research_spawner.batch.answer import answer
from jupyter_research_spawner.batch.attempts import Attempt
from jupyter_research_spawner.batch.rights_record import REFUSED, Refused, written
from jupyter_research_spawner.schedulers import QueueStatus

# Slurm's codes, from doc/html/job_reason_codes.shtml.
CODES = {value for name, value in vars(short_reasons).items() if name.isupper() and isinstance(value, str)}
NO_PROGRAM = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: error during container init: "
    'exec: "trian.py": executable file not found in $PATH'
)
NOT_STARTED = {"exitCode": 128, "reason": "StartError", "message": NO_PROGRAM}
NOT_EXECUTABLE = 'unable to start container process: exec: "./train.py": permission denied: unknown'


def not_created(message: str) -> dict[str, Any]:
    return {"reason": "FailedCreate", "message": message}


def a_failed_pod(reason: str = "", ended: dict[str, Any] | None = None) -> dict[str, Any]:
    pod = a_pod(phase="Failed", ended=(1, 5, 1))
    if reason:
        pod["status"]["reason"] = reason
    if ended:
        pod["status"]["containerStatuses"][0]["state"]["terminated"] |= ended
    return pod


def a_pod_that_was_not_started() -> dict[str, Any]:
    pod = a_pod(phase="Failed")
    ended = {"exitCode": 1, "reason": "Error", "message": "The working directory /home/alice/x does not exist."}
    pod["status"]["initContainerStatuses"] = [{"name": "home-check", "state": {"terminated": ended}}]
    return pod


def a_refused_job() -> dict[str, Any]:
    job = a_job()
    job["metadata"]["annotations"][REFUSED] = written(Refused(at(1), "Queue 'climate' is not yours."))
    return job


@pytest.mark.parametrize(
    ("job", "pods", "events", "code"),
    [
        (a_job(), [], [], "None"),
        (a_job(("Suspended", 1)), [], [], "None"),
        (a_job(), [], [not_created("pods is forbidden: exceeded quota")], "AssociationResourceLimit"),
        (a_job(), [], [not_created("webhook denied")], "JobLaunchFailure"),
        (a_job(), [a_pod(phase="Pending", scheduled=False)], [], "Resources"),
        (a_job(), [LOST], [], "Cleaning"),
        (a_job(attempts=[Attempt("a", reason=PREEMPTED)]), [], [], "Priority"),
        (a_refused_job(), [], [], "AccountNotAllowed"),
        (a_job(), [a_pod(running=1)], [], ""),
        (a_job(("Complete", 6)), [], [], ""),
        (a_job(), [FAILED], [], "NonZeroExitCode"),
        (a_job(("Failed", 6), attempts=[Attempt("a", at(1), at(5), 3)]), [], [], "NonZeroExitCode"),
        (a_job(("Failed", 6)), [], [], ""),
        (a_job(), [a_failed_pod("DeadlineExceeded")], [], "TimeLimit"),
        (a_job(), [a_failed_pod("NodeLost")], [], "NodeDown"),
        (a_job(), [a_failed_pod("UnexpectedAdmissionError")], [], "UnexpectedAdmissionError"),
        (a_job(), [a_failed_pod(ended={"exitCode": 137, "reason": "OOMKilled"})], [], "OutOfMemory"),
        (a_job(), [a_failed_pod(ended=NOT_STARTED)], [], "JobLaunchFailure"),
        (a_job(), [a_pod_that_was_not_started()], [], "JobLaunchFailure"),
    ],
)
def test_a_reason_has_the_word_of_squeue(job, pods, events, code):
    found = answer(job, pods, events)
    assert found["reason"] == code
    assert code in CODES | {"", "UnexpectedAdmissionError"}


def test_an_image_that_cannot_be_pulled_has_the_word_of_the_kubelet():
    pod = a_pod(phase="Pending")
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    pod["status"]["containerStatuses"][0]["state"] = {"waiting": waiting}
    assert answer(a_job(), [pod])["reason"] == "ImagePullBackOff"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (QueueStatus("scheduling"), "None"),
        (QueueStatus("gated", "not-considered"), "None"),
        (QueueStatus("queued", "quota"), "Resources"),
        (QueueStatus("queued", "preempting", preempts=1), "Resources"),
        (QueueStatus("queued", "room"), "Resources"),
        (QueueStatus("queued", "turn"), "Priority"),
        (QueueStatus("queued", "nodes"), "Resources"),
        (QueueStatus("queued", "placed"), "Resources"),
        (QueueStatus("queued", "requeued"), "BeginTime"),
        (QueueStatus("queued", message="Queue free has room, and nobody knows these words"), ""),
        (QueueStatus("unschedulable", "too-large"), "BadConstraints"),
        (QueueStatus("unschedulable", "nodes"), "BadConstraints"),
        (QueueStatus("refused", "no-queue"), "PartitionDown"),
        (QueueStatus("refused", "deactivated"), "JobHeldAdmin"),
        (QueueStatus("refused", "missing"), "BadConstraints"),
    ],
)
def test_what_a_scheduler_reports_has_the_word_of_squeue(status, code):
    assert short_reasons.why_queued(status) == code
    assert code in CODES | {""}


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (NOT_STARTED, 127),
        ({"exitCode": 128, "reason": "StartError", "message": NOT_EXECUTABLE}, 126),
        ({"exitCode": 128, "reason": "StartError", "message": "something else"}, 128),
        ({"exitCode": 128, "reason": "Error"}, 128),
        ({"exitCode": 127, "reason": "ContainerCannotRun"}, 127),
    ],
)
def test_a_program_that_is_missing_has_the_exit_code_of_a_shell(ended, code):
    pod = a_failed_pod(ended=ended)
    assert [attempt["exit_code"] for attempt in answer(a_job(), [pod])["attempts"]] == [code]


@pytest.mark.parametrize("zero", ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
def test_a_start_that_is_not_set_is_not_a_time(zero):
    """The kubelet writes it for a container that never started."""
    pod = a_failed_pod(ended={"exitCode": 128, "reason": "StartError", "startedAt": zero})
    found = answer(a_job(), [pod])
    assert (found["started"], found["attempts"][0]["started"]) == (None, None)
    older = answer(a_job(("Failed", 6), attempts=[Attempt("a", zero, at(5), 128)]), [])
    assert (older["started"], older["finished"]) == (None, at(5))
