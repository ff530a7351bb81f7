"""One start of a server, from the decided plan until the notebook answers or the start fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone

from ..plan import Plan
from ..shape import Json
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
