"""A time limit for awaitables that tolerates a busy event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")

# The limit is waited for in this many parts, so that the event loop has several turns.
SLICES = 20


async def within(work: Awaitable[T], limit: timedelta) -> T:
    """Return what `work` returns.  After `limit` cancel it and raise asyncio.TimeoutError.

    With hundreds of starts at once, one turn of the hub's event loop takes seconds, and an answer that has arrived
    takes several turns to reach its task.  asyncio.wait_for would give up before that.  Here a busy event loop makes
    the limit longer.
    """
    task = asyncio.ensure_future(work)
    try:
        for _ in range(SLICES):
            done, _ = await asyncio.wait({task}, timeout=limit.total_seconds() / SLICES)
            if done:
                return task.result()
    finally:
        task.cancel()
    raise asyncio.TimeoutError
