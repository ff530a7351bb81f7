"""Measure by how much the hub's memory grows with events of other pods in its namespace."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass

from . import sides
from .hub import MeasurementFailed, Setup, hub
from .sides import Json

READY_AFTER = 0.5
_MB = 1e6


@dataclass(frozen=True)
class Growth:
    """How much more memory a hub has with `events` than without, now and at most, in MB."""

    side: str
    events: int
    resident_mb: float
    peak_mb: float

    def as_json(self) -> Json:
        return asdict(self)


async def measure(side: str, events: int, wait_seconds: float) -> Growth:
    """Compare two hubs that have started one server.  Raises MeasurementFailed.

    KubeSpawner lists all events again within 30 seconds, so `wait_seconds` is longer.
    """
    (now, most), (now_without, most_without) = [await _memory(side, number, wait_seconds) for number in (events, 0)]
    return Growth(side, events, (now - now_without) / _MB, (most - most_without) / _MB)


async def _memory(side: str, events: int, wait_seconds: float) -> tuple[int, int]:
    (name,) = sides.usernames(1)
    async with hub(Setup(side, 1, READY_AFTER, events)) as measured:
        await measured.add_users([name])
        started = await measured.start(name)
        if started.failure:
            raise MeasurementFailed(f"The server on {side} did not start: {started.failure}")
        await asyncio.sleep(wait_seconds)
        return measured.memory_bytes
