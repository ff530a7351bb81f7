"""One start of a server, from the decided plan until the notebook answers or the start fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone

from ..plan import Plan
from ..shape import Json
from .change_signal import ChangeSignal
from .pacing import PacingSlot
from .pod_wait import PodWait


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

    def end(self) -> None:
        """Take note that this start has succeeded or failed."""
        self.is_over = True
        self.progress.notify()
