"""Computes the phases of a start, from the decision to the ready server, with the times when each began and ended.

The times come from the pod and its events, so a restarted hub shows the same.  Source: Kubernetes, Pod Lifecycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..api_object import format_time, parse_time
from ..shape import Json
from ..watch.container_reasons import event_time
from ..watch.phase import has_begun
from .pod_wait import is_pod_ready
from .start import Start
from .start_recorder import admitted_at, created_at

# What a start does.  The word is more exact than that of a phase, and decides about the progress bar and the sentence.
Stage = Literal["created", "queued", "admitted", "pulling", "pulled", "running", "ready"]
PhaseKey = Literal["decided", "queue", "node", "image", "starting", "ready"]
PHASES: tuple[PhaseKey, ...] = ("decided", "queue", "node", "image", "starting", "ready")
_CURRENT: dict[Stage, PhaseKey] = {
    "created": "queue",
    "queued": "queue",
    "admitted": "image",
    "pulling": "image",
    "pulled": "starting",
    "running": "starting",
    "ready": "ready",
}


@dataclass(frozen=True)
class StartPhase:
    """One phase of a start.

    begun, ended: when it began and ended; None if that is not known or has not happened.
    """

    name: PhaseKey
    state: Literal["done", "current", "later"]
    begun: datetime | None = None
    ended: datetime | None = None

    def as_json(self) -> Json:
        begun, ended = (format_time(time) if time is not None else None for time in (self.begun, self.ended))
        return {"name": self.name, "state": self.state, "begun": begun, "ended": ended}


def find_stage(start: Start, events: Sequence[Json]) -> Stage:
    """Return what the start does now, from its pod and the pod's events."""
    if start.wait.is_queued:
        return "queued"
    pod = start.wait.last_pod
    if pod is None or not (pod.get("spec") or {}).get("nodeName"):
        return "created"
    if is_pod_ready(pod, start.wait.main):
        return "ready"
    if has_begun(pod, start.wait.main):
        return "running"
    reasons = {event.get("reason") for event in events}
    return "pulled" if "Pulled" in reasons else "pulling" if "Pulling" in reasons else "admitted"


def find_phases(start: Start | None, events: Sequence[Json]) -> tuple[StartPhase, ...]:
    """Return all phases in their order.  Exactly one is current."""
    if start is None:
        return tuple(StartPhase(name, "later" if index else "current") for index, name in enumerate(PHASES))
    current = PHASES.index(_CURRENT[find_stage(start, events)])
    begins = _begins(start, events)
    return tuple(
        StartPhase(
            name,
            "done" if index < current else "current" if index == current else "later",
            begins[name] if index <= current else None,
            _first(begins[later] for later in PHASES[index + 1 :]) if index < current else None,
        )
        for index, name in enumerate(PHASES)
    )


def _begins(start: Start, events: Sequence[Json]) -> dict[PhaseKey, datetime | None]:
    """Return when each phase began, so far as it is known."""
    pod = start.wait.last_pod
    created, node = _time(created_at(pod)), _time(admitted_at(pod))
    begun = _started_at(pod, start.wait.main)
    pulled = [time for event in events if event.get("reason") == "Pulled" and (time := _time(event_time(event)))]
    image_ready = max(pulled) if pulled else begun
    # The decision about an adopted pod was made before the hub restarted.
    decided = min(filter(None, (start.decided, created)))
    return {
        "decided": decided,
        "queue": created or decided,
        "node": node,
        "image": node,
        "starting": min(filter(None, (image_ready, begun)), default=None),
        "ready": None,
    }


def _first(times: Iterable[datetime | None]) -> datetime | None:
    return next((time for time in times if time is not None), None)


def _started_at(pod: Json | None, main: str) -> datetime | None:
    for container in ((pod or {}).get("status") or {}).get("containerStatuses") or []:
        if container.get("name") == main:
            return _time(((container.get("state") or {}).get("running") or {}).get("startedAt"))
    return None


def _time(written: object) -> datetime | None:
    """Return an RFC 3339 time; None if there is none, or if it is not valid."""
    try:
        found = parse_time(str(written or ""))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
