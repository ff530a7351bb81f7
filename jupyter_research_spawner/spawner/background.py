"""Run coroutines in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

# The event loop keeps only weak references to its tasks.
_tasks: set[asyncio.Task[None]] = set()


def run_in_background(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` as a task that is not garbage-collected before it ends."""
    task = asyncio.ensure_future(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
