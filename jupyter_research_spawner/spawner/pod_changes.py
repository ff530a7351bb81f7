"""Tells listeners about each change of a pod, of its events and of the scheduler's objects for it.

A listener is called in the event loop while a watch handles the change, so it must return at once. `reflectors` and
`watch.OwnedObjectCache` announce the changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..shape import Json

log = logging.getLogger(__name__)

Value = TypeVar("Value")
# The namespace and the name of a pod.
PodKey = tuple[str, str]


@dataclass(frozen=True)
class PodChange:
    """A pod was created, was changed or is gone.

    pod: the pod after the change; of a deleted pod the last object, with its final conditions and container statuses.
    is_deleted: whether the pod object is gone. If the deletion was seen only in a new list, `pod` is the last object
    that the watch showed, which can lack the final conditions.
    """

    pod: Json
    is_deleted: bool


class Listeners(Generic[Value]):
    """The functions to call when something about a pod has changed."""

    def __init__(self) -> None:
        self._by_pod: dict[PodKey, dict[object, Callable[[Value], None]]] = {}

    def subscribe(self, namespace: str, name: str, listener: Callable[[Value], None]) -> Callable[[], None]:
        """Call `listener` for each change of this pod, until the returned function is called. That may happen twice."""
        key, token = (namespace, name), object()
        self._by_pod.setdefault(key, {})[token] = listener

        def unsubscribe() -> None:
            listeners = self._by_pod.get(key, {})
            listeners.pop(token, None)
            if not listeners:
                self._by_pod.pop(key, None)

        return unsubscribe

    def announce(self, key: PodKey, value: Value) -> None:
        """Call the listeners of this pod. An exception of a listener is logged, and the others are still called."""
        for listener in tuple(self._by_pod.get(key, {}).values()):
            _call(listener, key, value)

    def __contains__(self, key: PodKey) -> bool:
        return key in self._by_pod


def _call(listener: Callable[[Value], None], key: PodKey, value: Value) -> None:
    try:
        listener(value)
    except Exception:  # a fault of one listener must not end the watch
        log.exception("A listener failed for a change of pod %s/%s", *key)


# The reflectors are shared by all spawners of a process (KubeSpawner.reflectors), and so are their listeners.
pod_listeners: Listeners[PodChange] = Listeners()


def subscribe(namespace: str, name: str, listener: Callable[[PodChange], None]) -> Callable[[], None]:
    """Call `listener` for each change of the pod with this name, and return the function that ends this.

    The pod needs not exist yet. A pod of the same name that is created later is another pod, with another uid.
    """
    return pod_listeners.subscribe(namespace, name, listener)


_related_listeners: Listeners[None] = Listeners()


def subscribe_to_related(namespace: str, name: str, listener: Callable[[], None]) -> Callable[[], None]:
    """Call `listener` when the pod, one of its events, or an object that a scheduler created for it has changed."""
    return _related_listeners.subscribe(namespace, name, lambda _: listener())


def is_followed(namespace: str, name: str) -> bool:
    """Return whether any listener waits for changes of the pod with this name."""
    return (namespace, name) in pod_listeners or (namespace, name) in _related_listeners


def announce_related(namespace: str, name: str) -> None:
    """Tell the listeners that the pod, one of its events or a scheduler's object for it has changed."""
    _related_listeners.announce((namespace, name), None)
