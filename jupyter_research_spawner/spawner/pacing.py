"""How many starts the hub works on at once.  The others wait a moment; who waits in a queue costs nobody anything."""

from __future__ import annotations

import asyncio


class Pacing:
    """At most `limit` turns are taken at once, first come, first served.  One per process, used in one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: set[Turn] = set()
        self._waiting: dict[Turn, asyncio.Future[None]] = {}

    def turn(self) -> Turn:
        return Turn(self)

    async def take(self, turn: Turn) -> None:
        if turn in self._taken:
            return
        if not self._waiting and len(self._taken) < self._limit:
            self._taken.add(turn)
            return
        future = self._waiting[turn] = asyncio.get_running_loop().create_future()
        try:
            await future
        except asyncio.CancelledError:
            self.release(turn)
            raise

    def count(self, turn: Turn) -> None:
        self._waiting.pop(turn, None)
        self._taken.add(turn)

    def release(self, turn: Turn) -> None:
        self._waiting.pop(turn, None)
        self._taken.discard(turn)
        while self._waiting and len(self._taken) < self._limit:
            first = next(iter(self._waiting))
            future = self._waiting.pop(first)
            if not future.done():  # else its waiter was cancelled and has not run since
                self._taken.add(first)
                future.set_result(None)

    def ahead_of(self, turn: Turn) -> int:
        if turn not in self._waiting:
            return 0
        return list(self._waiting).index(turn) + 1


class Turn:
    """One start's place.  Held from the create request to admission, and from admission until the notebook answers."""

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing

    async def take(self) -> None:
        """Wait for a place."""
        await self._pacing.take(self)

    def count(self) -> None:
        """Take a place without waiting, above the limit if need be: the cluster has admitted the pod already."""
        self._pacing.count(self)

    def release(self) -> None:
        """Give the place, or the place in the line, to the next.  May be called twice."""
        self._pacing.release(self)

    @property
    def ahead(self) -> int:
        """How many starts come before this one, the one that is due next included; 0 when it waits for none."""
        return self._pacing.ahead_of(self)
