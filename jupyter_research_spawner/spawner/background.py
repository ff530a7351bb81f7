"""Run coroutines in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

# The event loop keeps only weak references to its tasks.
_tasks: set[asyncio.Task[None]] = set()


def run_in_background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run `work` as a task that is not garbage-collected before it ends, and return the task."""
    task = asyncio.ensure_future(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


async def first_result(*works: Coroutine[Any, Any, Result]) -> Result:
    """Run the coroutines at the same time, return the result of the first that ends, and cancel the others.

    If several have ended, the first argument wins.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
