"""A time limit that a busy event loop does not use up on its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")

LOOKS = 20


async def within(work: Awaitable[T], limit: timedelta) -> T:
    """What `work` returns or raises.  Raises asyncio.TimeoutError, and cancels it, after `limit`.

    Not asyncio.wait_for: with hundreds of starts at once one turn of the hub's loop takes seconds, and an answer that
    has come needs several turns to be seen.  Looked for several times, it is; a loop that is late makes the limit
    longer instead of making the answer late.
    """
    task = asyncio.ensure_future(work)
    try:
        for _ in range(LOOKS):
            done, _ = await asyncio.wait({task}, timeout=limit.total_seconds() / LOOKS)
            if done:
                return task.result()
    finally:
        task.cancel()
    raise asyncio.TimeoutError
