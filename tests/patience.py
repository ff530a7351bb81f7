"""How long tests wait for what must come.  Who sees it waits no longer, so only a busy machine needs all of it."""

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
    """What `look` returns, or what it returned can be awaited for, as soon as that is true.

    every: seconds between two looks.  otherwise: what to show beside the last that was seen when it does not come.
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
