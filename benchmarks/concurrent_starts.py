"""Measure many concurrent starts: the hub's CPU time, and the time until the servers are ready."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass

from . import sides
from .hub import MeasurementFailed, Setup, hub
from .sides import Json

READY_AFTER = 5.0  # seconds from the creation of a pod until it runs, if the node has the image
FOREIGN_EVENTS = 10_000
LIMIT_SECONDS = 1200.0


@dataclass(frozen=True)
class Case:
    """One scenario.  Each spawner is measured `pairs` times, in turn with the other."""

    name: str
    title: str
    pairs: int
    foreign_events: int = 0
    paced: bool = False


@dataclass(frozen=True)
class Run:
    """The results of one run, without the start of the hub and the first server.

    Times are in seconds, or None if no server was ready.
    """

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
        Case("starts", f"HUB, {starts} CONCURRENT STARTS", pairs),
        Case(
            "events",
            f"HUB, {starts} CONCURRENT STARTS, WITH {FOREIGN_EVENTS:,} EVENTS OF OTHER PODS",
            fewer,
            foreign_events=FOREIGN_EVENTS,
        ),
        Case(
            "paced", f"HUB, {starts} CONCURRENT STARTS, ResearchSpawner with its default limit of 64", fewer, paced=True
        ),
    ]


async def measure(case: Case, side: str, starts: int, ready_after: float) -> Run:
    """Run a new hub with a new API server and return the results.  Raises MeasurementFailed."""
    first, *names = sides.usernames(starts + 1)
    # Without pacing, ResearchSpawner starts all servers immediately, as KubeSpawner does with this hub.
    setup = Setup(side, starts + 1, ready_after, case.foreign_events, None if case.paced else starts + 1)
    async with hub(setup) as measured:
        await measured.add_users([first, *names])
        warm = await measured.start(first)
        if warm.failure:
            raise MeasurementFailed(f"The first server on {side} did not start: {warm.failure}")
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
