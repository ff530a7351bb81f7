"""Records why a notebook ended when the hub's watch shows it, because the pod object goes away afterwards."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

from ..metrics import count_end
from ..plan import offers
from ..pod.overlay import granted_to
from ..refusal import Refusal
from ..schedulers import Objects, Scheduler, find_scheduler
from ..shape import NOTEBOOK_KIND, Json
from ..site import Site
from ..texts import gettext, gettext_noop
from ..watch.api_server import ApiError, ApiServer
from ..watch.pod_end import (
    DELETED,
    UNKNOWN,
    End,
    code_of_failed_start,
    count_restarts,
    find_end,
    find_lost_end,
    find_preemption,
    find_restart,
    make_end,
    with_larger_profiles,
)
from .background import run_in_background
from .pod_changes import PodChange, subscribe
from .recorded_ends import ORDINARY, Ends, add_end, dismiss, replace_end, save_ends
from .stop_requester import describe_cancellation, describe_stop, find_requester

INTERRUPTED = gettext_noop(
    "It was waiting or starting while the hub was down. Its pod is gone, and the cluster does not say why."
)
# A scheduler writes the event of a preemption about when it deletes the pod, and the API server can be slow.
EVENT_TRIES, SECONDS_BETWEEN_TRIES = 5, 1.0
# Many notebooks can end at once, for example with a node.
MAX_READING_EVENTS = 8


class EndRecorder:
    """Records the ends of one server.

    main: the name of the notebook's container. planned: the end that the hub itself has decided, whose stop follows.
    """

    def __init__(self, spawner: Any, main: str) -> None:
        self._spawner = spawner
        self._main = main
        self._unsubscribe: Callable[[], None] = lambda: None
        self._last_pod: Json | None = None
        self._restarts: int | None = None
        self._is_stopping = False
        self._has_recorded_interruption = False
        self.planned: End | None = None
        self.ends: Ends = ()

    def _scheduler_of(self, pod: Json | None) -> Scheduler:
        """Return the scheduler of the pod, which can differ from the one in the settings of now."""
        granted = granted_to(pod or {})
        return find_scheduler(granted.scheduler if granted else self._spawner.shared.site.scheduler.kind)

    # What the watch shows.

    def follow_pod(self) -> None:
        """Record how the server's pod ends from now on. A second call changes nothing."""
        self._unsubscribe()
        self._unsubscribe = subscribe(self._spawner.namespace, self._spawner.pod_name, self._take)

    def forget_pod(self) -> None:
        """Stop following the pod. The recorded ends stay."""
        self._unsubscribe()
        self._last_pod = self._restarts = self.planned = None
        self._is_stopping = self._has_recorded_interruption = False

    def look_at(self, pod: Json | None) -> None:
        """Record how the server ended, if it is not known yet. `pod` is None if the pod object is gone.

        The hub may have been down when the server ended, and then the watch has shown nothing.
        """
        if self._spawner._was_interrupted:
            self._record_interrupted_start(pod)
        elif pod is not None:
            self.observe(pod)
        elif self._may_end:
            self.record(find_lost_end(self._scheduler_of(self._last_pod), self._known_events()))

    def _record_interrupted_start(self, pod: Json | None) -> None:
        """Record how the pod of a start ended while the hub was down. The hub does not continue this start."""
        if self._has_recorded_interruption:
            return
        self._has_recorded_interruption = True
        end = self._end_of(pod, is_gone=False) if pod is not None else make_end("unknown", gettext(INTERRUPTED))
        if end is not None:
            self.record(end)

    @property
    def _may_end(self) -> bool:
        """Return whether the server runs, so that the end of its pod is the end of the server."""
        return bool(not self._spawner._is_starting and not self._is_stopping and self._spawner._pod_uid)

    def _take(self, change: PodChange) -> None:
        self._last_pod = change.pod
        self.observe(change.pod, is_gone=change.is_deleted)

    def observe(self, pod: Json, *, is_gone: bool = False) -> None:
        """Record the end or the restart of a running server's pod. During a start or a stop, do nothing."""
        if not self._may_end or not self._spawner._is_own(pod):
            return
        if self._restarts is None:
            self._restarts = count_restarts(pod, self._main)
        if restart := find_restart(pod, self._main, self._restarts):
            self._restarts = count_restarts(pod, self._main)
            self.record(restart)
        if end := self._end_of(pod, is_gone=is_gone):
            self.record(end)

    def _end_of(self, pod: Json, *, is_gone: bool) -> End | None:
        return find_end(
            pod, self._main, self._scheduler_of(pod), self._objects_of(pod), self._known_events(), is_gone=is_gone
        )

    def _known_events(self) -> Sequence[Json]:
        """Return the events of the server's pod that the hub has in its memory."""
        return [event for event in self._spawner.events if self._is_about(event, self._spawner._pod_uid)]

    @staticmethod
    def _is_about(event: Json, uid: str) -> bool:
        return bool((event.get("involvedObject") or {}).get("uid", uid) == uid)

    # What the hub does.

    def record_stop(self) -> None:
        """Record that the hub stops the running server, before its pod is deleted."""
        spawner = self._spawner
        if not self._may_end:
            return
        self._is_stopping = True
        pod = self._last_pod
        is_going = pod is not None and "deletionTimestamp" in (pod.get("metadata") or {}) and spawner._is_own(pod)
        seen = self._end_of(pod, is_gone=True) if pod is not None and is_going else None
        self.record(
            self.planned
            or seen
            or describe_stop(find_requester(spawner), spawner.orm_spawner.last_activity, datetime.now(timezone.utc))
        )

    def record_cancelled_start(self) -> None:
        """Record who has cancelled the start, which has no other end."""
        self.record(describe_cancellation(find_requester(self._spawner)))

    def record_failed_start(self, refusal: Refusal) -> None:
        """Record that a start failed after its pod was created, because the user may have closed the page."""
        pod = self._last_pod
        eviction = self._scheduler_of(pod).eviction(pod, self._objects_of(pod)) if pod is not None else None
        code = eviction.code if eviction is not None else code_of_failed_start(pod, self._main)
        self.record(make_end(code, refusal.sentences))

    def _objects_of(self, pod: Json) -> Objects:
        found: Objects = self._spawner.shared.owned_objects(self._spawner.api.api_client).of(pod)
        return found

    def record_start(self, pod: Json | None) -> None:
        """Show no earlier end any more, because the server runs in this pod."""
        self.ends = dismiss(self.ends)
        self._restarts = count_restarts(pod or {}, self._main)

    # The hub's database.

    def record(self, end: End) -> None:
        """Record the end in the hub's database and log it. Of several ends of one pod, only the first is recorded."""
        ends = add_end(self.ends, end, self._spawner._pod_uid)
        if ends == self.ends:
            return
        level = logging.INFO if end.code in ORDINARY else logging.WARNING
        self._spawner.log.log(level, "%s ended (%s): %s", self._spawner._log_name, end.code, end.message)
        self._save(ends)
        if not end.continues:
            count_end(NOTEBOOK_KIND, end.code)
        if end.code == "out-of-memory" or end.message in (DELETED, UNKNOWN):
            run_in_background(self._explain(end, self._last_pod, self._spawner._pod_uid))

    def _save(self, ends: Ends) -> None:
        """Write the ends of this server, also if the hub has already made another object for it."""
        spawner = self._spawner
        current = spawner.user.spawners.get(spawner.name)
        for found in (spawner, current):
            if found is not None:
                found.end_recorder.ends = ends
        if spawner.orm_spawner in spawner.user.db:  # not if the server was deleted
            save_ends(spawner.orm_spawner, ends)
            spawner.user.db.commit()

    async def _explain(self, end: End, pod: Json | None, uid: str) -> None:
        """Replace the end by one that says more: which profiles have more memory, or the preemption in an event."""
        if end.code == "out-of-memory":
            better: End | None = await self._with_larger_profiles(end, pod)
        else:
            better = await self._find_preemption(end, self._scheduler_of(pod), uid)
        if better is not None and better != end:
            current = self._spawner.user.spawners.get(self._spawner.name) or self._spawner
            self._save(replace_end(current.end_recorder.ends, end, better))

    async def _with_larger_profiles(self, end: End, pod: Json | None) -> End | None:
        shared, granted = self._spawner.shared, granted_to(pod or {})
        if granted is None:
            return None
        try:
            identity = await shared.identities(self._spawner.api.api_client).resolve(self._spawner.user.name)
        except Refusal:
            return None
        return with_larger_profiles(end, larger_profiles(shared.site, identity, granted.profile))

    async def _find_preemption(self, end: End, scheduler: Scheduler, uid: str) -> End | None:
        """Return the preemption that an event reports, for a scheduler that leaves no condition on the pod."""
        if end.message == DELETED and not scheduler.preemption_events:
            return None
        spawner = self._spawner
        server, namespace = ApiServer(spawner.api.api_client), spawner.namespace
        query = {"fieldSelector": f"involvedObject.kind=Pod,involvedObject.name={spawner.pod_name}"}
        for _ in range(EVENT_TRIES):
            try:
                async with spawner.shared.reading_events:
                    found = await server.ask("GET", f"/api/v1/namespaces/{namespace}/events", query=query)
            except (ApiError, Refusal) as error:
                spawner.log.warning("The events of %s cannot be read: %s", spawner._log_name, error)
                return None
            events = [event for event in found.get("items") or [] if self._is_about(event, uid)]
            if preempted := find_preemption(scheduler, events):
                return preempted
            await asyncio.sleep(SECONDS_BETWEEN_TRIES)
        return None


def larger_profiles(site: Site, identity: Any, profile: str) -> list[str]:
    """Return the titles of what the user may choose now that has more memory than the profile, smallest first."""
    if profile not in site.profiles:
        return []
    memory = site.profiles[profile].resources().memory
    found = [offer for offer in offers(site, identity, datetime.now(timezone.utc)) if offer.resources.memory > memory]
    return [offer.title for offer in sorted(found, key=lambda offer: offer.resources.memory)]
