"""How many API calls a start costs, by verb and resource, as the API server counts them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from . import sides
from .hub import Calls, DidNotMeasure, Hub, Setup, hub

PEOPLE = 5
READY_AFTER = 0.5
# The reflectors list and watch by the clock, the same on both sides, however many start.
BY_CLOCK = ("list", "watch")


@dataclass(frozen=True)
class Phase:
    """Calls of `starts` starts (or stops) of one kind."""

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
    """A hub's first start, other people's first, the same people's next, and their stops."""
    first, *others = names = sides.people(PEOPLE + 1)
    async with hub(Setup(side, len(names), READY_AFTER)) as measured:
        await measured.add_users(names)
        await measured.calls()
        return [
            await _started(measured, "the hub's first start", [first]),
            await _started(measured, "another person's first", others),
            await _stopped(measured, others),
            await _started(measured, "the same person's next", others),
        ]


async def _started(measured: Hub, title: str, names: list[str]) -> Phase:
    failures = [started.failure for started in await measured.start_all(names) if started.failure]
    if failures:
        raise DidNotMeasure(f"{len(failures)} of {len(names)} servers did not start: {failures[0]}")
    return Phase(title, len(names), await measured.calls())


async def _stopped(measured: Hub, names: list[str]) -> Phase:
    await asyncio.gather(*map(measured.stop, names))
    return Phase("a stop", len(names), await measured.calls())
