"""Wait in tests for a condition. A wait ends as soon as it is true, so only a busy machine needs all the time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 120.0


async def eventually(
    look: Callable[[], Any],
    seconds: float = PATIENCE_SECONDS,
    *,
    every: float = 0.02,
    otherwise: Callable[[], str] | None = None,
) -> Any:
    """Call `look` until what it returns (or awaits) is true, and return that.

    every: seconds between two calls.  otherwise: returns a text for the failure, beside the last value of `look`.
    """
    end = time.monotonic() + seconds
    while True:
        found = look()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"still {found!r} after {seconds:.0f} s{f': {otherwise()}' if otherwise else ''}")
        await asyncio.sleep(every)
