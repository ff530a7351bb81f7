"""Count the requests that the API server receives for one start, by verb and resource."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from . import sides
from .hub import Calls, Hub, MeasurementFailed, Setup, hub

PEOPLE = 5
READY_AFTER = 0.5
# Both spawners' reflectors make these calls periodically, whatever the number of starts.
BY_CLOCK = ("list", "watch")


@dataclass(frozen=True)
class Phase:
    """The API calls of a number of similar starts or stops."""

    title: str
    starts: int
    calls: Calls

    def per_start(self) -> dict[str, float]:
        return {
            f"{verb} {resource}": count / self.starts
            for (verb, resource), count in sorted(self.calls.items())
            if verb not in BY_CLOCK
        }


async def measure(side: str) -> list[Phase]:
    """Return the API calls of the hub's first start, and of other users' first starts, stops and second starts."""
    first, *others = names = sides.usernames(PEOPLE + 1)
    async with hub(Setup(side, len(names), READY_AFTER)) as measured:
        await measured.add_users(names)
        await measured.calls()
        return [
            await _started(measured, "the hub's first start", [first]),
            await _started(measured, "another user's first start", others),
            await _stopped(measured, others),
            await _started(measured, "the same user's next start", others),
        ]


async def _started(measured: Hub, title: str, names: list[str]) -> Phase:
    failures = [started.failure for started in await measured.start_all(names) if started.failure]
    if failures:
        raise MeasurementFailed(f"{len(failures)} of {len(names)} servers did not start: {failures[0]}")
    return Phase(title, len(names), await measured.calls())


async def _stopped(measured: Hub, names: list[str]) -> Phase:
    await asyncio.gather(*map(measured.stop, names))
    return Phase("a stop", len(names), await measured.calls())
