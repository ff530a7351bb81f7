"""Runs watches while somebody reads what they have found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any


async def run_while_read(
    watches: Iterable[Coroutine[Any, Any, None]], seconds_since_read: Callable[[], float], idle_seconds: float
) -> None:
    """Run the watches until nobody has read for `idle_seconds`.  Raises the exception of a watch that fails."""
    tasks = [asyncio.ensure_future(watch) for watch in watches]
    try:
        while seconds_since_read() < idle_seconds:
            ended, _ = await asyncio.wait(tasks, timeout=idle_seconds / 10, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
