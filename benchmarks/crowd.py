"""What many starts at once cost the hub: processor time, and how long people wait."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass

from . import sides
from .hub import DidNotMeasure, Setup, hub
from .sides import Json

READY_AFTER = 5.0  # seconds from create to Running, with the image on the node
FOREIGN_EVENTS = 10_000
LIMIT_SECONDS = 1200.0


@dataclass(frozen=True)
class Case:
    """A situation that both sides are measured in, `pairs` times in turns."""

    name: str
    title: str
    pairs: int
    foreign_events: int = 0
    paced: bool = False


@dataclass(frozen=True)
class Run:
    """One run of a hub, without its own start and first spawn.  Times in seconds; None when no server became ready."""

    side: str
    starts: int
    failed: int
    cpu: float
    wall: float
    half_ready: float | None
    most_ready: float | None
    calls: int
    first_failure: str

    @property
    def cpu_ms_per_start(self) -> float:
        return 1000 * self.cpu / self.starts

    @property
    def calls_per_start(self) -> float:
        return self.calls / self.starts

    def as_json(self) -> Json:
        return {**asdict(self), "cpu_ms_per_start": self.cpu_ms_per_start}


def cases(starts: int, pairs: int) -> list[Case]:
    fewer = max(1, pairs - 1)
    return [
        Case("crowd", f"HUB, {starts} STARTS AT ONCE", pairs),
        Case(
            "events",
            f"HUB, {starts} STARTS AT ONCE AMONG {FOREIGN_EVENTS:,} EVENTS OF OTHER PODS",
            fewer,
            foreign_events=FOREIGN_EVENTS,
        ),
        Case("paced", f"HUB, {starts} STARTS AT ONCE, ResearchSpawner paced as shipped (64)", fewer, paced=True),
    ]


async def measure(case: Case, side: str, starts: int, ready_after: float) -> Run:
    """One run on a fresh hub and API server.  Raises DidNotMeasure."""
    first, *names = sides.people(starts + 1)
    # Unpaced, ResearchSpawner does as KubeSpawner under this hub: everything at once.
    setup = Setup(side, starts + 1, ready_after, case.foreign_events, None if case.paced else starts + 1)
    async with hub(setup) as measured:
        await measured.add_users([first, *names])
        warm = await measured.start(first)
        if warm.failure:
            raise DidNotMeasure(f"The first server on {side} did not start: {warm.failure}")
        await measured.calls()
        cpu, begun = measured.cpu_seconds, time.monotonic()
        started = await asyncio.wait_for(measured.start_all(names), LIMIT_SECONDS)
        cpu, wall = measured.cpu_seconds - cpu, time.monotonic() - begun
        calls = await measured.calls()
    ready = sorted(one.seconds for one in started if not one.failure)
    failures = [one.failure for one in started if one.failure]
    return Run(
        side=side,
        starts=starts,
        failed=len(failures),
        cpu=cpu,
        wall=wall,
        half_ready=ready[len(ready) // 2] if ready else None,
        most_ready=ready[int(len(ready) * 0.95)] if ready else None,
        calls=sum(calls.values()),
        first_failure=failures[0] if failures else "",
    )
