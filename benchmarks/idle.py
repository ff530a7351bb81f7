"""Measure a hub whose servers all run: the lists that it requests from the API server, and its CPU time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass

from . import sides
from .hub import MeasurementFailed, Setup, hub
from .sides import Json

READY_AFTER = 1.0


@dataclass(frozen=True)
class Idle:
    """What a hub does in a minute without user activity."""

    side: str
    servers: int
    lists_per_minute: float
    listed_kb_per_minute: float
    cpu_ms_per_minute: float

    def as_json(self) -> Json:
        return asdict(self)


async def measure(side: str, servers: int, seconds: float, settle_seconds: float) -> Idle:
    """Start the servers, wait for `settle_seconds`, and measure for `seconds`.  Raises MeasurementFailed."""
    names = sides.usernames(servers)
    async with hub(Setup(side, servers, READY_AFTER)) as measured:
        await measured.add_users(names)
        started = await measured.start_all(names)
        if failures := [one.failure for one in started if one.failure]:
            raise MeasurementFailed(f"{len(failures)} of {servers} servers did not start: {failures[0]}")
        await asyncio.sleep(settle_seconds)
        await measured.calls()
        cpu, begun = measured.cpu_seconds, time.monotonic()
        await asyncio.sleep(seconds)
        calls, listed_bytes = await measured.calls_and_listed_bytes()
        minutes = (time.monotonic() - begun) / 60
        cpu = measured.cpu_seconds - cpu
    lists = sum(count for (verb, _), count in calls.items() if verb == "list")
    return Idle(side, servers, lists / minutes, listed_bytes / 1000 / minutes, 1000 * cpu / minutes)
