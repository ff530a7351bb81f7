"""Count the pods of a Job.  Follows pkg/controller/job/job_controller.go of Kubernetes 1.36."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..apimachinery.object_fields import Json, condition, later, seconds_since
from .job_indexes import (
    completion_index,
    fails_its_index,
    failure_count,
    is_indexed,
    limits_each_index,
    parse_indexes,
)
from .pod_failure_policy import has_failed, verdict

TRACKING = "batch.kubernetes.io/job-tracking"


@dataclass(frozen=True)
class Counts:
    """The numbers of succeeded and failed pods of a Job, including pods that its status does not count yet.

    `awaiting_replacement` has the last failed pod of each index that gets another pod.  The new pod copies the failure
    count from the failed pod, so the failed pod must stay uncounted until the new pod exists.
    """

    succeeded_pods: list[Json]
    failed_pods: list[Json]
    other_pods: list[Json]
    succeeded: int
    failed: int
    completed_indexes: set[int]
    failed_indexes: set[int]
    awaiting_replacement: dict[int, Json]
    policy_message: str  # message of the FailJob rule that a pod matched, or empty


def count(job: Json, pods: list[Json], active: list[Json]) -> Counts:
    """Count the pods of the Job.  `active` are those that are neither finished nor terminating."""
    status = job["status"]
    succeeded_pods: list[Json] = []
    failed_pods: list[Json] = []
    other_pods: list[Json] = []
    for pod in pods:
        if TRACKING in (pod["metadata"].get("finalizers") or []):
            has_succeeded = pod["status"].get("phase") == "Succeeded"
            group = succeeded_pods if has_succeeded else failed_pods if has_failed(job, pod) else other_pods
            group.append(pod)
    messages = [found.message for found in (verdict(job, pod) for pod in failed_pods) if found.action == "FailJob"]
    succeeded = status.get("succeeded", 0) + len(succeeded_pods)
    completed: set[int] = set()
    failed: set[int] = set()
    awaiting: dict[int, Json] = {}
    if is_indexed(job):
        completions = job["spec"]["completions"]
        completed = parse_indexes(status.get("completedIndexes"), completions) | _indexes(job, succeeded_pods)
        succeeded = len(completed)
    if limits_each_index(job):
        failed = parse_indexes(status.get("failedIndexes"), job["spec"]["completions"])
        failed |= _indexes(job, [pod for pod in failed_pods if fails_its_index(job, pod)])
        awaiting = _last_by_index(job, failed_pods, completed | failed | _indexes(job, active))
    return Counts(
        succeeded_pods,
        failed_pods,
        other_pods,
        succeeded,
        status.get("failed", 0) + sum(counts_as_failure(job, pod) for pod in failed_pods),
        completed,
        failed,
        awaiting,
        next(iter(messages), ""),
    )


def counts_as_failure(job: Json, pod: Json) -> bool:
    """Return whether this failed pod is added to the Job's `status.failed`.

    The pod is not added if the pod failure policy ignores its failure, or if the Job no longer has its index.
    """
    is_ignored = verdict(job, pod).action == "Ignore"
    return not is_ignored and (not is_indexed(job) or completion_index(job, pod) is not None)


def _indexes(job: Json, pods: Iterable[Json]) -> set[int]:
    return {index for pod in pods if (index := completion_index(job, pod)) is not None}


def _last_by_index(job: Json, failed_pods: list[Json], done: set[int]) -> dict[int, Json]:
    """Return the last failed pod of each index that is not in `done`."""
    last: dict[int, Json] = {}
    for pod in sorted(failed_pods, key=lambda pod: (failure_count(pod, with_ignored=True), _ended_at(pod))):
        index = completion_index(job, pod)
        if index is not None and index not in done:
            last[index] = pod
    return last


def seconds_until_replaced(pod: Json, back_off_seconds: float, limit: float) -> float:
    """Return the seconds until the index of a failed pod gets its next pod.  Each failure doubles the delay."""
    delay = back_off_seconds * 2.0 ** min(failure_count(pod, with_ignored=True), 30)
    return max(float(min(delay, limit)) - seconds_since(_ended_at(pod)), 0.0)


def _ended_at(pod: Json) -> str:
    """Return the time when the pod's containers finished or, if unknown, when the pod was deleted or created."""
    states = [status["state"].get("terminated") or {} for status in pod["status"].get("containerStatuses") or []]
    if states and all(state.get("finishedAt") for state in states):
        return max(str(state["finishedAt"]) for state in states)
    ready = condition(pod, "Ready")
    if ready.get("status") == "False" and ready.get("lastTransitionTime"):
        return str(ready["lastTransitionTime"])
    metadata = pod["metadata"]
    if deleted := metadata.get("deletionTimestamp"):
        return later(deleted, -(metadata.get("deletionGracePeriodSeconds") or 0))
    return str(metadata["creationTimestamp"])
