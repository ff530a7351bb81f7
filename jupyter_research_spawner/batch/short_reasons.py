"""Say in one of squeue's words why a job waits or has failed.

Source: Slurm's page "Job Reason Codes" (doc/html/job_reason_codes.shtml), of which these are the codes that are true
for jobs on Kubernetes.  A reason for which Slurm has no code has none here: the client then shows the beginning of the
sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..schedulers import QueueStatus, WaitCode
from ..shape import Json
from ..watch.container_reasons import exit_code
from ..watch.pod_end import EndCode, failure_code
from .attempts import Attempt

ACCOUNT_NOT_ALLOWED = "AccountNotAllowed"
BAD_CONSTRAINTS = "BadConstraints"
BEGIN_TIME = "BeginTime"
CLEANING = "Cleaning"
JOB_HELD_ADMIN = "JobHeldAdmin"
JOB_LAUNCH_FAILURE = "JobLaunchFailure"
NODE_DOWN = "NodeDown"
NON_ZERO_EXIT_CODE = "NonZeroExitCode"
NONE = "None"  # the scheduler has not considered the job yet
OUT_OF_MEMORY = "OutOfMemory"
PARTITION_DOWN = "PartitionDown"
PRIORITY = "Priority"
RESOURCES = "Resources"
RESOURCE_LIMIT = "AssociationResourceLimit"
TIME_LIMIT = "TimeLimit"

# Without an entry, the phase decides.
_BY_CODE: Mapping[WaitCode, str] = {
    "deactivated": JOB_HELD_ADMIN,
    "no-queue": PARTITION_DOWN,
    "nodes": RESOURCES,
    "placed": RESOURCES,
    "preempting": RESOURCES,
    "quota": RESOURCES,
    "requeued": BEGIN_TIME,
    "room": RESOURCES,
    "turn": PRIORITY,
}
_BY_PHASE = {"gated": NONE, "scheduling": NONE, "unschedulable": BAD_CONSTRAINTS, "refused": BAD_CONSTRAINTS}
# Why a pod ended, where Slurm has a code for it.
_ENDS: Mapping[EndCode | None, str] = {
    "node-lost": NODE_DOWN,
    "out-of-memory": OUT_OF_MEMORY,
    "wall-time": TIME_LIMIT,
}
_WORD_OF_THE_KUBELET = re.compile(r"\(([A-Z][A-Za-z]{2,40})\)")


def why_queued(status: QueueStatus) -> str:
    """Return the code for what the scheduler reports about a pod that waits; "" if Slurm has none."""
    if status.phase == "unschedulable":  # also if the scheduler only reports that no node has room now
        return BAD_CONSTRAINTS
    return _BY_CODE.get(status.code) or _BY_PHASE.get(status.phase, "")


def why_no_pod(events: Sequence[Json], status: QueueStatus, *, was_preempted: bool) -> str:
    """Return the code for a job that has no pod, from the events about it and the report of its scheduler."""
    failures = [str(event.get("message", "")) for event in events if event.get("reason") == "FailedCreate"]
    if failures:
        return RESOURCE_LIMIT if "exceeded quota" in failures[-1] else JOB_LAUNCH_FAILURE
    if status.waits:
        return why_queued(status)
    return PRIORITY if was_preempted else NONE


def why_starting(message: str) -> str:
    """Return the kubelet's own word in our sentence, such as ImagePullBackOff, because Slurm has no codes for these."""
    found = _WORD_OF_THE_KUBELET.search(message)
    return found[1] if found else ""


def why_failed(pod: Json | None, main: str, attempts: Sequence[Attempt]) -> str:
    """Return the code for a job that has failed, from its newest pod, or without one from its last attempt."""
    if pod is not None and (code := _ENDS.get(failure_code(pod, main))):
        return code
    status = (pod or {}).get("status") or {}
    if (reason := status.get("reason")) is not None:
        return str(reason)[:40]
    for container in status.get("containerStatuses") or []:
        ended = (container.get("state") or {}).get("terminated") or {}
        if container.get("name") == main and ended:
            return _why_ended(ended)
    # The check of the home, for example, ends the pod before the program starts.
    if status.get("phase") == "Failed" and any(map(_has_failed, status.get("initContainerStatuses") or [])):
        return JOB_LAUNCH_FAILURE
    last = attempts[-1] if attempts else None
    return NON_ZERO_EXIT_CODE if last is not None and last.exit_code and not last.reason else ""


def _has_failed(container: Json) -> bool:
    return bool(((container.get("state") or {}).get("terminated") or {}).get("exitCode"))


def _why_ended(ended: Json) -> str:
    if ended.get("reason") in ("StartError", "ContainerCannotRun"):
        return JOB_LAUNCH_FAILURE
    return NON_ZERO_EXIT_CODE if exit_code(ended) else ""
