"""Wakes coroutines when something has changed, instead of letting them look at intervals."""

from __future__ import annotations

import asyncio


class ChangeSignal:
    """Counts changes, and wakes the coroutines that wait for the next one.

    A coroutine reads `count` before it looks, and passes it to `wait`. So it misses no change, also if it awaits
    something else between the two. Several changes before it continues wake it once.
    """

    def __init__(self) -> None:
        self.count = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Count a change and wake all that wait."""
        self.count += 1
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            _finish(future)

    async def wait(self, seen: int, limit_seconds: float) -> None:
        """Wait until `count` is greater than `seen`, at most `limit_seconds`."""
        if self.count > seen:
            return
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.add(future)
        timer = loop.call_later(limit_seconds, _finish, future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
