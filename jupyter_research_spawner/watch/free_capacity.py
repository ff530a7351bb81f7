"""Watches queues and, if the site wants it, nodes and pods, and keeps for each offer whether it would start now.

The watches run while users look at the options form.  A page reads the last answer from memory and sends no request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ..node_selection import node_selection
from ..schedulers import SCHEDULERS, Demand, QueueKind, QueuePlacement
from ..settings import ordered
from ..shape import Json
from ..site import Profile, Site
from .api_server import ApiServer
from .availability import Availability, availability
from .free_nodes import NodeSums, OfferedNode, bound_pod, has_free_node, largest_free, offered_node
from .node_cache import NODES, NodeCache
from .node_sizes import Amounts, pod_requests
from .queue_objects import FollowedPaths, QueueObjects

log = logging.getLogger(__name__)

PODS = "/api/v1/pods"
# Only pods that take something from a node.
_POD_QUERY = {"fieldSelector": "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"}
_PODS_OF_A_PAGE = 250
# Without a reader for this long, the watches end.
IDLE_SECONDS = 600.0
# A page waits this long for the first answer, and is then shown without it.
FIRST_ANSWER_SECONDS = 1.0
# Answers are computed again at most this often.
REFRESH_SECONDS = 5.0
# After this many offers or groups of nodes, the hub's other work has its turn.
_AT_A_TIME = 50

# The names of a profile and of a queue.
Offered = tuple[str, str]
_NO_ANSWERS: Mapping[Offered, Availability] = {}


@dataclass(frozen=True)
class OfferedDemand:
    """What a notebook of a profile needs in a queue."""

    placement: QueuePlacement
    demand: Demand


def offered_demands(site: Site, added: Json) -> dict[Offered, OfferedDemand]:
    """Return what a notebook of each profile needs in each queue that the profile may use.

    added: the part of a PodSpec that KubeSpawner's settings add to the pods of all notebooks.
    """
    return {
        (name, queue): OfferedDemand(site.queue_placement(queue), _demand(site, name, profile, queue, added))
        for name, profile in site.profiles.items()
        for queue, _ in ordered(site.queues)
        if not profile.queues or profile.queues.get(queue)
    }


def _demand(site: Site, name: str, profile: Profile, queue: str, added: Json) -> Demand:
    resources = profile.resources()
    fields = site.pod_fields[name].spec()
    main = {"resources": {"requests": resources.as_requirements()["requests"]}}
    requests = pod_requests(
        {"containers": [main, *(added.get("containers") or [])], "initContainers": added.get("initContainers")}
    )
    uncounted = set(resources.as_requirements()["requests"]) - set(resources.allocatable_requests)
    return Demand(
        requests=requests,
        node_requests={key: amount for key, amount in requests.items() if key not in uncounted},
        nodes=node_selection(added, fields),
        gpu=resources.gpu,
        preemptible=site.queues[queue].preemptible,
        fits_by_sums=resources.fits_by_sums,
    )


class FreeCapacity:
    """Whether a notebook of each profile would start now in each queue.

    A kind of object that cannot be read, for example because RBAC does not allow it, makes its part unknown, and
    `follow` logs the reason once.
    """

    def __init__(
        self, server: ApiServer, site: Site, offered: Mapping[Offered, OfferedDemand], sizes: NodeCache
    ) -> None:
        scheduler = SCHEDULERS[site.scheduler.kind]
        self._server = server
        self._namespace = site.namespaces.name
        self._offered = offered
        self._sizes = sizes
        self._is_shown = site.availability != "none"
        self._kinds: tuple[QueueKind, ...] = scheduler.queue_kinds if self._is_shown else ()
        self._queue_rooms = scheduler.queue_rooms
        self._uses_nodes = site.availability == "nodes"
        # Queues say how much they have in total, and nodes say it of a cluster that cannot grow.
        self._decides_never = bool(self._kinds) or not site.autoscaling
        self._is_off = not self._is_shown and not self._decides_never
        self._watching: asyncio.Task[None] | None = None
        self._used = 0.0
        self._has_failed = False
        self._forget()

    def _forget(self) -> None:
        self._paths = FollowedPaths(self._server)
        self._queues = QueueObjects(self._kinds, self._namespace, self._paths)
        self._nodes: dict[str, OfferedNode] | None = None
        self._sums: NodeSums | None = None
        self._answers: dict[Offered, Availability] = {}
        self._answered = asyncio.Event()

    def answers(self) -> Mapping[Offered, Availability]:
        """Return the last answers from memory, which do not change later.  Starts the watches if none run."""
        self._start()
        return self._answers if self._is_shown else _NO_ANSWERS

    async def learn_what_never_starts(self) -> bool:
        """Wait as `wait_for_first_answer` does, and return whether this site knows what can never start."""
        if self._decides_never:
            await self.wait_for_first_answer()
        return self._decides_never

    def why_never(self, profile: str, queue: str) -> str:
        """Return why a notebook can never start, as a sentence; "" if it can, or if that is not known."""
        found = self._answers.get((profile, queue))
        return "" if found is None else found.never

    def _start(self) -> None:
        if self._is_off:
            return
        self._used = time.monotonic()
        if self._watching is None or self._watching.done():
            self._forget()
            self._watching = asyncio.ensure_future(self._watch())

    async def wait_for_first_answer(self) -> None:
        """Start the watches if none run, and wait at most FIRST_ANSWER_SECONDS for their first answers."""
        self._start()
        if self._is_off or self._answered.is_set():
            return
        try:
            await asyncio.wait_for(self._answered.wait(), FIRST_ANSWER_SECONDS)
        except asyncio.TimeoutError:
            self._answered.set()  # not granted or slow: later pages do not wait

    def close(self) -> None:
        """End the watches."""
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        """Watch until nobody has read an answer for IDLE_SECONDS, and compute the answers when something changes."""
        watches = [asyncio.ensure_future(watch) for watch in self._queues.watches()]
        if self._uses_nodes:
            watches += [asyncio.ensure_future(self._follow_nodes()), asyncio.ensure_future(self._follow_pods())]
        try:
            self._sizes.sizes()
            await self._sizes.has_been_listed()
            while time.monotonic() - self._used < IDLE_SECONDS:
                self._paths.changed.clear()
                is_complete = self._paths.answered == len(watches)
                await self._compute_or_log()
                for watch in watches:
                    if watch.done():
                        watch.result()
                if is_complete:
                    self._answered.set()
                await _wait(self._paths.changed, IDLE_SECONDS / 10)
                await asyncio.sleep(REFRESH_SECONDS if self._answered.is_set() else 0.05)
        finally:
            for watch in watches:
                watch.cancel()
            if watches:
                await asyncio.wait(watches)

    async def _follow_nodes(self) -> None:
        async for change in self._paths.follow(NODES, {}):
            if change.kind == "lost":
                self._nodes = None
            elif change.kind != "confirmed":
                known = {} if change.kind == "listed" or self._nodes is None else self._nodes
                for found in change.objects:
                    node = None if change.kind == "deleted" else offered_node(found)
                    if node is None:
                        known.pop(found["metadata"]["name"], None)
                    else:
                        known[found["metadata"]["name"]] = node
                self._nodes = known

    async def _follow_pods(self) -> None:
        async for change in self._paths.follow(PODS, _POD_QUERY, page=_PODS_OF_A_PAGE, slim=_slim_pod):
            if change.kind == "lost":
                self._sums = None
            elif change.kind != "confirmed":
                sums = NodeSums() if change.kind == "listed" or self._sums is None else self._sums
                for found in change.objects:
                    sums.put(found["uid"], None if change.kind == "deleted" else found["pod"])
                self._sums = sums

    async def _compute_or_log(self) -> None:
        """Compute all answers again.  Objects of an unknown form make them unknown, and the log says so once."""
        try:
            await self.compute()
            self._has_failed = False
        except Exception:  # from what other programs write into their objects
            self._answers = {}
            if not self._has_failed:
                log.exception("What is free now cannot be computed, so the options form does not show it")
            self._has_failed = True

    async def compute(self) -> None:
        """Compute all answers again, a few at a time, so that the hub's other work goes on."""
        as_of, find_room = self._paths.as_of, self._queue_rooms(self._queues.objects())
        sizes, free = self._sizes.sizes(), await self._free()
        answers = {}
        for number, (offered, wanted) in enumerate(self._offered.items()):
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)
            room = find_room(wanted.placement, wanted.demand)
            nodes = free.get(repr(wanted.demand.nodes))
            has_node = None if nodes is None else has_free_node(wanted.demand, nodes)
            if (found := availability(wanted.demand, room, has_node, sizes, as_of)) is not None:
                answers[offered] = found
        self._answers = answers

    async def _free(self) -> dict[str, tuple[Amounts, ...]]:
        """Return what the largest nodes have free, by what notebooks require of their node; {} if it is unknown."""
        if self._nodes is None or self._sums is None:
            return {}
        selections = {repr(wanted.demand.nodes): wanted.demand.nodes for wanted in self._offered.values()}
        free: dict[str, tuple[Amounts, ...]] = dict.fromkeys(selections, ())
        nodes = list(self._nodes.values())
        for start in range(0, len(nodes), _AT_A_TIME):
            await asyncio.sleep(0)
            if self._sums is None:
                return {}
            some = [(node, self._sums.free(node)) for node in nodes[start : start + _AT_A_TIME]]
            for name, selection in selections.items():
                free[name] = largest_free(selection, some, free[name])
        return free


def _slim_pod(found: Json) -> Json:
    """Return the uid of a pod, and its node and requests.  Nothing else of other people's pods is kept."""
    return {"uid": found["metadata"]["uid"], "pod": bound_pod(found)}


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
