"""Counts the jobs that wait, start and end, from the changes that the batch service watches.

A job waits until its first pod has a node. What happened before the service began is not counted again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from ..api_object import condition, parse_time
from ..jobs import KINDS, kind_of
from ..metrics import (
    ADMISSIONS,
    OTHER,
    QUEUE_WAIT,
    TIME_TO_READY,
    count_end,
    create_end_series,
    create_series,
    show_queues,
)
from ..shape import Json
from ..site import Site
from ..watch.follow import Change
from ..watch.phase import is_over
from ..watch.pod_end import EndCode, failure_code, known_time, main_state
from .attempts import plan_of, scheduler_of
from .job_store import job_name_of
from .rights_record import refused, successor

SUCCEEDED, CANCELLED, RIGHTS_LOST, UNKNOWN = "succeeded", "cancelled", "rights-lost", "unknown"
# Those after the fourth are codes of `failure_code`, which has rarer ones too.
END_REASONS = (
    SUCCEEDED,
    CANCELLED,
    RIGHTS_LOST,
    UNKNOWN,
    "failed",
    "out-of-memory",
    "wall-time",
    "evicted",
    "node-lost",
)


@dataclass
class _Progress:
    """When the first pod of a job had a node, and when the first program began. failure: why the last pod failed."""

    placed: datetime | None = None
    begun: datetime | None = None
    failure: EndCode | None = None
    # Whether it happened before the service began.
    is_old: bool = False


@dataclass
class _Job:
    """An unfinished job, and what was counted of it."""

    uid: str
    kind: str
    scheduler: str
    profile: str
    queue: str
    created: datetime | None
    is_placed: bool = False
    has_begun: bool = False


class JobMetrics:
    """Counts the jobs of one site. One instance takes all changes of jobs and of their pods."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._jobs: dict[str, _Job] = {}
        self._progress: dict[str, _Progress] = {}
        self._has_listed_pods = False
        for kind in KINDS:
            create_series(kind, site.scheduler.kind, site.profiles)
            create_end_series(kind, END_REASONS)
            show_queues(kind, site.queues, partial(self._queued, kind))

    def _queued(self, kind: str, queue: str) -> int:
        return sum(job.kind == kind and job.queue == queue and not job.is_placed for job in self._jobs.values())

    # Jobs.

    def job_changed(self, job: Json, *, is_gone: bool = False) -> None:
        """Take a job that was listed, created, changed or deleted."""
        name, result = job["metadata"]["name"], kind_of(job).result(job)
        if result is not None:
            self._end(name, SUCCEEDED if result.succeeded else "failed")
        elif is_gone or "deletionTimestamp" in job["metadata"]:
            if successor(job) is not None:  # it is replaced, because its user's rights have changed
                self._forget(name)
            else:
                self._end(name, CANCELLED)
        elif refused(job) is not None:
            self._end(name, RIGHTS_LOST)
        else:
            if name not in self._jobs or self._jobs[name].uid != job["metadata"]["uid"]:
                self._jobs[name] = self._job_of(job)
            self._count(name)

    def job_lost(self, name: str) -> None:
        """Take a job that ended or was deleted while the service could not watch."""
        self._end(name, UNKNOWN)

    def _job_of(self, job: Json) -> _Job:
        plan = plan_of(job)
        profile, queue = str(plan.get("profile", "")), str(plan.get("queue", ""))
        return _Job(
            uid=job["metadata"]["uid"],
            kind=kind_of(job).KIND,
            scheduler=scheduler_of(job).KIND,
            # The settings can have changed since the job was submitted.
            profile=profile if profile in self._site.profiles else OTHER,
            queue=queue if queue in self._site.queues else OTHER,
            created=_time(job["metadata"].get("creationTimestamp")),
        )

    def _end(self, name: str, reason: str) -> None:
        self._count(name)
        job, progress = self._jobs.get(name), self._progress.get(name)
        self._forget(name)
        if job is None:  # it had ended before
            return
        if reason == "failed" and progress is not None and progress.failure is not None:
            reason = progress.failure
        count_end(job.kind, reason)

    def _forget(self, name: str) -> None:
        self._jobs.pop(name, None)
        self._progress.pop(name, None)

    # Pods.

    def pods_changed(self, change: Change) -> None:
        """Take a change of the jobs' pods."""
        is_first_list = change.kind == "listed" and not self._has_listed_pods
        if change.kind == "listed":
            self._has_listed_pods = True
            names = {job_name_of(pod) for pod in change.objects}
            self._progress = {name: found for name, found in self._progress.items() if name in names}
        for pod in change.objects:
            name = job_name_of(pod)
            if name is None or change.kind == "deleted":
                continue
            # Pods of jobs that have ended are kept for days.
            if (is_over(pod) or "deletionTimestamp" in pod["metadata"]) and name not in self._jobs:
                continue
            self._observe(self._progress.setdefault(name, _Progress(is_old=is_first_list)), pod)
            self._count(name)

    def _observe(self, progress: _Progress, pod: Json) -> None:
        main = kind_of(pod).SLOTS.main
        scheduled = condition(pod, "PodScheduled")
        if progress.placed is None and scheduled.get("status") == "True":
            progress.placed = _time(scheduled.get("lastTransitionTime"))
        begun = (main_state(pod, main, "running") or main_state(pod, main, "terminated")).get("startedAt")
        if progress.begun is None and known_time(begun) is not None:
            progress.begun = _time(begun)
        if is_over(pod):
            progress.failure = failure_code(pod, main)

    def _count(self, name: str) -> None:
        """Count that the job has a node, and that its program has begun, each once."""
        job, progress = self._jobs.get(name), self._progress.get(name)
        if job is None or progress is None:
            return
        labels = (job.kind, job.scheduler, job.profile)
        if progress.placed is not None and not job.is_placed:
            job.is_placed = True
            if not progress.is_old:
                ADMISSIONS.labels(job.kind, job.queue).inc()
                QUEUE_WAIT.labels(*labels).observe(_seconds(job.created, progress.placed))
        if progress.begun is not None and not job.has_begun:
            job.has_begun = True
            if not progress.is_old:
                TIME_TO_READY.labels(*labels).observe(_seconds(job.created, progress.begun))


def _seconds(begin: datetime | None, end: datetime) -> float:
    """Return the seconds between two times, which can be of different clocks; at least 0."""
    return 0.0 if begin is None else max(0.0, (end - begin).total_seconds())


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None
