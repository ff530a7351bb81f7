"""Watch the pods of jobs, and record a pod's attempt on its job when the pod is being deleted or has been deleted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial

from ..api_object import time_now
from ..refusal import Refusal
from ..schedulers import DELETED
from ..shape import Json
from ..watch import OwnedObjectCache
from ..watch.follow import Change, follow
from .attempts import TAKEN, Attempt, attempt_of, created_pods, event_reasons, from_events, merged, scheduler_of
from .job_store import ALL, JobStore, belongs, job_name_of

log = logging.getLogger(__name__)


class AttemptRecorder:
    """Records attempts.  Several instances of the service may run, because all of them write the same values."""

    def __init__(
        self,
        store: JobStore,
        owned_objects: OwnedObjectCache,
        also: Callable[[Change], None] = lambda change: None,
    ) -> None:
        """`also` is called for each change of the pods, so that they are watched once."""
        self._store = store
        self._owned_objects = owned_objects
        self._also = also
        self.is_watching = False

    async def run(self) -> None:
        async for change in follow(self._store.server, self._store.pods_path, {"labelSelector": ALL}):
            self.is_watching = change.kind != "lost"
            self._also(change)
            try:
                for pod in change.objects:
                    await self._seen(pod, gone=change.kind == "deleted")
                if change.kind == "listed":
                    await self._catch_up(change.objects)
            except Refusal as refusal:
                # The attempt is recorded when the pods are listed again.
                log.warning("An attempt could not be written: %s", refusal)

    async def _seen(self, pod: Json, *, gone: bool) -> None:
        job_id = job_name_of(pod)
        if job_id is None or not (gone or _is_going(pod)):
            return

        if not gone:
            await self._mark(pod, job_id)

        def add(job: Json, before: list[Attempt]) -> list[Attempt]:
            if not belongs(pod, job):
                return before
            return merged(before, [attempt_of(job, pod, self._owned_objects.of(job), gone=gone)])

        await self._store.record(job_id, add)

    async def _mark(self, pod: Json, job_id: str) -> None:
        """Set DisruptionTarget on a preempted pod that lacks it.  The Job then creates another pod (KEP-3329)."""
        job = await self._store.find(job_id)
        if job is None or job["metadata"].get("deletionTimestamp") or not belongs(pod, job):
            return
        if scheduler_of(job).deletes_unmarked and attempt_of(job, pod).reason == TAKEN:
            await self._store.mark(pod, {**DELETED, "lastTransitionTime": time_now()})

    async def _catch_up(self, pods: Iterable[Json]) -> None:
        """Record, from events, the attempts of pods that were deleted while the service did not watch."""
        still_there = {pod["metadata"]["name"] for pod in pods}
        events: dict[str, list[Json]] = {}
        async for jobs in self._store.pages_of_all_jobs(metadata_only=True):
            for reason in event_reasons(jobs):
                if reason not in events:
                    events[reason] = await self._store.events(reason=reason)
            told = [event for found in events.values() for event in found]
            for job in jobs:
                if lost := set(created_pods(job, told)) - still_there:
                    await self._store.record(job["metadata"]["name"], partial(_with_lost, lost, told))


def _with_lost(lost: set[str], told: list[Json], job: Json, before: list[Attempt]) -> list[Attempt]:
    """Add the attempts of `lost` pods from events.  Keep recorded attempts, because they have more details."""
    known = {attempt.pod for attempt in before}
    found = [attempt for attempt in from_events(job, told) if attempt.pod in lost]
    return [*before, *(attempt for attempt in found if attempt.pod not in known)]


def _is_going(pod: Json) -> bool:
    """Return whether the pod is being deleted, or has a condition that announces the deletion."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    marked = any(
        found.get("type") in ("DisruptionTarget", "TerminationTarget") and found.get("status") == "True"
        for found in conditions
    )
    return marked or "deletionTimestamp" in pod["metadata"]
