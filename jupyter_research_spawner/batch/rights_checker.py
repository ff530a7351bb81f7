"""Decide again about unfinished jobs, because a user's rights can be withdrawn after the submission.

A job is decided again every RECHECK_SECONDS, and at once when a pod of it is created, is bound to a node, or ends.  As
long as nothing has changed, this sends no request to the API server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..jobs import Resource, kind_of
from ..plan import RECHECK_SECONDS, Plan, Verdict, decide_again
from ..refusal import Refusal
from ..shape import Json
from ..watch.follow import Change, follow
from ..watch.phase import has_begun, is_over
from .job_metrics import JobMetrics
from .job_store import ALL, PAGE, RESOURCES, job_name_of
from .rights_action import SETTLE_SECONDS, RightsActions, note_of
from .unfinished_job import Unfinished, is_unfinished, unfinished

log = logging.getLogger(__name__)

_CHECKS_AT_ONCE = 8


class RightsChecker:
    """Decides again about the unfinished jobs of one namespace.  `run` must be started once as a task."""

    def __init__(
        self,
        actions: RightsActions,
        every: float = RECHECK_SECONDS,
        also: Callable[[Change], None] = lambda change: None,
    ) -> None:
        """`also` is called for each change of the jobs, so that they are watched once.

        Its changes of kind `listed` have only the jobs that have not ended.
        """
        self._actions = actions
        self._also = also
        # It takes the same changes, so that jobs and pods are watched once.
        self._metrics = JobMetrics(actions.site)
        self._every = every
        self._jobs: dict[str, Unfinished] = {}
        # By job and uid: the pods that have not ended, and whether each has a node and its main container has begun.
        self._pods: dict[str, dict[str, tuple[bool, bool]]] = {}
        self._job_of_pod: dict[str, str] = {}
        self._verdicts: dict[Any, Verdict | None] = {}
        # Names of jobs to check, in order.  Those about which something has changed come first.
        self._urgent: dict[str, None] = {}
        self._due: dict[str, None] = {}
        self._busy: set[str] = set()
        self._has_due = asyncio.Event()

    async def run(self) -> None:
        """Watch the jobs and check them until the task is cancelled."""
        workers = (self._work() for _ in range(_CHECKS_AT_ONCE))
        await asyncio.gather(*map(self._follow, RESOURCES), *workers, self._check_all_regularly())

    def pods_changed(self, change: Change) -> None:
        """Take a change of the jobs' pods, which the recorder of attempts watches."""
        self._metrics.pods_changed(change)
        if change.kind == "listed":
            for uid in self._job_of_pod.keys() - {pod["metadata"]["uid"] for pod in change.objects}:
                self._forget_pod(uid)
        for pod in change.objects:
            if (name := job_name_of(pod)) is not None:
                self._pod_changed(name, pod, is_gone=change.kind == "deleted" or is_over(pod))

    def _pod_changed(self, name: str, pod: Json, *, is_gone: bool) -> None:
        uid = pod["metadata"]["uid"]
        before = self._pods.get(name, {}).get(uid)
        if is_gone:
            self._forget_pod(uid)
            if before is not None:
                self._enqueue(name)
            return
        now = (bool(pod["spec"].get("nodeName")), has_begun(pod, kind_of(pod).SLOTS.main))
        self._pods.setdefault(name, {})[uid] = now
        self._job_of_pod[uid] = name
        job = self._jobs.get(name)
        if now != before and (not now[1] or (job is not None and job.refused is not None)):
            self._enqueue(name)

    def _forget_pod(self, uid: str) -> None:
        name = self._job_of_pod.pop(uid, None)
        if name is not None:
            pods = self._pods[name]
            del pods[uid]
            if not pods:
                del self._pods[name]

    async def _follow(self, resource: Resource) -> None:
        server, path = self._actions.server, resource.path(self._actions.namespace)
        mine: set[str] = set()
        async for change in follow(server, path, {"labelSelector": ALL}, page=PAGE, keep=is_unfinished):
            self._also(change)
            if change.kind == "listed":
                for name in mine - {job["metadata"]["name"] for job in change.objects}:
                    self._jobs.pop(name, None)
                    mine.discard(name)
                    self._metrics.job_lost(name)
            for job in change.objects:
                name = job["metadata"]["name"]
                self._metrics.job_changed(job, is_gone=change.kind == "deleted")
                if change.kind == "deleted" or not is_unfinished(job):
                    mine.discard(name)
                    self._jobs.pop(name, None)
                    continue
                mine.add(name)
                try:
                    self._job_changed(unfinished(job))
                except Exception:  # a fault of one job must not keep the others from being checked
                    log.exception("Nothing can be decided again about the job %s", name)

    def _job_changed(self, now: Unfinished) -> None:
        before = self._jobs.get(now.name)
        self._jobs[now.name] = now
        marks = None if before is None else (before.uid, before.refused, before.has_successor, before.is_suspended)
        if marks != (now.uid, now.refused, now.has_successor, now.is_suspended):
            self._enqueue(now.name)

    def _enqueue(self, name: str) -> None:
        self._urgent[name] = None
        self._has_due.set()

    async def _check_all_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self._verdicts.clear()
            self._due.update(dict.fromkeys(self._jobs))
            self._has_due.set()

    async def _work(self) -> None:
        while True:
            await self._has_due.wait()
            found = self._next()
            if found is None:
                self._has_due.clear()
                continue
            name, is_urgent = found
            self._busy.add(name)
            try:
                await self._check(name, is_urgent)
            except Refusal as refusal:
                log.warning("Nothing could be decided again about the job %s: %s", name, refusal)
            except Exception:  # a fault of one job must not keep the others from being checked
                log.exception("Nothing could be decided again about the job %s", name)
            finally:
                self._busy.discard(name)
                self._has_due.set()
            # Let requests of users come in between.
            await asyncio.sleep(0)

    def _next(self) -> tuple[str, bool] | None:
        """Return the name of the next job that no worker checks now, and whether something about it has changed."""
        for names in (self._urgent, self._due):
            for name in names:
                if name not in self._busy:
                    del names[name]
                    return name, names is self._urgent
        return None

    async def _check(self, name: str, is_urgent: bool) -> None:
        job = self._jobs.get(name)
        if job is None:
            return
        if job.refused is not None:
            await self._actions.keep_refused(job, job.refused)
        elif job.has_successor:
            if not await self._actions.renew(job):
                asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._enqueue, name)
        else:
            verdict = await self._verdict(job, is_urgent)
            if verdict is not None and self._is_news(job, verdict):
                await self._actions.act(job, verdict)

    async def _verdict(self, job: Unfinished, is_urgent: bool) -> Verdict | None:
        """Return the verdict, or this round's verdict about an equal job if nothing about this one has changed.

        None means that nothing is known now, for example because an identity source is down.
        """
        request = job.request
        key = (request, job.granted)
        if not is_urgent and key in self._verdicts:
            return self._verdicts[key]

        async def decide() -> Plan:
            if isinstance(request, Refusal):
                raise replace(request)
            return await self._actions.plan(request)

        verdict = await decide_again(job.granted, decide)
        is_known = verdict.plan is not None or verdict.refusal is not None
        # Without the plan, because verdicts are kept.
        self._verdicts[key] = replace(verdict, plan=None) if is_known else None
        return self._verdicts[key]

    def _is_news(self, job: Unfinished, verdict: Verdict) -> bool:
        """Return whether the job needs an action, according to the state in memory."""
        note = note_of(verdict)
        runs = any(begun for _, begun in self._pods.get(job.name, {}).values())
        is_stopped = verdict.refusal is not None and self._actions.stops
        return job.note != note or (bool(note) and (not runs or job.is_array or is_stopped))
