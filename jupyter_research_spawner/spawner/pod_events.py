"""The events of all pods, with an index by pod.

KubeSpawner's own reflector sorts all events of the namespace once a second for each open progress page, and fails if
one event has no timestamp. Written for Kubernetes Event v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..shape import Json
from ..watch.container_reasons import event_time


class EventsByPod(dict[str, Json]):
    """The reflector's dict of events, with an index by pod name."""

    def __init__(self, events: Mapping[str, Json] = {}) -> None:
        super().__init__()
        self._by_pod: dict[str, dict[str, Json]] = {}
        for key, event in events.items():
            self[key] = event

    def __setitem__(self, key: str, event: Json) -> None:
        self._remove_from_index(key)
        super().__setitem__(key, event)
        self._by_pod.setdefault(_pod_name(event), {})[key] = event

    def pop(self, key: str, *default: Any) -> Any:
        self._remove_from_index(key)
        return super().pop(key, *default)

    def _remove_from_index(self, key: str) -> None:
        if key in self:
            pod = _pod_name(self[key])
            events = self._by_pod.get(pod, {})
            events.pop(key, None)
            if not events:
                self._by_pod.pop(pod, None)

    def of(self, pod: str) -> list[Json]:
        """Return the events of the pod with this name, oldest first. Each has all keys that KubeSpawner reads."""
        return sorted(map(_with_all_keys, self._by_pod.get(pod, {}).values()), key=event_time)


def _pod_name(event: Json) -> str:
    return str((event.get("involvedObject") or {}).get("name"))


def pod_of_event(event: Json) -> tuple[str, str]:
    """Return the namespace and the name of the pod that the event is about."""
    return str((event.get("involvedObject") or {}).get("namespace")), _pod_name(event)


def _with_all_keys(event: Json) -> Json:
    return {"lastTimestamp": None, "type": "", "message": "", **event, "eventTime": event_time(event)}
