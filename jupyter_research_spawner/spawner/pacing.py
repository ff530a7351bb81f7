"""Limits how many pods the hub creates at the same time (`hub.concurrent_starts`).

A start counts from the composition of its pod until the scheduler has admitted or queued the pod. What follows is the
work of the node, so a slow image or a full queue does not delay other starts.
"""

from __future__ import annotations

import asyncio

from ..metrics import show_pacing


class Pacing:
    """Grants at most `limit` slots at a time, in the order of the requests. Each hub process has one instance."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: set[PacingSlot] = set()
        self._waiting: dict[PacingSlot, asyncio.Future[None]] = {}
        show_pacing(limit, lambda: len(self._holders), lambda: len(self._waiting))

    def new_slot(self) -> PacingSlot:
        """Return a slot that is not acquired yet."""
        return PacingSlot(self)

    async def acquire(self, slot: PacingSlot) -> None:
        if slot in self._holders:
            return
        if not self._waiting and len(self._holders) < self._limit:
            self._holders.add(slot)
            return
        future = self._waiting[slot] = asyncio.get_running_loop().create_future()
        try:
            await future
        except asyncio.CancelledError:
            self.release(slot)
            raise

    def release(self, slot: PacingSlot) -> None:
        self._waiting.pop(slot, None)
        self._holders.discard(slot)
        while self._waiting and len(self._holders) < self._limit:
            first = next(iter(self._waiting))
            future = self._waiting.pop(first)
            if not future.done():  # A cancelled start can still be in `_waiting`.
                self._holders.add(first)
                future.set_result(None)

    def starts_ahead_of(self, slot: PacingSlot) -> int:
        if slot not in self._waiting:
            return 0
        return list(self._waiting).index(slot) + 1


class PacingSlot:
    """The place that one server start takes in the hub's limit of concurrent starts.

    A start acquires the slot before its pod is composed, and releases it when the scheduler has admitted or queued the
    pod, or when the start fails.
    """

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing

    async def acquire(self) -> None:
        """Wait until a slot is free and take it."""
        await self._pacing.acquire(self)

    def release(self) -> None:
        """Release the slot, or stop waiting for one. A second call changes nothing."""
        self._pacing.release(self)

    @property
    def starts_ahead(self) -> int:
        """Return this start's position among the starts that wait for a slot. 1 is next; 0 if it does not wait."""
        return self._pacing.starts_ahead_of(self)
