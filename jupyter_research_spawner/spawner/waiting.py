"""The wait from the create request until the notebook answers: its two clocks, and what ends it early.

Contract: Kubernetes, Pod Lifecycle; the words for a pod's condition are watch's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from urllib.parse import urlsplit

from ..plan import Plan
from ..refusal import Refusal
from ..schedulers import NO_OBJECTS, SCHEDULERS, Objects, QueueStatus
from ..settings import format_duration
from ..shape import Json
from ..site import Hub
from ..watch import classify
from ..watch.phase import why_ended, why_no_home, why_not_started

# The watch may lose sight of a pod for a moment: it lists anew from the API server's cache after an error.
GONE_SECONDS = 10
# A new pod comes into sight within a second or two; if it does not, it was deleted at once or the watch is broken.
UNSEEN_SECONDS = 120
CRASHES = 2
CONNECT_SECONDS = 2.0
_UNKNOWN = QueueStatus("scheduling")
WAITING = ("gated", "queued", "unschedulable", "refused")


def is_ready(pod: Json | None, main: str) -> bool:
    """Whether the notebook can be reached.  As KubeSpawner.is_pod_running, but a status may be incomplete."""
    if pod is None or "deletionTimestamp" in pod["metadata"]:
        return False
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    known = any(container.get("name") == main for container in containers)
    ready = known and all(container.get("ready") for container in containers)
    return bool(status.get("phase") == "Running" and status.get("podIP") and ready)


async def listens(url: str) -> bool:
    """Whether something accepts connections there.  What it answers is the hub's affair."""
    at = urlsplit(url)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(at.hostname, at.port), CONNECT_SECONDS)
    except (OSError, asyncio.TimeoutError):
        return False
    writer.close()
    return True


@dataclass
class Wait:
    """One start.  `look` at the pod as often as it may have changed."""

    plan: Plan
    limits: Hub
    main: str
    clock: Callable[[], float] = time.monotonic
    owned_objects: Callable[[Json], Objects] = lambda pod: NO_OBJECTS
    status: QueueStatus = _UNKNOWN
    message: str = ""
    _begun: float = field(init=False)
    _admitted: float | None = None
    _gone: float | None = None
    _seen: bool = False
    _crashes_before: int = 0

    def __post_init__(self) -> None:
        self._begun = self.clock()

    def adopt(self, pod: Json, now: datetime | None = None) -> None:
        """The pod has waited already, and what crashed before is forgiven."""
        created = (pod.get("metadata") or {}).get("creationTimestamp")
        if created:
            since = datetime.fromisoformat(created.replace("Z", "+00:00"))
            self._begun -= max(0.0, ((now or datetime.now(timezone.utc)) - since).total_seconds())
        self._crashes_before = _crashes(pod, self.main)

    @property
    def is_admitted(self) -> bool:
        return self._admitted is not None

    @property
    def has_seen_pod(self) -> bool:
        return self._seen

    @property
    def has_looked(self) -> bool:
        """Whether the API server took the pod: nobody looks for it before that."""
        return self._seen or self._gone is not None

    @property
    def is_queued(self) -> bool:
        return self._admitted is None and self.status.phase in WAITING

    def look(self, pod: Json | None) -> None:
        """Take in the pod's condition while it is not ready.  Raises Refusal when waiting longer makes no sense."""
        if pod is None:
            self._look_at_nothing()
            return
        self._seen, self._gone = True, None
        scheduler = SCHEDULERS[self.plan.scheduler]
        objects = self.owned_objects(pod)
        self.status = scheduler.status(pod, objects, ())
        phase = classify(pod, self.status, self.main, scheduler.eviction(pod, objects))
        self.message = phase.message
        if phase.name in ("failed", "ending"):
            raise _ended("pod-failed", phase.message or "Its pod was deleted.")
        if phase.name == "succeeded":
            raise _ended("pod-ended", "The notebook's program ended by itself before it could be reached.")
        if why := why_no_home(pod):  # the kubelet would look again and again
            raise _ended("no-home", why)
        if _crashes(pod, self.main) - self._crashes_before >= CRASHES:
            raise _ended("pod-crashes", why_ended(pod, self.main) or "Its container ends again and again.")
        if self.status.phase not in WAITING and self._admitted is None:
            self._admitted = self.clock() if self.status.phase == "running" else None
        self._check_clocks(pod)

    def _look_at_nothing(self) -> None:
        self._gone = self._gone if self._gone is not None else self.clock()
        gone = self.clock() - self._gone
        if self._seen and gone > GONE_SECONDS:
            raise _ended("pod-gone", "Its pod was deleted.")
        if gone > UNSEEN_SECONDS:
            raise _ended("pod-unseen", "Its pod was made, but the hub never saw it.")

    def _check_clocks(self, pod: Json) -> None:
        now = self.clock()
        if self._admitted is None and now - self._begun > self.limits.queue_limit.total_seconds():
            limit = format_duration(self.limits.queue_limit)
            raise _ended(
                "queue-limit",
                f"It waited in queue {self.plan.queue!r} for {limit}, the longest a notebook may wait here. "
                f"{self.status.message}".strip(),
            )
        if self._admitted is not None and now - self._admitted > self.limits.boot_limit.total_seconds():
            limit = format_duration(self.limits.boot_limit)
            why = why_not_started(pod) or why_ended(pod, self.main)
            raise _ended("boot-limit", f"It had its place, but did not answer within {limit}. {why}".strip())


def _ended(code: str, why: str) -> Refusal:
    return Refusal(code, f"Your notebook did not start. {why}", status=503, hint="You can start it again.")


def _crashes(pod: Json, main: str) -> int:
    """How often the main container has ended so far, the last time included if it is down now."""
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        if container.get("name") == main:
            state = container.get("state") or {}
            down = "terminated" in state or ("waiting" in state and "terminated" in (container.get("lastState") or {}))
            return int(container.get("restartCount") or 0) + int(down)
    return 0
