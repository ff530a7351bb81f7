"""Measure starts one after the other on an idle hub: the time until each server is ready."""

from __future__ import annotations

from . import sides
from .hub import MeasurementFailed, Setup, hub

STARTS = 5


async def measure(side: str, ready_after: float) -> list[float]:
    """Return the seconds from each request to start until its server is ready, beyond the time of its pod."""
    first, *names = sides.usernames(STARTS + 1)
    async with hub(Setup(side, STARTS + 1, ready_after)) as measured:
        await measured.add_users([first, *names])
        await measured.start(first)
        found = [await measured.start(name) for name in names]
    if failures := [one.failure for one in found if one.failure]:
        raise MeasurementFailed(f"{len(failures)} of {STARTS} servers did not start: {failures[0]}")
    return [one.seconds - ready_after for one in found]
