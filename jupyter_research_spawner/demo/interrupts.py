"""Run work until it ends or a signal stops it, so that its clean-up runs once and completely."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from .demo_cluster import Say

STOPPED = 130


async def until_stopped(work: Coroutine[Any, Any, int], say: Say, stopped: str) -> int:
    """Return the exit code of `work`, or STOPPED with the sentence `stopped` after Ctrl-C, SIGTERM or SIGHUP."""
    running = asyncio.create_task(work)
    is_stopping = False

    def stop() -> None:
        # Only once: a second Ctrl-C would interrupt the clean-up.
        nonlocal is_stopping
        if not is_stopping:
            is_stopping = True
            say("\nStopping ...")
            running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        return await running
    except asyncio.CancelledError:
        say(f"\n{stopped}")
        return STOPPED
