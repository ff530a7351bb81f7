"""What people may do with jobs: submit, list, show, read, cancel.  Knows no HTTP, and believes a hub name only."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime, timedelta, timezone
from typing import Any
from weakref import WeakValueDictionary

from ..identity import Resolver, posix_name
from ..jobs.job import MAIN, SLOTS, manifest, new_id, wishes
from ..jobs.request import JobRequest, parse
from ..plan import Plan, plan
from ..pod import check, compose
from ..refusal import Refusal
from ..shape import Json, label_value
from ..site import Site
from ..watch import OwnedObjectCache, Prerequisites
from ..watch.api_server import ApiError
from .answer import answer, in_order, standing_of
from .job_store import JobStore, Owner, belongs

log = logging.getLogger(__name__)

# A log that is followed is a connection on both sides; notebooks and pages of one person need a few.
LOGS_AT_ONCE = 20
LOG_LIMIT = timedelta(days=1)
_NAMES_TRIED = 3
_LONGEST_PAUSE_SECONDS = 3.0


class JobService:
    """Every method takes the hub's name for who asks, and raises Refusal."""

    def __init__(
        self,
        site: Site,
        resolver: Resolver,
        prerequisites: Prerequisites,
        store: JobStore,
        owned_objects: OwnedObjectCache,
    ) -> None:
        self._site = site
        self._resolver = resolver
        self._prerequisites = prerequisites
        self._store = store
        self._owned_objects = owned_objects
        self._submitting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._reading: Counter[str] = Counter()

    async def submit(self, hub_user: str, body: Any) -> Json:
        """Everything that can be refused is refused before anything is created."""
        job = parse(body)
        owner = self._owner(hub_user)
        identity = await self._resolver.resolve(hub_user)
        # One after the other, so that nobody's jobs are counted while more of theirs are made.
        async with self._submitting.setdefault(hub_user, asyncio.Lock()):
            await self._has_room(owner)
            for _ in range(_NAMES_TRIED):
                decided = plan(
                    self._site,
                    identity,
                    wishes(job, hub_user, new_id(job)),
                    run_id=f"r-{secrets.token_hex(5)}",
                    now=datetime.now(timezone.utc),
                )
                composed = self._composed(decided, job)
                await self._prerequisites.require(decided.prerequisites)
                created = await self._store.create(composed)
                if created is not None:
                    log.info("%s submitted %s as uid %d", hub_user, decided.shape.name, identity.uid)
                    return answer(created, [])
        raise Refusal("name-taken", "No free name was found for the job.", field="name", hint="Try again.", status=409)

    async def jobs(self, hub_user: str) -> list[Json]:
        """Newest first."""
        owner = self._owner(hub_user)
        jobs, pods = await asyncio.gather(self._store.jobs_of(owner), self._store.pods_of(owner))
        jobs.sort(key=lambda job: (job["metadata"]["creationTimestamp"], job["metadata"]["name"]), reverse=True)
        by_job: dict[str, list[Json]] = {}
        for pod in pods:
            for reference in pod["metadata"].get("ownerReferences") or []:
                by_job.setdefault(reference["uid"], []).append(pod)
        return [answer(job, by_job.get(job["metadata"]["uid"], []), (), self._owned_objects.of(job)) for job in jobs]

    async def show(self, hub_user: str, job_id: str) -> Json:
        job = await self._store.job(self._owner(hub_user), job_id)
        return await self._answer(job)

    async def cancel(self, hub_user: str, job_id: str) -> Json:
        """Delete the Job after its pods, whether it has ended or not."""
        job = await self._store.job(self._owner(hub_user), job_id)
        before = await self._answer(job)
        log.info("%s cancels %s", hub_user, job_id)
        left = await self._store.delete(job)
        if left is not None:
            return await self._answer(left)
        is_over = before["state"] in ("succeeded", "failed")
        return before if is_over else {**before, "state": "cancelling", "message": "It was cancelled."}

    async def read(self, hub_user: str, job_id: str, *, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
        """What the newest pod of the job prints.

        A job that waits has printed nothing: "" at once, or with `follow` when it starts.  With `follow` until the pod
        ends, at most LOG_LIMIT.  Close the iterator when nobody listens any more.  Raises Refusal 410 when the pod is
        gone and took its output along.
        """
        job = await self._store.job(self._owner(hub_user), job_id)
        pods = await self._store.pods_of_job(job)
        if not pods and standing_of(job, pods).is_over:
            raise Refusal(
                "output-gone",
                f"The output of {job_id} is gone: the cluster has removed its pod.",
                hint="Let a job write what must last into a file.",
                status=410,
            )
        if self._reading[hub_user] >= LOGS_AT_ONCE:
            raise Refusal(
                "too-many-logs",
                f"You read {LOGS_AT_ONCE} logs at once already.",
                hint="Close one of them.",
                status=409,
            )
        counted = self._counted(hub_user, self._pieces(job, follow=follow, tail=tail))
        # Up to its first piece, an empty one: counted from now on, before anybody else is.
        await anext(counted)
        return counted

    async def _counted(self, hub_user: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self._reading[hub_user] += 1
        try:
            yield b""
            async with aclosing(pieces) as opened:  # type: ignore[type-var]
                async for piece in opened:
                    yield piece
        finally:
            self._reading[hub_user] -= 1
            self._reading += Counter()  # drops those at zero

    async def _pieces(self, job: Json, *, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
        pause = 0.2
        while True:
            pods = in_order(await self._store.pods_of_job(job))
            if pods and _has_begun(pods[-1]):
                try:
                    pieces = self._store.log(
                        pods[-1], follow=follow, tail=tail, silence_seconds=LOG_LIMIT.total_seconds()
                    )
                    async for piece in pieces:
                        yield piece
                    return
                except ApiError as error:
                    # Its container begins just now, or it went just now.
                    log.info("The log of %s is not there yet: %s", pods[-1]["metadata"]["name"], error)
            if not follow or await self._will_not_begin(job, pods):
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)

    async def _will_not_begin(self, job: Json, pods: list[Json]) -> bool:
        now = await self._store.find(job["metadata"]["name"])
        if now is None or now["metadata"]["uid"] != job["metadata"]["uid"]:
            return True
        return standing_of(now, [pod for pod in pods if belongs(pod, now)]).state in (
            "succeeded",
            "failed",
            "cancelling",
        )

    async def _answer(self, job: Json) -> Json:
        pods = await self._store.pods_of_job(job)
        objects = self._owned_objects.of(job)
        # A Job without a pod cannot say why; only an event can, or its scheduler.
        waits = not pods and standing_of(job, pods).state == "queued"
        events = await self._store.events(involvedObject_uid=job["metadata"]["uid"]) if waits else []
        return answer(job, pods, events, objects)

    def _owner(self, hub_user: str) -> Owner:
        """By the settings alone: people see and cancel their jobs while the identity sources are down."""
        return Owner(hub_user, label_value(posix_name(self._site.identity.username, hub_user)))

    def _composed(self, decided: Plan, job: JobRequest) -> Json:
        composed = compose(decided, manifest(decided, job, self._site.batch.keep), SLOTS)
        check(decided, composed, SLOTS)
        return composed

    async def _has_room(self, owner: Owner) -> None:
        limit = self._site.batch.max_jobs
        jobs = await self._store.jobs_of(owner)
        going_on = sum(not standing_of(job, []).is_over for job in jobs)
        if going_on >= limit:
            raise Refusal(
                "too-many-jobs",
                f"You have {going_on} jobs that have not ended; {limit} is the limit.",
                hint="Wait for some to end, or cancel some.",
                status=409,
            )


def _has_begun(pod: Json) -> bool:
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        if container.get("name") == MAIN:
            return not {"running", "terminated"}.isdisjoint(container.get("state") or {})
    return False
