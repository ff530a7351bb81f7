"""The time at the API server, which decides when a notebook ends: the clock of the hub's machine can be wrong."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from ..refusal import Refusal

log = logging.getLogger(__name__)

# How long the time is computed from the last answer of the API server and the monotonic clock of this machine.
SECONDS_BETWEEN_READS = 600.0
# After a request without an answer, the next one is sent after this time.
SECONDS_AFTER_FAILURE = 30.0


class ClusterClock:
    """Tells the time at the API server with one request every SECONDS_BETWEEN_READS, while somebody asks for the time.

    read: returns the time at the API server (`ApiServer.time`).  monotonic: returns seconds, as time.monotonic does.
    """

    def __init__(
        self, read: Callable[[], Awaitable[datetime]], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._monotonic = monotonic
        self._last: tuple[datetime, float] | None = None
        self._due = 0.0
        self._reading = asyncio.Lock()

    async def now(self) -> datetime | None:
        """Return the time at the API server; None if it has not answered yet."""
        async with self._reading:
            if self._last is None or self._monotonic() >= self._due:
                await self._measure()
        if self._last is None:
            return None
        told, at = self._last
        return told + timedelta(seconds=self._monotonic() - at)

    async def _measure(self) -> None:
        if self._last is None and self._monotonic() < self._due:
            return
        begun = self._monotonic()
        try:
            told = await self._read()
        except Refusal:  # the API server does not answer; `ApiServer` has logged the reason
            self._due = self._monotonic() + SECONDS_AFTER_FAILURE
            return
        # The server wrote the time between the request and its answer.
        self._last = (told, (begun + self._monotonic()) / 2)
        self._due = self._monotonic() + SECONDS_BETWEEN_READS
