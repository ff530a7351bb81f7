"""Tells the hub that the pod of a running server has ended when the watch shows it.

JupyterHub itself looks every `Spawner.poll_interval` (30 s), and sends users to a server that does not answer until
then. This module calls what JupyterHub calls at these times, `Spawner.poll_and_notify`. Written for JupyterHub 5.3 to
6.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from ..shape import Json
from ..watch.container_reasons import main_stays_ended
from ..watch.phase import is_over, why_not_gone
from .background import run_in_background
from .pod_changes import PodChange, subscribe

# When a node is lost, hundreds of pods end at once. For each server, the hub deletes a route and writes its database.
MAX_NOTIFYING = 10
SECONDS_BETWEEN_LOOKS = 0.25


class WatchedServer(Protocol):
    """The attributes of a spawner that `EndWatch` reads. `pending`, `ready` and `_callbacks` are JupyterHub's."""

    namespace: str
    pod_name: str
    pending: str | None
    ready: bool
    log: Any
    _log_name: str
    _callbacks: list[Any]

    def _is_own(self, pod: Json) -> bool: ...

    async def poll_and_notify(self) -> int | None: ...


class EndWatch:
    """Waits for the end of a server's pod. `begin` may be called again at any time, and `end` ends the wait.

    slots: limits how many servers the hub is told about at the same time.
    """

    def __init__(self, server: WatchedServer, main: str, slots: asyncio.Semaphore) -> None:
        self._server, self._main, self._slots = server, main, slots
        self._unsubscribe: Callable[[], None] | None = None

    def begin(self) -> None:
        """Wait for the end of the server's pod, if this does not wait already."""
        if self._unsubscribe is None:
            self._unsubscribe = subscribe(self._server.namespace, self._server.pod_name, self._take)

    def end(self) -> None:
        """Wait no longer."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._unsubscribe = None

    def _take(self, change: PodChange) -> None:
        if self._server._is_own(change.pod) and has_ended(change, self._main):
            self.end()
            run_in_background(self._notify())

    async def _notify(self) -> None:
        """Let the hub poll the server, unless the hub is stopping it already."""
        server = self._server
        while server.pending and server.pending != "stop":  # noqa: ASYNC110 - JupyterHub has no event for this
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        async with self._slots:
            # Without a callback, nothing would be told, and the hub would not poll the server again.
            if server.ready and server._callbacks:
                try:
                    await server.poll_and_notify()
                except Exception:  # the hub polls again at its next interval
                    server.log.exception("%s has ended, and its poll failed", server._log_name)


def has_ended(change: PodChange, main: str) -> bool:
    """Return whether the notebook's container runs no longer, and is not started again in this pod."""
    pod = change.pod
    return bool(change.is_deleted or is_over(pod) or why_not_gone(pod) or main_stays_ended(pod, main))
