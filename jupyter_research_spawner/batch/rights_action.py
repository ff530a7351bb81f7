"""Do what follows from a new decision about a job: refuse it, recreate it, or tell the user.

The job and its pods are read again before anything is done.  Every step is found in the stored jobs.  So after a crash
the next check continues, and several instances of the service may do the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from ..api_object import annotations_of, parse_time, time_now
from ..identity import Resolver
from ..jobs import kind_of, stored_submission
from ..jobs.request import new_job_id
from ..jobs.stored_request import is_complete
from ..metrics import RIGHTS_CHANGED, RightsOutcome
from ..plan import Plan, Request, Verdict
from ..refusal import Refusal
from ..schedulers import SCHEDULERS
from ..shape import Json
from ..site import Site
from ..watch import OwnedObjectCache, Prerequisites
from ..watch.api_server import ApiServer
from ..watch.phase import has_begun, is_over
from .answer import index_standings, standing_of
from .attempts import ATTEMPTS, recorded
from .attempts import written as written_attempts
from .job_planning import composed, plan_now
from .job_store import JobStore
from .rights_record import (
    ID,
    NOTE,
    REFUSED,
    RENEWED,
    SUCCESSOR,
    Refused,
    Successor,
    changed_text,
    contains,
    id_of,
    is_suspended,
    lost_text,
    names_of_pods,
    not_renewed_text,
    not_started_text,
    refused,
    renewed_text,
    result_of,
    successor,
    written,
)
from .unfinished_job import Unfinished

log = logging.getLogger(__name__)

# A held job is replaced after this time, so that a scheduler that was just starting it has noticed that it is held.
SETTLE_SECONDS = 2.0


class RightsActions:
    """What the service does about jobs whose user's rights have changed.

    max_age: the identity of a user is at most this many seconds old.
    """

    def __init__(
        self,
        site: Site,
        resolver: Resolver,
        prerequisites: Prerequisites,
        store: JobStore,
        owned_objects: OwnedObjectCache,
        max_age: float,
    ) -> None:
        self.site = site
        self._resolver = resolver
        self._prerequisites = prerequisites
        self._store = store
        self._owned_objects = owned_objects
        self._max_age = max_age
        self.stops = site.on_lost_right == "stop"

    @property
    def server(self) -> ApiServer:
        return self._store.server

    @property
    def namespace(self) -> str:
        return self.site.namespaces.name

    async def plan(self, request: Request) -> Plan:
        """Decide about a request now.  Raises Refusal."""
        identity = await self._resolver.resolve(request.hub_user, self._max_age)
        return plan_now(self.site, identity, request)

    async def act(self, known: Unfinished, verdict: Verdict) -> None:
        """Do what follows from the verdict about an unfinished job."""
        job = await self._store.find(known.name)
        if job is None or not known.is_same(job) or result_of(job) is not None:
            return
        pods = await self._store.pods_of_job(job)
        states = self._states(job, pods)
        runs, waits = "running" in states, bool(states & {"queued", "starting"})
        if verdict.refusal is not None and runs and self.stops:
            message = f"It was stopped, because you may no longer run it: {verdict.refusal}"
            await self._refuse(known, Refused(time_now(), message), "running-stopped")
            return
        await self._tell(known, verdict if runs else Verdict())
        main = kind_of(job).SLOTS.main
        running = names_of_pods(pod for pod in pods if has_begun(pod, main) and not is_over(pod))
        if not waits:
            return
        if verdict.refusal is not None:
            await self._refuse(
                known, Refused(time_now(), not_started_text(str(verdict.refusal)), running), "waiting-refused"
            )
        elif verdict.changes and (why := _why_not_anew(job, pods)):
            message = not_renewed_text(verdict.changes, why)
            await self._refuse(known, Refused(time_now(), message, running), "waiting-refused")
        elif verdict.changes:
            await self._begin_renewal(known, verdict.changes)

    def _states(self, job: Json, pods: Sequence[Json]) -> set[str]:
        objects = self._owned_objects.of(job)
        standings = index_standings(job, pods, objects).values() or (standing_of(job, pods, (), objects),)
        return {standing.state for standing in standings}

    async def _tell(self, known: Unfinished, verdict: Verdict) -> None:
        """Record the note for the user of a running job, or remove it if it no longer holds."""
        note = note_of(verdict)

        def change(job: Json) -> Json:
            is_told = annotations_of(job).get(NOTE, "") == note
            return {} if is_told else {"metadata": {"annotations": {NOTE: note or None}}}

        if await self._store.change(known.name, known.uid, change) and note:
            _count(known, "running-changed" if verdict.refusal is None else "running-refused", note)

    async def _refuse(self, known: Unfinished, why: Refused, outcome: RightsOutcome) -> None:
        """Record that the job does not start, or not again, and keep it from starting."""

        def change(job: Json) -> Json:
            if refused(job) is not None or kind_of(job).result(job) is not None:
                return {}
            # Indexes that continue keep what their user was told.
            told_before = {} if why.running else {NOTE: None}
            return {"metadata": {"annotations": {REFUSED: written(why), SUCCESSOR: None, **told_before}}}

        if await self._store.change(known.name, known.uid, change):
            _count(known, outcome, why.message)
        await self.keep_refused(known, why)

    async def keep_refused(self, known: Unfinished, why: Refused) -> None:
        """Keep a refused job from starting, and remove it when it was kept as long as jobs that have ended.

        If indexes of an array continue, the pods of the other indexes are deleted as soon as they are created, so that
        these indexes fail.  When none continues, the whole job is held.
        """
        if known.refused is not None and known.is_suspended and not self._startable(known.uid, known.scheduler):
            if _age(why.at) > self.site.batch.keep:
                log.info("Removed the job %s, which was refused at %s", known.name, why.at)
                await self._remove(known)
            return
        if known.is_array and why.running and await self._delete_other_pods(known, why):
            return
        await self._hold(known)

    async def _delete_other_pods(self, known: Unfinished, why: Refused) -> bool:
        """Delete the pods that did not run when the array was refused.  Return whether another pod is left.

        A pod can begin before the service has seen that it was created, for example while the service restarts.
        """
        pods = [pod for pod in await self._store.pods_of_job(known.reference) if not is_over(pod)]
        for pod in pods:
            if not why.continues(pod) and "deletionTimestamp" not in pod["metadata"]:
                await self._store.delete_pod(pod)
        return any(map(why.continues, pods))

    async def _remove(self, known: Unfinished) -> None:
        job = await self._store.find(known.name)
        if job is not None and known.is_same(job):
            await self._store.delete(job)

    async def _hold(self, known: Unfinished) -> None:
        """Keep a job from having pods: deactivate the scheduler's objects for it, or suspend the job itself."""
        hold = SCHEDULERS[known.scheduler].HOLD
        if hold is not None:
            for obj in self._startable(known.uid, known.scheduler):
                await self._store.patch_object(hold.kind, obj["metadata"]["name"], hold.patch)
            return

        def change(job: Json) -> Json:
            is_done = is_suspended(job) or kind_of(job).result(job) is not None
            return {} if is_done else kind_of(job).SUSPENSION

        await self._store.change(known.name, known.uid, change)

    def _startable(self, uid: str, scheduler: str) -> list[Json]:
        """Return the scheduler's objects for a job that can still start it."""
        hold = SCHEDULERS[scheduler].HOLD
        if hold is None:
            return []
        found = self._owned_objects.of({"metadata": {"uid": uid}}).by_kind.get(hold.kind.kind, ())
        return [obj for obj in found if not contains(obj, hold.patch)]

    async def _begin_renewal(self, known: Unfinished, changes: Sequence[str]) -> None:
        """Record the new job's name on the old job, so that all instances create the same job.  Hold the old job."""

        def change(job: Json) -> Json:
            if refused(job) is not None or successor(job) is not None or kind_of(job).result(job) is not None:
                return {}
            name = new_job_id(stored_submission(job).request)
            value = written(Successor(time_now(), name, renewed_text(changes)))
            return {"metadata": {"annotations": {SUCCESSOR: value}}}

        await self._store.change(known.name, known.uid, change)
        await self._hold(known)

    async def renew(self, known: Unfinished) -> bool:
        """Replace a held job by a new one if it has no pods left.  Return False if that is not possible yet.

        The old job is deleted when the new one exists, so none is lost.  A user who cancels deletes the old one first.
        """
        await self._hold(known)
        job = await self._store.find(known.name)
        next_ = None if job is None else successor(job)
        if job is None or next_ is None or not known.is_same(job):
            return True
        if kind_of(job).result(job) is not None:  # it has begun and ended before it was held
            await self._store.change(
                known.name, known.uid, lambda job: {"metadata": {"annotations": {SUCCESSOR: None}}}
            )
            return True
        pods = await self._store.pods_of_job(job)
        if why := _why_not_anew(job, pods):
            await self._refuse(known, Refused(time_now(), f"{next_.message} {why}"), "waiting-refused")
            return True
        is_held = is_suspended(job) and not self._startable(known.uid, known.scheduler)
        is_idle = all(map(is_over, pods)) and not self._states(job, pods) & {"succeeded", "failed", "running"}
        if not is_held or not is_idle or _age(next_.at) < timedelta(seconds=SETTLE_SECONDS):
            return False
        try:
            made = await self._made_anew(job, known.hub_user, next_)
        except Refusal as refusal:
            if refusal.status == 503:
                raise
            await self._refuse(known, Refused(time_now(), not_started_text(str(refusal))), "waiting-refused")
            return True
        await self._replace(known, job, made)
        return True

    async def _made_anew(self, job: Json, hub_user: str, next_: Successor) -> Json:
        """Return the manifest of the new job.  Raises Refusal."""
        submission = stored_submission(job)
        decided = await self.plan(submission.plan_request(hub_user, next_.name))
        await self._prerequisites.require((*decided.prerequisites, *submission.kind.PREREQUISITES))
        made = composed(self.site, decided, submission)
        made["metadata"]["labels"][ID] = id_of(job)
        made["metadata"]["annotations"][RENEWED] = next_.message
        if begun := [attempt for attempt in recorded(job) if attempt.started]:
            made["metadata"]["annotations"][ATTEMPTS] = written_attempts(begun)
        return made

    async def _replace(self, known: Unfinished, job: Json, made: Json) -> None:
        created = await self._store.create(made)
        old = await self._store.find(known.name)
        if old is None or not known.is_same(old):
            # Another instance has finished this, or the user has cancelled the job meanwhile.
            if created is not None:
                await self._store.delete(created)
            return
        if created is None and not _is_made_from(job, await self._store.find(made["metadata"]["name"])):
            log.warning("The name %s is taken. The job %s gets another one", made["metadata"]["name"], known.name)
            await self._store.change(known.name, known.uid, _with_another_name)
            return
        if created is not None:
            _count(known, "waiting-renewed", f"{made['metadata']['name']} replaces it. {annotations_of(made)[RENEWED]}")
        await self._store.delete(old)


def note_of(verdict: Verdict) -> str:
    """Return the note for the user of a running job; "" if nothing has changed."""
    if verdict.refusal is not None:
        return lost_text(str(verdict.refusal))
    return changed_text(verdict.changes) if verdict.changes else ""


def _why_not_anew(job: Json, pods: Sequence[Json]) -> str:
    """Return why a waiting job with other rights is not recreated; "" if it is."""
    kind = kind_of(job)
    if not is_complete(job):
        return "It was submitted to an older version of the batch service, which cannot recreate it. Submit it again."
    begun = [pod for pod in pods if has_begun(pod, kind.SLOTS.main)]
    if kind.indexes(job) and (kind.index_results(job) or begun or any(attempt.started for attempt in recorded(job))):
        return (
            "Some of its indexes have run already, and none may run twice. So the other indexes do not start. "
            "Submit them again."
        )
    return ""


def _with_another_name(job: Json) -> Json:
    next_ = successor(job)
    if next_ is None:
        return {}
    name = new_job_id(stored_submission(job).request)
    return {"metadata": {"annotations": {SUCCESSOR: written(replace(next_, name=name))}}}


def _is_made_from(job: Json, found: Json | None) -> bool:
    return found is not None and (found["metadata"].get("labels") or {}).get(ID) == id_of(job)


def _count(known: Unfinished, outcome: RightsOutcome, message: str) -> None:
    RIGHTS_CHANGED.labels(kind=known.kind, outcome=outcome).inc()
    log.warning("Job %s of %s: %s: %s", known.name, known.hub_user, outcome, message)


def _age(at: str) -> timedelta:
    """Return the time since the timestamp `at`; timedelta.max if it is not valid."""
    try:
        return datetime.now(timezone.utc) - parse_time(at)
    except (ValueError, TypeError):
        return timedelta.max
