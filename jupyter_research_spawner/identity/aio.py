"""A time limit for awaitables that tolerates a busy event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")

# Wait for the limit in this many parts, so that the event loop runs several iterations.
SLICES = 20


async def within(work: Awaitable[T], limit: timedelta) -> T:
    """Await `work` and return its result.  After `limit`, cancel `work` and raise asyncio.TimeoutError.

    With hundreds of concurrent starts, one iteration of the hub's event loop takes seconds, and a response that has
    arrived takes several iterations to reach its task.  asyncio.wait_for would time out before that.  Here the limit
    is longer while the event loop is busy.
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
