"""Reads the rows of "My work": a user's jobs from the cluster, and servers from the hub and their pods.

The rows of users who look at the page are in memory.  Afterwards only jobs that have changed are read again.  The
changes come from the watches of jobs and pods that the service has anyway.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from ..api_object import annotations_of
from ..jobs.notebook import SLOTS as NOTEBOOK_SLOTS
from ..pod.overlay import USER_NAME
from ..shape import Json
from ..site import Site
from ..watch import NodeCache, OwnedObjectCache, Phase, QueuePlaces, QueueQuotas, classify, queue_report
from ..watch.follow import Change
from .attempts import plan_of, scheduler_of
from .job_limits import stored_job
from .job_service import JobService
from .job_store import JobStore, job_name_of
from .rights_record import successor
from .work_scopes import ScopeSelection, WorkScope, may_contain, shared_scopes
from .work_view import QueueUsage, Usage, WorkRow, job_row, queue_usage, row_of_another, server_row, usage

# Rows are removed from memory if no request has read them for this time.
KEEP_SECONDS = 300.0
# All rows in memory.  A row takes about 1 KiB.
ROWS_KEPT = 50_000
# The rows of one user, of one class or of one queue.
ROWS_OF_SCOPE = 20_000
# All jobs are read again after this time, or after this many times the duration of the last time, whichever is longer.
READ_AGAIN_SECONDS, READ_AGAIN_FACTOR = 300.0, 50.0
# If more jobs have changed, all are read again.
CHANGED_AT_ONCE = 100
# What a job waits for can change without a change of the job or its pods.
WAITING_SECONDS = 10.0


@dataclass(frozen=True)
class _Entry:
    """The row of a stored job, and what the job counts for."""

    row: WorkRow
    is_replaced: bool
    has_ended: bool
    active_pods: int
    size: int
    read: float


@dataclass
class _Known:
    """What is in memory about the jobs of a scope, by the names of the stored objects.

    changed: the names of jobs that have changed since.  is_stale: whether all must be read.  read: when all were read.
    """

    entries: dict[str, _Entry] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    is_stale: bool = True
    read: float = 0.0
    took: float = 0.0
    used: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    signals: set[asyncio.Event] = field(default_factory=set)


@dataclass(frozen=True)
class Work:
    """The rows of a scope, and the use of the limits of one's own jobs.  Very long lists are not complete."""

    rows: tuple[WorkRow, ...]
    usage: tuple[Usage, ...]
    is_complete: bool


@dataclass(frozen=True)
class ClusterReaders:
    """What reads the pods of servers, why they wait, and the quotas of queues."""

    store: JobStore
    owned_objects: OwnedObjectCache
    places: QueuePlaces
    nodes: NodeCache
    quotas: QueueQuotas


class WorkReader:
    """Reads what "My work" shows."""

    def __init__(self, site: Site, service: JobService, cluster: ClusterReaders, prefix: str) -> None:
        """prefix: the path with which all URLs of the service begin."""
        self.site = site
        self._service = service
        self._cluster = cluster
        self._prefix = prefix
        self._known: dict[WorkScope, _Known] = {}
        self.titles: Mapping[str, str] = {name: profile.title for name, profile in site.profiles.items()}
        self.queue_titles = service.queue_titles

    def jobs_changed(self, change: Change) -> None:
        """Take a change of the jobs of all users."""
        if change.kind == "listed":
            self._all_may_have_changed()
            return
        for job in change.objects:
            for scope, known in self._known.items():
                name = job["metadata"]["name"]
                if name in known.entries or may_contain(self.site, scope, job):
                    _changed(known, name)

    def pods_changed(self, change: Change) -> None:
        """Take a change of the pods of all users' jobs."""
        if change.kind == "listed":
            self._all_may_have_changed()
            return
        for name in filter(None, map(job_name_of, change.objects)):
            for known in self._known.values():
                if name in known.entries:
                    _changed(known, name)

    def _all_may_have_changed(self) -> None:
        for known in self._known.values():
            known.is_stale = True
            _signal(known)

    def subscribe(self, scope: WorkScope) -> asyncio.Event:
        """Return an event that is set when jobs of the scope have changed, until `unsubscribe`."""
        event = asyncio.Event()
        self._of(scope).signals.add(event)
        return event

    def unsubscribe(self, scope: WorkScope, event: asyncio.Event) -> None:
        """End a subscription."""
        if (known := self._known.get(scope)) is not None:
            known.signals.discard(event)

    def selection(self, scope: WorkScope, hub_user: str) -> ScopeSelection:
        """Return the jobs of a scope that this user may see."""
        return ScopeSelection(self.site, scope, self._service.owner(hub_user))

    async def shared_scopes(self, hub_user: str) -> tuple[WorkScope, ...]:
        """Return the classes and queues whose jobs the user may see.  Raises Refusal."""
        if not any(course.staff for course in self.site.classes.values()) and not any(
            queue.owners for queue in self.site.queues.values()
        ):
            return ()
        return shared_scopes(self.site, await self._service.groups_of(hub_user))

    async def jobs_of(self, scope: WorkScope, hub_user: str, shown: Collection[str] = ()) -> Work:
        """Return the rows of the jobs of a scope, in no order, for a user who may see them.

        `shown` has the ids of those that must be up to date.  Raises Refusal.
        """
        known = self._of(scope)
        async with known.lock:
            await self._update(scope, hub_user, known, shown)
            known.used = time.monotonic()
        self._forget()
        entries = _newest(known.entries.values())
        limits = self.site.batch
        used = usage(
            sum(entry.active_pods for entry in entries),
            sum(entry.has_ended for entry in entries),
            sum(entry.size for entry in known.entries.values()),
            limits.max_jobs,
            limits.keep_jobs,
            limits.max_size,
        )
        return Work(
            rows=tuple(entry.row for entry in entries),
            usage=used if scope.is_own else (),
            is_complete=len(known.entries) < ROWS_OF_SCOPE,
        )

    def _of(self, scope: WorkScope) -> _Known:
        known = self._known.setdefault(scope, _Known())
        known.used = time.monotonic()
        return known

    async def _update(self, scope: WorkScope, hub_user: str, known: _Known, shown: Collection[str]) -> None:
        now, selection = time.monotonic(), self.selection(scope, hub_user)
        waiting = {
            name
            for name, entry in known.entries.items()
            if entry.row.id in shown and entry.row.state in ("queued", "starting")
        }
        names = known.changed | {name for name in waiting if now - known.entries[name].read > WAITING_SECONDS}
        is_old = now - known.read > max(READ_AGAIN_SECONDS, READ_AGAIN_FACTOR * known.took)
        make = partial(self._entry, scope)
        if known.is_stale or is_old or len(names) > CHANGED_AT_ONCE:
            # What changes from here on is read again the next time.
            known.changed.clear()
            known.is_stale = False
            try:
                entries = await self._service.each_job(selection, partial(_named, make), ROWS_OF_SCOPE)
            except BaseException:
                known.is_stale = True
                raise
            known.entries, known.read, known.took = dict(entries), now, time.monotonic() - now
        elif names:
            known.changed -= names
            try:
                found = await self._service.jobs_named(selection, names, make)
            except BaseException:
                known.changed |= names
                raise
            known.entries = {name: entry for name, entry in known.entries.items() if name not in names} | found

    def _entry(self, scope: WorkScope, job: Json, found: Json) -> _Entry:
        counted, row = stored_job(job), job_row(found, self.titles, self._prefix)
        if not scope.is_own:
            user = str(annotations_of(job).get(USER_NAME, ""))
            row = row_of_another(row, found, user, scope.key, shows_output=self.site.batch.show_output_of_others)
        return _Entry(
            row=row,
            is_replaced=successor(job) is not None,
            has_ended=counted.ended is not None,
            active_pods=counted.active_pods,
            size=counted.size,
            read=time.monotonic(),
        )

    def _forget(self) -> None:
        """Remove rows that no request has read for KEEP_SECONDS, and the least recently read ones above ROWS_KEPT."""
        now, total = time.monotonic(), 0
        for scope, known in sorted(self._known.items(), key=lambda item: item[1].used, reverse=True):
            if known.lock.locked():
                continue
            if total and total + len(known.entries) > ROWS_KEPT:
                known.entries, known.is_stale = {}, True
            total += len(known.entries)
            if now - known.used > KEEP_SECONDS and not known.signals:
                del self._known[scope]

    async def quotas_of(self, queues: Collection[str]) -> tuple[tuple[QueueUsage, ...], datetime | None]:
        """Return how much of these queues' quotas is used, and when this was read; nothing of those without quotas."""
        report = await self._cluster.quotas.report(queues)
        found = (queue_usage(name, self.queue_titles[name], use) for name, use in report.queues.items())
        return tuple(found), report.as_of

    async def servers_of(self, hub_user: str, model: Json, hub_prefix: str) -> tuple[WorkRow, ...] | None:
        """Return the rows of a user's servers that are not stopped; None if the hub does not show them.

        model: what the hub says about the user with the token of this request.  Raises Refusal.
        """
        servers = model.get("servers")
        if not isinstance(servers, dict):
            return None
        active = {name: found for name, found in servers.items() if not found.get("stopped")}
        pods = await self._pods_of_servers(hub_user) if active else {}
        rows = []
        for name, found in sorted(active.items()):
            pod, phase = pods.get(name, (None, None))
            rows.append(server_row(str(name), found, pod, phase, self.titles, hub_prefix))
        return tuple(rows)

    async def _pods_of_servers(self, hub_user: str) -> dict[str, tuple[Json, Phase]]:
        """Return the newest pod of each server of a user, and its phase."""
        pods = await self._cluster.store.notebooks_of(self._service.owner(hub_user))
        objects = await self._cluster.places.added(map(self._cluster.owned_objects.of, pods))
        found = {}
        oldest_first = sorted(zip(pods, objects, strict=True), key=lambda one: one[0]["metadata"]["creationTimestamp"])
        for pod, owned in oldest_first:
            plan, scheduler = plan_of(pod), scheduler_of(pod)
            queue = str(plan.get("queue", ""))
            report = queue_report(
                scheduler,
                pod,
                owned,
                queue=self.queue_titles.get(queue, queue),
                pod_specs=[pod.get("spec") or {}],
                created=pod["metadata"]["creationTimestamp"],
                nodes=self._cluster.nodes.sizes,
            )
            phase = classify(pod, report, NOTEBOOK_SLOTS.main, scheduler.eviction(pod, owned))
            found[str(plan.get("server", ""))] = (pod, phase)
        return found


def _named(make: Callable[[Json, Json], _Entry], job: Json, found: Json) -> tuple[str, _Entry]:
    return str(job["metadata"]["name"]), make(job, found)


def _changed(known: _Known, name: str) -> None:
    if not known.is_stale:
        known.changed.add(name)
    if len(known.changed) > CHANGED_AT_ONCE:  # so that a scope that nobody reads does not grow
        known.changed.clear()
        known.is_stale = True
    _signal(known)


def _newest(entries: Collection[_Entry]) -> list[_Entry]:
    """Return the entries without those of jobs that another one of these jobs has replaced."""
    found: dict[str, _Entry] = {}
    for entry in sorted(entries, key=lambda entry: not entry.is_replaced):
        found[entry.row.id] = entry
    return list(found.values())


def _signal(known: _Known) -> None:
    for event in known.signals:
        event.set()
