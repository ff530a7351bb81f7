"""One start of a server, from the decided plan until the notebook answers or the start fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from ..plan import Plan
from ..shape import Json
from .change_signal import ChangeSignal
from .pacing import PacingSlot
from .pod_wait import PodWait, accepts_connections, is_pod_ready

SECONDS_BETWEEN_CONNECTIONS = 0.25
# Returns the pod of the start as it is now; None if it does not exist.
FindPod = Callable[[], Json | None]


@dataclass
class Start:
    """The plan of a start, its slot in the limit of concurrent starts, and its wait for the pod."""

    plan: Plan
    slot: PacingSlot
    wait: PodWait
    # The composed and checked pod; None until KubeSpawner asks to create it.
    manifest: Json | None = None
    # Sentences for the user about what has changed since the start began.
    notes: list[str] = field(default_factory=list)
    is_over: bool = False
    decided: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    # The pod, its events or the scheduler's objects for it have changed.
    changes: ChangeSignal = field(default_factory=ChangeSignal)
    # What the user is told has changed.
    progress: ChangeSignal = field(default_factory=ChangeSignal)

    async def wait_until_ready(self, find_pod: FindPod) -> bool:
        """Wait until the pod is ready, and return True. Raises Refusal if it can no longer become ready."""
        while True:
            seen, pod = self.changes.count, find_pod()
            if is_pod_ready(pod, self.wait.main):
                self.slot.release()
                return True
            self._observe(pod)
            await self.changes.wait(seen, self.wait.seconds_until_limit)

    async def wait_for_connection(self, url: str, find_pod: FindPod) -> None:
        """Wait until the notebook accepts connections. Raises Refusal if its pod can no longer become ready.

        KubeSpawner ends its wait when the pod is ready. If the container then crashed, the hub would say
        only that the server did not respond.
        """
        while not await accepts_connections(url):
            seen = self.changes.count
            self._observe(find_pod())
            await self.changes.wait(seen, SECONDS_BETWEEN_CONNECTIONS)

    def _observe(self, pod: Json | None) -> None:
        try:
            self.wait.observe(pod)
        finally:
            self.progress.notify()
        if self.wait.is_admitted or self.wait.is_queued:
            self.slot.release()

    def end(self) -> None:
        """Take note that this start has succeeded or failed."""
        self.is_over = True
        self.progress.notify()
