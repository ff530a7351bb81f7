"""The ends of a server in its state in the hub's database, oldest first.

They stay there when the hub restarts and after the server has stopped. The hub's pages show the last end until the user
dismisses it or starts the server again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

from ..shape import Json
from ..watch.pod_end import HINTS, End

STATE_KEY = "research_spawner"
KEPT = 10
# Ends that the user has caused. The endpoint has them, and the pages do not show them.
NOT_SHOWN = frozenset({"stopped"})
# Ends that are not a failure.
ORDINARY = frozenset({"exited", "idle", "stopped", "stopped-by-hub"})

_FIELDS = {field.name for field in fields(End)}


@dataclass(frozen=True)
class RecordedEnd:
    """An end of a server. pod_uid: the uid of its pod; "" if there was none. is_dismissed: it is not shown any more."""

    end: End
    pod_uid: str = ""
    is_dismissed: bool = False

    def as_state(self) -> Json:
        return {**self.end.as_json(), "pod_uid": self.pod_uid, "dismissed": self.is_dismissed}


Ends: TypeAlias = tuple[RecordedEnd, ...]


def read_ends(state: Any) -> Ends:
    """Return the ends in a server's state. Entries that are not valid are left out."""
    own = state.get(STATE_KEY) if isinstance(state, dict) else None
    found = own.get("ends") if isinstance(own, dict) else None
    return tuple(end for entry in found if (end := _read(entry))) if isinstance(found, list) else ()


def _read(entry: Any) -> RecordedEnd | None:
    if not isinstance(entry, dict) or entry.get("code") not in HINTS:
        return None
    given = {name: value for name, value in entry.items() if name in _FIELDS and name != "continues"}
    if not {"message", "at"} <= given.keys() or not all(isinstance(value, str) for value in given.values()):
        return None
    end = End(**given, continues=entry.get("continues") is True)
    return RecordedEnd(end, str(entry.get("pod_uid") or ""), entry.get("dismissed") is True)


def write_ends(ends: Sequence[RecordedEnd]) -> list[Json]:
    """Return the JSON of the last KEPT ends."""
    return [found.as_state() for found in ends[-KEPT:]]


def add_end(ends: Ends, end: End, pod_uid: str) -> Ends:
    """Return the ends with this one. A pod has one end, which is the first that was recorded."""
    if any(found.pod_uid == pod_uid != "" and not found.end.continues for found in ends):
        return ends
    return (*ends, RecordedEnd(end, pod_uid))[-KEPT:]


def replace_end(ends: Ends, before: End, after: End) -> Ends:
    """Return the ends with the end `before` replaced by one that says more."""
    return tuple(replace(found, end=after) if found.end == before else found for found in ends)


def dismiss(ends: Iterable[RecordedEnd]) -> Ends:
    """Return the ends, none of which is shown any more."""
    return tuple(replace(found, is_dismissed=True) for found in ends)


def shown_end(ends: Sequence[RecordedEnd]) -> End | None:
    """Return the end that the pages show, which is the last one; None if it was dismissed or the user caused it."""
    told = [found for found in ends if found.end.code not in NOT_SHOWN]
    return told[-1].end if told and not told[-1].is_dismissed else None


def save_ends(server: Any, ends: Ends) -> None:
    """Write the ends into the state of a server (JupyterHub's orm.Spawner), and change nothing else in it."""
    state: Mapping[str, Any] = server.state if isinstance(server.state, dict) else {}
    server.state = {**state, STATE_KEY: {**(state.get(STATE_KEY) or {}), "ends": write_ends(ends)}}
