"""Waits for a pod until the notebook answers, with a limit for the time in the queue and one for the time after it.

Source: Kubernetes, Pod Lifecycle. `watch.phase` has the sentences that tell users why a pod waits or ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from urllib.parse import urlsplit

from ..api_object import parse_time
from ..plan import Plan
from ..refusal import Refusal
from ..schedulers import NO_OBJECTS, SCHEDULERS, Objects, Place, QueueStatus, describe
from ..schedulers import why as why_it_waits
from ..settings import format_duration
from ..shape import Json
from ..site import Hub
from ..texts import gettext, gettext_noop
from ..watch import NodeSizes, classify, queue_report, unknown_nodes
from ..watch.container_reasons import count_crashes, has_failed_for_good, statuses, unready, why_failing
from ..watch.phase import why_ended, why_no_home, why_no_secret, why_not_ready
from ..wording import quote

# After an error the reflector lists the pods from the API server's cache, where a new pod can be missing for a moment.
GONE_SECONDS = 10
# The reflector shows a new pod after one or two seconds. If a pod is missing for longer than this, it was deleted
# immediately, or the watch has failed.
UNSEEN_SECONDS = 120
# A secret can be created shortly after the pod.
ABSENT_SECONDS = 10
# A waiting pod is looked at when it changes, when a limit ends, and after this time in any case.
LONGEST_LOOK_SECONDS, SHORTEST_LOOK_SECONDS = 60.0, 0.01
MAX_CRASHES = 2
CONNECT_SECONDS = 2.0
_SILENT = gettext_noop("Its containers are ready, but nothing accepts connections at its port.")
_UNKNOWN = QueueStatus("scheduling")


def is_pod_ready(pod: Json | None, main: str) -> bool:
    """Return whether the pod runs and has an IP address, and whether all its containers are ready.

    This is KubeSpawner's condition with two changes: native sidecars must have started, and a container that ended with
    exit code 0 does not count. KubeSpawner.is_pod_running raises an error for a pod whose status is incomplete; this
    function returns False.
    """
    if pod is None or "deletionTimestamp" in pod["metadata"]:
        return False
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    known = any(container.get("name") == main for container in containers)
    return bool(status.get("phase") == "Running" and status.get("podIP") and known and not unready(pod, main))


async def accepts_connections(url: str) -> bool:
    """Return whether a TCP connection to `url` succeeds. The hub itself checks the HTTP response."""
    address = urlsplit(url)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address.hostname, address.port), CONNECT_SECONDS)
    except (OSError, asyncio.TimeoutError):
        return False
    writer.close()
    return True


@dataclass
class PodWait:
    """The state of one start while it waits for its pod. Call `observe` whenever the pod may have changed.

    main: the name of the notebook's container.
    clock: returns seconds, as time.monotonic does.
    owned_objects: returns the scheduler's objects for a pod.
    events: returns the pod's events.
    nodes: returns the sizes of the cluster's nodes.
    queue_title: the title of the queue that the user sees; "" for the queue's name.
    last_pod: the pod as `observe` has seen it last.
    """

    plan: Plan
    limits: Hub
    main: str
    clock: Callable[[], float] = time.monotonic
    owned_objects: Callable[[Json], Objects] = lambda pod: NO_OBJECTS
    events: Callable[[], Sequence[Json]] = tuple
    nodes: Callable[[], NodeSizes] = unknown_nodes
    queue_title: str = ""
    status: QueueStatus = _UNKNOWN
    message: str = ""
    last_pod: Json | None = None
    _begun: float = field(init=False)
    _admitted: float | None = None
    _missing_since: float | None = None
    _absent_since: float | None = None
    _seen: bool = False
    _earlier_crashes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._begun = self.clock()

    def continue_with(self, pod: Json, now: datetime | None = None) -> None:
        """Count the time since an adopted pod was created, and only the crashes since its adoption."""
        created = (pod.get("metadata") or {}).get("creationTimestamp")
        if created:
            since = parse_time(created)
            self._begun -= max(0.0, ((now or datetime.now(timezone.utc)) - since).total_seconds())
        self._earlier_crashes = {found["name"]: count_crashes(found, self.main) for found in statuses(pod)}

    def continue_after(self, earlier: PodWait) -> None:
        """Count the time that the user has waited for an earlier pod of the same start."""
        self._begun = earlier._begun

    @property
    def waited_seconds(self) -> float:
        """Return the seconds since the start began, also before a restart of the hub."""
        return self.clock() - self._begun

    @property
    def is_admitted(self) -> bool:
        return self._admitted is not None

    @property
    def has_seen_pod(self) -> bool:
        return self._seen

    @property
    def has_begun(self) -> bool:
        """Return whether `observe` was called. KubeSpawner calls it only after the API server has accepted the pod."""
        return self._seen or self._missing_since is not None

    @property
    def is_queued(self) -> bool:
        return self._admitted is None and self.status.waits

    @property
    def seconds_until_limit(self) -> float:
        """Return the seconds until `observe` can fail although nothing has changed, at most LONGEST_LOOK_SECONDS."""
        limits = [self.clock() + LONGEST_LOOK_SECONDS]
        if self._missing_since is not None:
            limits.append(self._missing_since + (GONE_SECONDS if self._seen else UNSEEN_SECONDS))
        if self._absent_since is not None:
            limits.append(self._absent_since + ABSENT_SECONDS)
        if self._admitted is None:
            limits.append(self._begun + self.limits.queue_limit.total_seconds())
        else:
            limits.append(self._admitted + self.limits.boot_limit.total_seconds())
        return max(SHORTEST_LOOK_SECONDS, min(limits) - self.clock() + SHORTEST_LOOK_SECONDS)

    def observe(self, pod: Json | None) -> None:
        """Update this state from a pod that is not ready. Raises Refusal if the pod can no longer become ready.

        `pod` is None if the reflector does not show the pod.
        """
        if pod is None:
            self._observe_missing()
            return
        self._seen, self._missing_since, self.last_pod = True, None, pod
        scheduler = SCHEDULERS[self.plan.scheduler]
        objects = self.owned_objects(pod)
        self.status = self._report(pod, objects, self.status.place)
        events = self._events_of(pod)
        phase = classify(pod, self.status, self.main, scheduler.eviction(pod, objects), events)
        self.message = phase.message or why_not_ready(pod, self.main, events)
        if phase.name in ("failed", "ending"):
            raise _failed("pod-failed", phase.message or gettext("Its pod was deleted."))
        if phase.name == "succeeded" or (phase.name == "running" and phase.exit_code == 0):
            raise _failed(
                "pod-ended", gettext("The notebook server exited without an error before it could be reached.")
            )
        if why := why_no_home(pod):  # The kubelet would repeat the check of the home directory forever.
            raise _failed("no-home", why)
        self._observe_secrets(pod)
        self._observe_crashes(pod, events)
        if not self.status.waits and self._admitted is None:
            self._admitted = self.clock() if self.status.phase == "running" else None
        self._check_limits(pod)

    def set_place(self, place: Place | None) -> None:
        """Set the place in the queue, which `observe` keeps: only a reader of the page asks for it."""
        if self.is_queued and self.last_pod is not None:
            self.status = self._report(self.last_pod, self.owned_objects(self.last_pod), place)
            self.message = describe(self.status) or self.message

    def _report(self, pod: Json, objects: Objects, place: Place | None) -> QueueStatus:
        report = queue_report(
            SCHEDULERS[self.plan.scheduler],
            pod,
            objects,
            queue=self.queue_title or self.plan.queue,
            pod_specs=[pod.get("spec") or {}],
            created=pod["metadata"].get("creationTimestamp"),
            nodes=self.nodes,
        )
        return replace(report, place=place) if report.waits else report

    def _events_of(self, pod: Json) -> list[Json]:
        """Return the pod's events without those of an earlier pod of the same name."""
        uid = pod["metadata"].get("uid")
        return [event for event in self.events() if (event.get("involvedObject") or {}).get("uid", uid) == uid]

    def _observe_crashes(self, pod: Json, events: Sequence[Json]) -> None:
        """Raise Refusal if any container has crashed MAX_CRASHES times, or failed and is not started again."""
        for container in sorted(statuses(pod), key=lambda found: found["name"] != self.main):
            crashes = count_crashes(container, self.main) - self._earlier_crashes.get(container["name"], 0)
            if crashes >= MAX_CRASHES or has_failed_for_good(pod, container):
                raise _failed("pod-crashes", why_failing(container, events))

    def _observe_secrets(self, pod: Json) -> None:
        """Raise Refusal if the kubelet has reported an absent secret for ABSENT_SECONDS. It waits without a limit."""
        if not (why := why_no_secret(pod, self._events_of(pod))):
            self._absent_since = None
            return
        self.message = why
        self._absent_since = self._absent_since if self._absent_since is not None else self.clock()
        if self.clock() - self._absent_since > ABSENT_SECONDS:
            raise _failed("no-secret", why)

    def _observe_missing(self) -> None:
        self._missing_since = self._missing_since if self._missing_since is not None else self.clock()
        missing_seconds = self.clock() - self._missing_since
        if self._seen and missing_seconds > GONE_SECONDS:
            raise _failed("pod-gone", gettext("Its pod was deleted."))
        if missing_seconds > UNSEEN_SECONDS:
            raise _failed(
                "pod-unseen", gettext("Its pod was created, but the cluster never reported the pod to the hub.")
            )

    def _check_limits(self, pod: Json) -> None:
        now = self.clock()
        if self._admitted is None and now - self._begun > self.limits.queue_limit.total_seconds():
            limit = format_duration(self.limits.queue_limit)
            told = gettext(
                "It waited in queue %(queue)s for %(duration)s, which is the limit for servers here.",
                queue=quote(self.queue_title or self.plan.queue),
                duration=limit,
            )
            raise _failed("queue-limit", f"{told} {why_it_waits(self.status)}".strip())
        if self._admitted is not None and now - self._admitted > self.limits.boot_limit.total_seconds():
            limit = format_duration(self.limits.boot_limit)
            why = why_not_ready(pod, self.main, self._events_of(pod)) or why_ended(pod, self.main) or gettext(_SILENT)
            told = gettext("It was admitted, but did not answer within %(duration)s.", duration=limit)
            raise _failed("boot-limit", f"{told} {why}")


def _failed(code: str, why: str) -> Refusal:
    heading, hint = gettext("Your server did not start."), gettext("You can start it again.")
    return Refusal(code, why, status=503, hint=hint, heading=heading)
