"""The Job controller, which runs batch/v1 Jobs like kube-controller-manager 1.36 (pkg/controller/job).

A finished pod keeps the finalizer batch.kubernetes.io/job-tracking until the pod is counted in the Job's status.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from dataclasses import dataclass, field

from ..apimachinery.api_errors import ApiError
from ..apimachinery.api_resources import JOB, POD
from ..apimachinery.object_fields import (
    Json,
    condition,
    controller_of,
    controller_reference,
    is_true,
    now,
    seconds_since,
    with_condition,
)
from ..objectstore.object_store import Change, Store
from .job_counts import TRACKING, Counts, count, counts_as_failure, seconds_until_replaced
from .job_indexes import (
    completion_index,
    format_indexes,
    is_indexed,
    limits_each_index,
    pending_indexes,
    pods_to_remove,
    set_index,
)
from .pod_failure_policy import replaces_only_ended_pods

log = logging.getLogger(__name__)

SOURCE = "job-controller"
BACK_OFF_LIMIT_SECONDS = 600.0
_ALWAYS_IN_STATUS = {"ready", "terminating", "uncountedTerminatedPods", "failedIndexes"}
_REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")

Key = tuple[str, str]


@dataclass(frozen=True)
class End:
    """The outcome of a Job: whether the Job failed, and the reason and message of its final condition."""

    failed: bool
    reason: str
    message: str


@dataclass
class Pods:
    """The unfinished pods of a Job."""

    active: list[Json] = field(default_factory=list)
    terminating: list[Json] = field(default_factory=list)

    @property
    def ready(self) -> int:
        return sum(is_true(pod, "Ready") for pod in self.active)


class JobController:
    def __init__(self, store: Store, back_off_seconds: float = 1.0) -> None:
        self.store = store
        self.back_off_seconds = back_off_seconds
        self._dirty: dict[Key, None] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failed_at: dict[str, float] = {}  # event loop time of each Job's last counted failure, by the Job's uid

    def start(self) -> None:
        self.store.listeners.append(self._seen)
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        self.store.listeners.remove(self._seen)
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _seen(self, change: Change) -> None:
        metadata = change.new["metadata"]
        if change.kind == JOB:
            self._mark((metadata["namespace"], metadata["name"]))
        elif change.kind == POD:
            for obj in (change.new, change.old or change.new):
                owner = controller_of(obj)
                if owner and owner["kind"] == "Job":
                    self._mark((metadata["namespace"], owner["name"]))

    def _mark(self, key: Key) -> None:
        self._dirty[key] = None
        self._changed.set()

    def _later(self, job: Json, seconds: float) -> None:
        key = (job["metadata"]["namespace"], job["metadata"]["name"])
        asyncio.get_running_loop().call_later(max(seconds, 0.01), self._mark, key)

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            dirty, self._dirty = self._dirty, {}
            for namespace, name in dirty:
                try:
                    self._sync(namespace, name)
                except ApiError as refused:  # noqa: PERF203  (one bad Job must not stop the others)
                    log.warning("job %s/%s: %s", namespace, name, refused)

    def _sync(self, namespace: str, name: str) -> None:
        self._release_orphans(namespace)
        job = self.store.find(JOB, namespace, name)
        if job is None:
            return
        if job["metadata"].get("deletionTimestamp"):
            for pod in self._pods(job):
                self._release(pod)
            return
        if finished(job):
            self._expire(job)
            return
        status = copy.deepcopy(job["status"])
        self._fail_unbound_pods(job)
        pods = self._current(job)
        counts = count(job, self._pods(job), pods.active)
        end = _pending_end(job) or self._end_of(job, status, pods, counts)
        self._count(job, status, counts, end)
        if end:
            self._finish(job, status, pods, end)
        elif job["spec"].get("suspend"):
            self._suspend(job, status, pods)
        else:
            self._resume(job, status)
            self._fill(job, pods, counts)
        after = self._current(job)
        status |= {"active": len(after.active), "ready": after.ready, "terminating": len(after.terminating)}
        status["uncountedTerminatedPods"] = {}
        shown = {key: value for key, value in status.items() if value or key in _ALWAYS_IN_STATUS}
        self.store.modify(JOB, job, lambda new: new.update(status=shown))
        if end and not after.active and not after.terminating and not finished(self.store.get(JOB, namespace, name)):
            self._mark((namespace, name))

    def _pods(self, job: Json) -> list[Json]:
        uid = job["metadata"]["uid"]
        owned = [self.store.by_uid[dependent] for dependent in list(self.store.dependents.get(uid) or ())]
        return [pod for kind, pod in owned if kind == POD and (controller_of(pod) or {}).get("uid") == uid]

    def _current(self, job: Json) -> Pods:
        pods = Pods()
        for pod in self._pods(job):
            if pod["status"].get("phase") in ("Succeeded", "Failed"):
                continue
            (pods.terminating if pod["metadata"].get("deletionTimestamp") else pods.active).append(pod)
        return pods

    def _fail_unbound_pods(self, job: Json) -> None:
        """Mark deleted pods without a node as failed, as the pod garbage collector does."""
        for pod in self._pods(job):
            if pod["metadata"].get("deletionTimestamp") and not pod["spec"].get("nodeName"):
                self.store.modify(POD, pod, lambda new: new["status"].update(phase="Failed"))

    def _count(self, job: Json, status: Json, counts: Counts, end: End | None) -> None:
        """Count finished pods in `status` and remove their finalizer; if the Job ends, also that of its other pods."""
        awaiting = {pod["metadata"]["uid"] for pod in counts.awaiting_replacement.values()}
        failed = [pod for pod in counts.failed_pods if end or pod["metadata"]["uid"] not in awaiting]
        if end and end.failed:
            failed += counts.other_pods
        for pod in [*counts.succeeded_pods, *failed, *(counts.other_pods if end and not end.failed else ())]:
            self._release(pod)
        counted = sum(counts_as_failure(job, pod) for pod in failed)
        if counted:
            self._failed_at[job["metadata"]["uid"]] = asyncio.get_running_loop().time()
        status |= {"succeeded": counts.succeeded, "failed": status.get("failed", 0) + counted}
        if is_indexed(job):
            status["completedIndexes"] = format_indexes(counts.completed_indexes)
        if limits_each_index(job):
            status["failedIndexes"] = format_indexes(counts.failed_indexes)

    def _release(self, pod: Json) -> None:
        def change(new: Json) -> None:
            kept = [name for name in new["metadata"].get("finalizers") or [] if name != TRACKING]
            new["metadata"].pop("finalizers", None)
            if kept:
                new["metadata"]["finalizers"] = kept

        self.store.modify(POD, pod, change)

    def _release_orphans(self, namespace: str) -> None:
        """Remove the finalizer of pods whose Job no longer exists."""
        for pod in self.store.list(POD, namespace):
            owner = controller_of(pod)
            if TRACKING in (pod["metadata"].get("finalizers") or []) and (
                not owner or owner["uid"] not in self.store.by_uid
            ):
                self._release(pod)

    def _end_of(self, job: Json, status: Json, pods: Pods, counts: Counts) -> End | None:
        """Return the outcome if the Job ends now, else None."""
        spec = job["spec"]
        if counts.policy_message:
            return End(failed=True, reason="PodFailurePolicy", message=counts.policy_message)
        if counts.failed > spec["backoffLimit"]:
            return End(
                failed=True, reason="BackoffLimitExceeded", message="Job has reached the specified backoff limit"
            )
        deadline, started = spec.get("activeDeadlineSeconds"), status.get("startTime")
        if deadline is not None and started and not spec.get("suspend"):
            left = deadline - seconds_since(started)
            if left <= 0:
                return End(
                    failed=True, reason="DeadlineExceeded", message="Job was active longer than specified deadline"
                )
            self._later(job, left)
        completions = spec.get("completions")
        if completions is None:
            return End(False, *_REACHED) if counts.succeeded and not pods.active else None
        if ended := _end_by_failed_indexes(spec, counts):
            return ended
        if counts.succeeded >= completions and not (is_indexed(job) and pods.active):
            return End(False, *_REACHED)
        return None

    def _finish(self, job: Json, status: Json, pods: Pods, end: End) -> None:
        """Write FailureTarget or SuccessCriteriaMet now, and Failed or Complete when the Job has no pod left."""
        first, last = ("FailureTarget", "Failed") if end.failed else ("SuccessCriteriaMet", "Complete")
        status["conditions"] = with_condition(status.get("conditions"), first, "True", end.reason, end.message)
        for pod in pods.active:
            self._delete_pod(pod)
        left = self._current(job)
        if left.active or left.terminating:
            return
        status["conditions"] = with_condition(status["conditions"], last, "True", end.reason, end.message)
        if not end.failed:
            status["completionTime"] = now()
        self._failed_at.pop(job["metadata"]["uid"], None)
        reason = end.reason if end.failed else "Completed"
        message = end.message if end.failed else "Job completed"
        self.store.record(job, reason, message, source=SOURCE, warning=end.failed)

    def _suspend(self, job: Json, status: Json, pods: Pods) -> None:
        for pod in pods.active:
            self._remove_pod(pod)
        if not any(c["type"] == "Suspended" and c["status"] == "True" for c in status.get("conditions") or []):
            status["conditions"] = with_condition(
                status.get("conditions"), "Suspended", "True", "JobSuspended", "Job suspended"
            )
            self.store.record(job, "Suspended", "Job suspended", source=SOURCE)
        status.pop("startTime", None)

    def _resume(self, job: Json, status: Json) -> None:
        if any(c["type"] == "Suspended" and c["status"] == "True" for c in status.get("conditions") or []):
            status["conditions"] = with_condition(
                status["conditions"], "Suspended", "False", "JobResumed", "Job resumed"
            )
            self.store.record(job, "Resumed", "Job resumed", source=SOURCE)
        if not status.get("startTime"):
            status["startTime"] = now()
            if deadline := job["spec"].get("activeDeadlineSeconds"):
                self._later(job, deadline)

    def _fill(self, job: Json, pods: Pods, counts: Counts) -> None:
        """Create missing pods, or delete excess pods.  After a failure, wait for the back-off delay first."""
        spec = job["spec"]
        wanted = spec["parallelism"]
        if spec.get("completions") is not None:
            wanted = min(wanted, spec["completions"] - counts.succeeded)
        elif counts.succeeded:
            wanted = len(pods.active)
        excess = pods_to_remove(job, pods.active, len(pods.active) - wanted)
        for pod in excess:
            self._remove_pod(pod)
        occupying = [*pods.active, *(pods.terminating if replaces_only_ended_pods(job) else ())]
        missing = wanted - len(occupying)
        if excess or missing <= 0:
            return
        wait = 0.0 if limits_each_index(job) else self._back_off(job, counts.failed)
        if wait > 0:
            self._later(job, wait)
        elif is_indexed(job):
            self._create_indexed_pods(job, occupying, counts, missing)
        else:
            for _ in range(missing):
                self._create_pod(job)

    def _create_indexed_pods(self, job: Json, occupying: list[Json], counts: Counts, missing: int) -> None:
        """Create pods for the first pending indexes, except indexes whose back-off delay has not passed."""
        taken = counts.completed_indexes | counts.failed_indexes | {completion_index(job, pod) for pod in occupying}
        waits: list[float] = []
        for index in pending_indexes(job["spec"]["completions"], taken, missing):
            replaced = counts.awaiting_replacement.get(index)
            wait = seconds_until_replaced(replaced, self.back_off_seconds, BACK_OFF_LIMIT_SECONDS) if replaced else 0
            if wait > 0:
                waits.append(wait)
            else:
                self._create_pod(job, index, replaced)
        if waits:
            self._later(job, min(waits))

    def _back_off(self, job: Json, failed: int) -> float:
        since = self._failed_at.get(job["metadata"]["uid"])
        if since is None or not failed:
            return 0
        delay: float = min(self.back_off_seconds * 2 ** (failed - 1), BACK_OFF_LIMIT_SECONDS)
        return since + delay - asyncio.get_running_loop().time()

    def _create_pod(self, job: Json, index: int | None = None, replaced: Json | None = None) -> None:
        template = copy.deepcopy(job["spec"]["template"])
        metadata = template.get("metadata") or {}
        pod = {
            "metadata": {
                **{key: metadata[key] for key in ("labels", "annotations") if key in metadata},
                "generateName": f"{job['metadata']['name'][:57]}-",
                "ownerReferences": [controller_reference(job)],
                "finalizers": [*(metadata.get("finalizers") or []), TRACKING],
            },
            "spec": template["spec"],
        }
        if index is not None:
            set_index(job, pod, index, replaced)
        try:
            made = self.store.create(POD, job["metadata"]["namespace"], pod)
        except ApiError as refused:
            self.store.record(job, "FailedCreate", f"Error creating: {refused}", source=SOURCE, warning=True)
            self._later(job, self.back_off_seconds)
            return
        self.store.record(job, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}", source=SOURCE)

    def _remove_pod(self, pod: Json) -> None:
        """Delete a pod without counting it as failed."""
        self._release(pod)
        self._delete_pod(pod)

    def _delete_pod(self, pod: Json) -> None:
        metadata = pod["metadata"]
        current = self.store.find(POD, metadata["namespace"], metadata["name"])
        if (
            current
            and current["metadata"]["uid"] == metadata["uid"]
            and not current["metadata"].get("deletionTimestamp")
        ):
            self.store.delete(POD, current)

    def _expire(self, job: Json) -> None:
        """Delete a finished Job and its pods after ttlSecondsAfterFinished."""
        for pod in self._pods(job):
            self._release(pod)
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return
        done = condition(job, "Complete") or condition(job, "Failed")
        left = ttl - seconds_since(done["lastTransitionTime"])
        if left > 0:
            self._later(job, left)
        else:
            self.store.delete(JOB, job, {"propagationPolicy": "Foreground"})


def finished(job: Json) -> bool:
    return is_true(job, "Complete") or is_true(job, "Failed")


def _end_by_failed_indexes(spec: Json, counts: Counts) -> End | None:
    failed, most = len(counts.failed_indexes), spec.get("maxFailedIndexes")
    if most is not None and failed > most:
        message = "Job has exceeded the specified maximal number of failed indexes"
        return End(failed=True, reason="MaxFailedIndexesExceeded", message=message)
    if failed and failed + len(counts.completed_indexes) >= spec["completions"]:
        return End(failed=True, reason="FailedIndexes", message="Job has failed indexes")
    return None


def _pending_end(job: Json) -> End | None:
    """Return the outcome in the condition FailureTarget or SuccessCriteriaMet that an earlier sync wrote, or None."""
    for type_, failed in (("FailureTarget", True), ("SuccessCriteriaMet", False)):
        if is_true(job, type_):
            found = condition(job, type_)
            return End(failed, found["reason"], found["message"])
    return None
