"""The operations that users have on jobs, independent of HTTP: submit, list, show, read logs and cancel."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from types import MappingProxyType
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from ..identity import PosixIdentity, Resolver, posix_name
from ..jobs import Submission, kind_of, parse_submission, stored_submission
from ..plan import Plan
from ..refusal import Refusal
from ..shape import Json, label_value
from ..site import Site
from ..watch import NodeCache, NodeSizes, OwnedObjectCache, Prerequisites, QueuePlaces
from ..watch.api_server import ApiError
from ..watch.phase import events_tell_more, has_begun
from .answer import Standing, answer, in_order, index_standings, standing_of
from .job_limits import ended_count, kept_note, make_room, removal_warning, stored_job
from .job_planning import composed, plan_now
from .job_store import PODS, JobSelection, JobStore, Owner, belongs, newest_by_id
from .rights_record import id_of

log = logging.getLogger(__name__)

Computed = TypeVar("Computed")

# The limit of log streams for each user.  Each stream that is followed needs two connections.
LOGS_AT_ONCE = 20
# Of all users together.  Each list can be as large as batch.max_size.
LISTS_AT_ONCE = 4
LOG_LIMIT = timedelta(days=1)
_NAMES_TRIED = 3
# The names of queues, for clients who write them.
_NAMES: Mapping[str, str] = MappingProxyType({})
_LONGEST_PAUSE_SECONDS = 3.0


class JobService:
    """The operations on jobs.  All methods take the user's name in the hub and raise Refusal."""

    def __init__(
        self,
        site: Site,
        resolver: Resolver,
        prerequisites: Prerequisites,
        store: JobStore,
        owned_objects: OwnedObjectCache,
        places: QueuePlaces,
        nodes: NodeCache,
    ) -> None:
        self._site = site
        # What pages say for the names of queues.
        self.queue_titles = site.queue_titles
        self._resolver = resolver
        self._prerequisites = prerequisites
        self._store = store
        self._owned_objects = owned_objects
        self._places = places
        self._nodes = nodes
        self._submitting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._listing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._lists = asyncio.Semaphore(LISTS_AT_ONCE)
        self._reading: Counter[str] = Counter()

    async def submit(self, hub_user: str, body: Any) -> Json:
        """Create a job from the body of a request.  Raises Refusal before anything is created."""
        return await self._submit(hub_user, parse_submission(body))

    async def submit_again(self, hub_user: str, job_id: str) -> Json:
        """Create a job with the request of one of the user's jobs.  It is decided anew.  Raises Refusal."""
        return await self._submit(hub_user, stored_submission(await self.stored(self.owner(hub_user), job_id)))

    async def stored(self, selection: JobSelection, job_id: str) -> Json:
        """Return the stored object of one of the selected jobs.  Raises Refusal (404)."""
        return await self._store.job(selection, job_id)

    async def groups_of(self, hub_user: str) -> tuple[str, ...]:
        """Return the names of the user's POSIX groups, at most `identity.cache.reload` old.  Raises Refusal."""
        return (await self._resolver.reload(hub_user)).group_names

    async def _submit(self, hub_user: str, submission: Submission) -> Json:
        owner = self.owner(hub_user)

        def decide(identity: PosixIdentity) -> Plan:
            return plan_now(self._site, identity, submission.plan_request(hub_user))

        # A user's submissions run one at a time, so that two of them cannot exceed the limit of jobs together.
        async with self._submitting.setdefault(hub_user, asyncio.Lock()):
            for _ in range(_NAMES_TRIED):
                decided = await self._resolver.decide(hub_user, decide)
                made = composed(self._site, decided, submission)
                async with self._lists:
                    stored = [stored_job(job) async for jobs in self._store.pages_of(owner) for job in jobs]
                removed = make_room(stored, made, submission.pod_count, self._site.batch)
                await self._prerequisites.require((*decided.prerequisites, *submission.kind.PREREQUISITES))
                created = await self._store.create(made)
                if created is not None:
                    log.info("%s submitted %s as uid %d", hub_user, decided.shape.name, decided.identity.uid)
                    return await self._submitted(created, removed)
        raise Refusal("name-taken", "No free name was found for the job.", field="name", hint="Try again.", status=409)

    async def _submitted(self, created: Json, removed: list[Json]) -> Json:
        """Remove the ended jobs that must make room for a new job, and return the response about the new one."""
        for job in removed:
            await self._store.delete(job)
        if removed:
            log.info("Removed %d ended jobs to make room for %s", len(removed), created["metadata"]["name"])
        found = answer(created, [])
        warnings = [removal_warning(len(removed), self._site.batch)] if removed else []
        return {**found, "warnings": [*found["warnings"], *warnings]}

    async def jobs(self, hub_user: str, place: str = "") -> Json:
        """Return a page of the user's jobs, newest first, and `continue` if there are more, in no order.

        `place` is the value of `continue` in the page before.  The last page has a note if older jobs may have been
        removed.
        """
        owner = self.owner(hub_user)
        # A page can be large: the service reads one page for each user, and LISTS_AT_ONCE for all of them.
        async with self._listing.setdefault(hub_user, asyncio.Lock()), self._lists:
            return await self._jobs(owner, place)

    async def _jobs(self, owner: Owner, place: str) -> Json:
        before, _, place = place.rpartition(":")
        page = await self._store.page_of(owner, place)
        ended = (int(before) if re.fullmatch(r"[0-9]{1,9}", before) else 0) + ended_count(page.jobs)
        listed = await self.answers(newest_by_id(page.jobs))
        listed.sort(key=lambda found: (found["created"], found["id"]), reverse=True)
        if page.next:
            return {"jobs": listed, "continue": f"{ended}:{page.next}"}
        note = kept_note(ended, self._site.batch)
        return {"jobs": listed, "note": note} if note else {"jobs": listed}

    async def each_job(
        self, selection: JobSelection, make: Callable[[Json, Json], Computed], limit: int
    ) -> list[Computed]:
        """Return what `make` returns for each of the stored jobs and the response about it with the titles of queues,
        for `limit` jobs at most.

        The jobs are read in pages, LISTS_AT_ONCE pages at once for all users, so that not all are in memory.
        """
        made: list[Computed] = []
        pages = self._store.pages_of(selection)
        while len(made) < limit:
            async with self._lists:
                if (jobs := await anext(pages, None)) is None:
                    break
                made += map(make, jobs, await self.answers(jobs, self.queue_titles))
        return made[:limit]

    async def jobs_named(
        self, selection: JobSelection, names: Collection[str], make: Callable[[Json, Json], Computed]
    ) -> dict[str, Computed]:
        """Return what `make` returns for those of the selected jobs whose objects have these names.  See `each_job`."""
        async with self._lists:
            found = [job for name in names if (job := await self._store.find(name)) is not None and selection.owns(job)]
            answers = await self.answers(found, self.queue_titles)
        return {job["metadata"]["name"]: make(job, shown) for job, shown in zip(found, answers, strict=True)}

    async def answers(self, jobs: list[Json], queue_titles: Mapping[str, str] = _NAMES) -> list[Json]:
        """Return the responses about these stored jobs in their order, without the attempts of arrays.

        queue_titles: the titles of queues for sentences on pages; without it, sentences have their names.
        """
        return [found for part in _in_parts(jobs) for found in await self._listed(part, queue_titles)]

    async def _listed(self, jobs: list[Json], queue_titles: Mapping[str, str]) -> list[Json]:
        by_job: dict[str, list[Json]] = {}
        for pod in await self._store.pods_of(jobs):
            for reference in pod["metadata"].get("ownerReferences") or []:
                by_job.setdefault(reference["uid"], []).append(pod)
        objects = await self._places.added(map(self._owned_objects.of, jobs))
        return await self._with_nodes(
            lambda nodes: [
                answer(
                    job,
                    by_job.get(job["metadata"]["uid"], []),
                    (),
                    owned,
                    nodes=nodes,
                    queue_titles=queue_titles,
                    in_full=False,
                )
                for job, owned in zip(jobs, objects, strict=True)
            ]
        )

    async def _with_nodes(self, compute: Callable[[Callable[[], NodeSizes]], Computed]) -> Computed:
        """Return what `compute` makes with the sizes of nodes. It reads them only if a job waits."""
        found = compute(self._nodes.sizes)
        return compute(self._nodes.sizes) if await self._nodes.has_been_listed() else found

    async def show(self, hub_user: str, job_id: str) -> Json:
        return await self._answer(await self._store.job(self.owner(hub_user), job_id))

    async def show_selected(self, selection: JobSelection, job_id: str) -> Json:
        """Return the response about one of the selected jobs for its page.  Raises Refusal (404)."""
        return await self._answer(await self._store.job(selection, job_id), self.queue_titles)

    async def cancel(self, hub_user: str, job_id: str, index: int | None = None) -> Json:
        """Delete a job and its pods.  A job that has ended stays unchanged, and the response has its state.

        With `index`, end only this index of an array.
        """
        *older, job = await self._store.jobs_with_id(self.owner(hub_user), job_id)
        if index is not None:
            return await self._cancel_index(hub_user, job, index)
        before = await self._answer(job)
        if _is_over(before):
            return before
        log.info("%s cancels %s", hub_user, job_id)
        left = await self._delete([*older, job])
        if left is not None:
            return await self._answer(left)
        return {**before, "state": "cancelling", "message": "It was cancelled."}

    async def remove(self, hub_user: str, job_id: str) -> Json:
        """Delete a job that has ended, with its output.  Raises Refusal (409) for a job that has not ended."""
        *older, job = await self._store.jobs_with_id(self.owner(hub_user), job_id)
        before = await self._answer(job)
        if not _is_over(before):
            raise Refusal(
                "not-ended",
                f"Job {job_id} has not ended: it is {before['state']}.",
                field="id",
                hint=f"`job cancel {job_id}` ends it and deletes it.",
                status=409,
            )
        log.info("%s removes %s", hub_user, job_id)
        await self._delete([*older, job])
        return before

    async def _delete(self, jobs: Sequence[Json]) -> Json | None:
        """Delete the jobs, oldest first, so that no older job is recreated meanwhile.

        Return the last job if it still exists, because a finalizer keeps it; None otherwise.
        """
        left = None
        for job in jobs:
            left = await self._store.delete(job)
        return left

    async def _cancel_index(self, hub_user: str, job: Json, index: int) -> Json:
        """Delete the pod of an index.  The Job then counts the index as failed, and the other indexes continue.

        Raises Refusal if the index has no pod, because Kubernetes cannot remove an index from a Job.
        """
        pods = await self._store.pods_of_job(job)
        standing = _index_standing(job, pods, index)
        name = id_of(job)
        own = in_order(_pods_of_index(job, pods, index))
        if standing.is_over or standing.state == "cancelling":
            return await self._answer(job)
        if not own:
            raise Refusal(
                "index-not-started",
                f"Index {index} of {name} has not started, and Kubernetes cannot cancel an index before it starts.",
                field="index",
                hint=f"Cancel the index when it has started, or cancel all of {name}.",
                status=409,
            )
        log.info("%s cancels index %d of %s", hub_user, index, name)
        # Record the cancellation first.  Otherwise the deletion looks like a preemption, and the index runs again.
        await self._store.record_cancelled(job, index)
        await self._store.delete_pod(own[-1])
        return await self.show(hub_user, name)

    async def read(
        self,
        hub_user: str,
        job_id: str,
        *,
        follow: bool,
        tail: int | None,
        index: int | None = None,
        selection: JobSelection | None = None,
    ) -> AsyncIterator[bytes]:
        """Return the output of the newest pod of a job, or of one index of an array.

        With `follow`, the iterator waits for the start of the pod, and ends when the pod ends or after LOG_LIMIT.
        Without `follow`, it is empty if the pod has not started.  The caller must close the iterator.  Raises Refusal
        (410) if the pod was deleted, because the output of a deleted pod no longer exists.

        selection: the jobs of which it can be one, without which it must be one of the user's own.
        """
        job = await self._store.job(selection or self.owner(hub_user), job_id)
        pods = await self._store.pods_of_job(job)
        if index is None and (indexes := kind_of(job).indexes(job)):
            raise Refusal(
                "index-missing",
                f"{job_id} is a job array, and each of its indexes has its own output.",
                field="index",
                hint=f"Add an index to the job's id, for example {job_id}_{indexes[0]}.",
            )
        if not _pods_of_index(job, pods, index) and _index_standing(job, pods, index).is_over:
            raise Refusal(
                "output-gone",
                f"The output of {job_id} no longer exists, because its pod was deleted.",
                hint="Write results to a file in the job.",
                status=410,
            )
        if self._reading[hub_user] >= LOGS_AT_ONCE:
            raise Refusal(
                "too-many-logs",
                f"You are already reading {LOGS_AT_ONCE} logs, which is the limit.",
                hint="Close one of them.",
                status=409,
            )
        counted = self._counted(hub_user, self._pieces(job, index, follow=follow, tail=tail))
        # Read the first piece, which is empty, so that this stream is counted before another request is checked.
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
            self._reading += Counter()  # removes users whose count is 0

    async def _pieces(self, job: Json, index: int | None, *, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
        pause = 0.2
        while True:
            pods = in_order(_pods_of_index(job, await self._store.pods_of_job(job), index))
            if pods and has_begun(pods[-1], kind_of(job).SLOTS.main):
                try:
                    pieces = self._store.log(
                        pods[-1], follow=follow, tail=tail, silence_seconds=LOG_LIMIT.total_seconds()
                    )
                    async for piece in pieces:
                        yield piece
                    return
                except ApiError as error:
                    # The container is about to start, or the pod was deleted.
                    log.info("The log of %s cannot be read yet: %s", pods[-1]["metadata"]["name"], error)
            if not follow or await self._will_not_begin(job, pods, index):
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)

    async def _will_not_begin(self, job: Json, pods: list[Json], index: int | None) -> bool:
        now = await self._store.find(job["metadata"]["name"])
        if now is None or now["metadata"]["uid"] != job["metadata"]["uid"]:
            return True
        standing = _index_standing(now, [pod for pod in pods if belongs(pod, now)], index)
        return standing.state in ("succeeded", "failed", "cancelling")

    async def _answer(self, job: Json, queue_titles: Mapping[str, str] = _NAMES) -> Json:
        pods = await self._store.pods_of_job(job)
        (objects,) = await self._places.added([self._owned_objects.of(job)])
        # If a queued job has no pod, its events or its scheduler's objects say why.
        # The events of a pod say what cannot be mounted, and that a hook has failed.
        waits = not pods and standing_of(job, pods).state == "queued"
        told = [pod for pod in in_order(pods)[-1:] if events_tell_more(pod)]
        about = [found["metadata"]["uid"] for found in ([job] if waits else told)]
        events = await self._store.events(involvedObject_uid=about[0]) if about else []
        return await self._with_nodes(
            lambda nodes: answer(job, pods, events, objects, nodes=nodes, queue_titles=queue_titles)
        )

    def owner(self, hub_user: str) -> Owner:
        """Return the owner (hub user and POSIX name) by which jobs are selected.  It needs no identity source."""
        return Owner(hub_user, label_value(posix_name(self._site.identity.username, hub_user)))


def _is_over(found: Json) -> bool:
    return found["state"] in ("succeeded", "failed")


def _in_parts(jobs: list[Json]) -> Iterator[list[Json]]:
    """Yield the jobs in parts of about PODS pods, because a job array has as many pods as indexes."""
    part: list[Json] = []
    pods = 0
    for job in jobs:
        own = max(1, len(kind_of(job).indexes(job)))
        if part and pods + own > PODS:
            yield part
            part, pods = [], 0
        part.append(job)
        pods += own
    if part:
        yield part


def _pods_of_index(job: Json, pods: list[Json], index: int | None) -> list[Json]:
    if index is None:
        return pods
    index_of = kind_of(job).index_of
    return [pod for pod in pods if index_of(job, pod["metadata"]["name"]) == index]


def _index_standing(job: Json, pods: list[Json], index: int | None) -> Standing:
    """Return the state of a job or of one of its indexes.  Raises Refusal (404) if the job has no such index."""
    if index is None:
        return standing_of(job, pods)
    indexes = index_standings(job, pods)
    if index not in indexes:
        name = id_of(job)
        raise Refusal(
            "no-such-index",
            f"{name} has no index {index}." if indexes else f"{name} is a single job and has no indexes.",
            field="index",
            hint=f"`job show {name}` lists its indexes." if indexes else "Leave the index out.",
            status=404,
        )
    return indexes[index]
