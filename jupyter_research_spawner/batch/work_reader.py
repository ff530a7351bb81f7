"""Reads the rows of "My work": a user's jobs from the cluster, and servers from the hub and their pods.

The rows of users who look at the page are in memory.  Afterwards only jobs that have changed are read again.  The
changes come from the watches of jobs and pods that the service has anyway.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ..api_object import annotations_of
from ..jobs.notebook import SLOTS as NOTEBOOK_SLOTS
from ..pod.overlay import USER_NAME
from ..shape import Json
from ..site import Site
from ..watch import NodeCache, OwnedObjectCache, Phase, QueuePlaces, classify, queue_report
from ..watch.follow import Change
from .attempts import plan_of, scheduler_of
from .job_limits import stored_job
from .job_service import JobService
from .job_store import JobStore, job_name_of
from .rights_record import successor
from .work_view import Usage, WorkRow, job_row, server_row, usage

# A user's rows are forgotten when nobody has read them for this time.
KEEP_SECONDS = 300.0
# All rows in memory.  A row takes about 1 KiB.
ROWS_KEPT = 50_000
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
    """What is in memory about one user's jobs, by the names of the stored objects.

    changed: the names of jobs that have changed since.  read: when all were read, and None if they must be read.
    """

    entries: dict[str, _Entry] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    read: float | None = None
    took: float = 0.0
    used: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    signals: set[asyncio.Event] = field(default_factory=set)


@dataclass(frozen=True)
class Work:
    """A user's rows, and the use of the limits of jobs."""

    rows: tuple[WorkRow, ...]
    usage: tuple[Usage, ...]


@dataclass(frozen=True)
class ClusterReaders:
    """What reads the pods of servers, and why they wait."""

    store: JobStore
    owned_objects: OwnedObjectCache
    places: QueuePlaces
    nodes: NodeCache


class WorkReader:
    """Reads what "My work" shows."""

    def __init__(self, site: Site, service: JobService, cluster: ClusterReaders, prefix: str) -> None:
        """prefix: the path with which all URLs of the service begin."""
        self._site = site
        self._service = service
        self._cluster = cluster
        self._prefix = prefix
        self._users: dict[str, _Known] = {}
        self.titles: Mapping[str, str] = {name: profile.title for name, profile in site.profiles.items()}

    def jobs_changed(self, change: Change) -> None:
        """Take a change of the jobs of all users."""
        if change.kind == "listed":
            for known in self._users.values():
                known.read = None
                _signal(known)
        for job in change.objects:
            self._changed(annotations_of(job).get(USER_NAME), job["metadata"]["name"])

    def pods_changed(self, change: Change) -> None:
        """Take a change of the pods of all users' jobs."""
        if change.kind != "listed":
            for pod in change.objects:
                self._changed(annotations_of(pod).get(USER_NAME), job_name_of(pod))

    def _changed(self, hub_user: object, name: str | None) -> None:
        known = self._users.get(str(hub_user))
        if known is not None and name is not None:
            known.changed.add(name)
            _signal(known)

    def subscribe(self, hub_user: str) -> asyncio.Event:
        """Return an event that is set when jobs of the user have changed, until `unsubscribe`."""
        event = asyncio.Event()
        self._of(hub_user).signals.add(event)
        return event

    def unsubscribe(self, hub_user: str, event: asyncio.Event) -> None:
        """End a subscription."""
        if (known := self._users.get(hub_user)) is not None:
            known.signals.discard(event)

    async def jobs_of(self, hub_user: str, shown: Collection[str] = ()) -> Work:
        """Return the rows of a user's jobs, in no order.  `shown` has the ids of those that must be up to date.

        Raises Refusal.
        """
        known = self._of(hub_user)
        async with known.lock:
            await self._update(hub_user, known, shown)
            known.used = time.monotonic()
        self._forget()
        entries = _newest(known.entries.values())
        limits = self._site.batch
        return Work(
            rows=tuple(entry.row for entry in entries),
            usage=usage(
                sum(entry.active_pods for entry in entries),
                sum(entry.has_ended for entry in entries),
                sum(entry.size for entry in known.entries.values()),
                limits.max_jobs,
                limits.keep_jobs,
                limits.max_size,
            ),
        )

    def _of(self, hub_user: str) -> _Known:
        known = self._users.setdefault(hub_user, _Known())
        known.used = time.monotonic()
        return known

    async def _update(self, hub_user: str, known: _Known, shown: Collection[str]) -> None:
        now = time.monotonic()
        waiting = {
            name
            for name, entry in known.entries.items()
            if entry.row.id in shown and entry.row.state in ("queued", "starting")
        }
        names = known.changed | {name for name in waiting if now - known.entries[name].read > WAITING_SECONDS}
        max_age = max(READ_AGAIN_SECONDS, READ_AGAIN_FACTOR * known.took)
        if known.read is None or now - known.read > max_age or len(names) > CHANGED_AT_ONCE:
            # What changes from here on is read again the next time.
            known.changed.clear()
            known.read = None
            entries = await self._service.each_job(hub_user, self._named_entry)
            known.entries, known.read = dict(entries), now
            known.took = time.monotonic() - now
        elif names:
            known.changed -= names
            try:
                found = await self._service.jobs_named(hub_user, names, self._entry)
            except BaseException:
                known.changed |= names
                raise
            known.entries = {name: entry for name, entry in known.entries.items() if name not in names} | found

    def _named_entry(self, job: Json, found: Json) -> tuple[str, _Entry]:
        return str(job["metadata"]["name"]), self._entry(job, found)

    def _entry(self, job: Json, found: Json) -> _Entry:
        counted = stored_job(job)
        return _Entry(
            row=job_row(found, self.titles, self._prefix),
            is_replaced=successor(job) is not None,
            has_ended=counted.ended is not None,
            active_pods=counted.active_pods,
            size=counted.size,
            read=time.monotonic(),
        )

    def _forget(self) -> None:
        """Forget the users who have not looked for a while, and the oldest ones while there are too many rows."""
        now, total = time.monotonic(), 0
        for hub_user, known in sorted(self._users.items(), key=lambda item: item[1].used, reverse=True):
            if known.lock.locked():
                continue
            if total and total + len(known.entries) > ROWS_KEPT:
                known.entries, known.read = {}, None
            total += len(known.entries)
            if now - known.used > KEEP_SECONDS and not known.signals:
                del self._users[hub_user]

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
            report = queue_report(
                scheduler,
                pod,
                owned,
                queue=str(plan.get("queue", "")),
                pod_specs=[pod.get("spec") or {}],
                created=pod["metadata"]["creationTimestamp"],
                nodes=self._cluster.nodes.sizes,
            )
            phase = classify(pod, report, NOTEBOOK_SLOTS.main, scheduler.eviction(pod, owned))
            found[str(plan.get("server", ""))] = (pod, phase)
        return found


def _newest(entries: Collection[_Entry]) -> list[_Entry]:
    """Return the entries without those of jobs that another one of these jobs has replaced."""
    found: dict[str, _Entry] = {}
    for entry in sorted(entries, key=lambda entry: not entry.is_replaced):
        found[entry.row.id] = entry
    return list(found.values())


def _signal(known: _Known) -> None:
    for event in known.signals:
        event.set()
