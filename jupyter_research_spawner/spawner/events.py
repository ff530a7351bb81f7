"""A pod's events without looking through those of all others.

KubeSpawner's reflector sorts every event of the namespace each time it is asked (once a second and open page), and an
event without a timestamp ends every start.  Contract: kubespawner 7.1 (reflector.py), Kubernetes Event v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubespawner.spawner import EventReflector

from ..shape import Json


class EventsByPod(dict[str, Json]):
    """The reflector's own map, by the event's key, that also knows which keys are whose."""

    def __init__(self, events: Mapping[str, Json] = {}) -> None:
        super().__init__()
        self._of_pod: dict[str, dict[str, Json]] = {}
        for key, event in events.items():
            self[key] = event

    def __setitem__(self, key: str, event: Json) -> None:
        self._forget(key)
        super().__setitem__(key, event)
        self._of_pod.setdefault(_pod_of(event), {})[key] = event

    def pop(self, key: str, *default: Any) -> Any:
        self._forget(key)
        return super().pop(key, *default)

    def _forget(self, key: str) -> None:
        if key in self:
            pod = _pod_of(self[key])
            of_pod = self._of_pod.get(pod, {})
            of_pod.pop(key, None)
            if not of_pod:
                self._of_pod.pop(pod, None)

    def of(self, pod: str) -> list[Json]:
        """The events of the pod called `pod`, oldest first, with every key that KubeSpawner reads."""
        return sorted(map(_whole, self._of_pod.get(pod, {}).values()), key=_when)


class IndexedEvents(EventReflector):  # type: ignore[misc]
    """KubeSpawner's event reflector with an index."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._resources = EventsByPod()
        super().__init__(*args, **kwargs)

    # The base class assigns a whole new dict at each list and single items in between.
    @property
    def resources(self) -> EventsByPod:
        return self._resources

    @resources.setter
    def resources(self, listed: Mapping[str, Json]) -> None:
        self._resources = EventsByPod(listed)

    def of(self, pod: str) -> list[Json]:
        return self._resources.of(pod)


def _pod_of(event: Json) -> str:
    return str((event.get("involvedObject") or {}).get("name"))


def _whole(event: Json) -> Json:
    return {"lastTimestamp": None, "type": "", "message": "", **event, "eventTime": _when(event)}


def _when(event: Json) -> str:
    """RFC 3339 sorts as text.  An event of a new controller may have eventTime alone, a hand-made one neither."""
    created = (event.get("metadata") or {}).get("creationTimestamp")
    return str(event.get("lastTimestamp") or event.get("eventTime") or created or "")
