"""Measure many concurrent starts: the hub's CPU time, and the time until the servers are ready."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass

import aiohttp

from . import sides
from .hub import Hub, MeasurementFailed, Setup, Started, hub
from .sides import Json
from .sizes import Sizes

READY_AFTER = 5.0  # seconds from the creation of a pod until it runs, if the node has the image
LIMIT_SECONDS = 1200.0
# The values of hub.concurrent_starts among which its default was chosen.
LIMITS = (16, 32, 64, 128, 256, 400)
SECONDS_BETWEEN_REQUESTS = 0.25
QUEUED_AT_ONCE = 100


@dataclass(frozen=True)
class Case:
    """One scenario.  Each spawner is measured `pairs` times, in turn with the other.

    limit: `hub.concurrent_starts` of ResearchSpawner; None for the default.
    """

    name: str
    title: str
    pairs: int
    starts: int
    foreign_events: int = 0
    queued: int = 0
    jobs: int = 0
    limit: int | None = None


@dataclass(frozen=True)
class Run:
    """The results of one run, without the start of the hub and the first server.

    Times are in seconds, or None if no server was ready. `answered` is the time within which the hub answered 95 % of
    the requests for a running server's state, which were sent meanwhile.
    """

    side: str
    starts: int
    failed: int
    cpu: float
    wall: float
    half_ready: float | None
    most_ready: float | None
    answered: float | None
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


def cases(sizes: Sizes, pairs: int) -> list[Case]:
    starts, few, many, fewer = sizes.starts, sizes.few_starts, sizes.many_starts, max(1, pairs - 1)
    among = f"HUB, {few} CONCURRENT STARTS,"
    return [
        Case("paced", f"HUB, {starts} CONCURRENT STARTS, ALL SETTINGS AS SHIPPED", pairs, starts),
        Case("starts", f"HUB, {starts} CONCURRENT STARTS WITHOUT hub.concurrent_starts", 1, starts, limit=starts + 1),
        Case(
            "events",
            f"HUB, {starts} CONCURRENT STARTS AMONG {sizes.foreign_events:,} EVENTS OF OTHER PODS",
            fewer,
            starts,
            foreign_events=sizes.foreign_events,
        ),
        Case("few", f"HUB, {few} CONCURRENT STARTS", fewer, few),
        Case("queued", f"{among} {sizes.queued:,} OTHERS WAIT IN A QUEUE", 1, few, queued=sizes.queued),
        Case("jobs", f"{among} {sizes.jobs:,} JOBS IN THE NAMESPACE", fewer, few, jobs=sizes.jobs),
        Case("many", f"HUB, {many:,} CONCURRENT STARTS", 1, many),
        *(
            Case(
                "limits", f"HUB, {starts} CONCURRENT STARTS, hub.concurrent_starts: {limit}", pairs, starts, limit=limit
            )
            for limit in LIMITS
        ),
    ]


async def measure(case: Case, side: str, ready_after: float, settle_seconds: float) -> Run:
    """Run a new hub with a new API server and return the results.  Raises MeasurementFailed.

    settle_seconds: how long the hub handles the last changes of the pods that wait in a queue.
    """
    first, *names = sides.usernames(case.starts + 1)
    setup = Setup(side, case.starts + 1, ready_after, case.foreign_events, case.jobs, case.queued, case.limit)
    async with hub(setup) as measured:
        await measured.add_users([first, *names])
        warm = await measured.start(first)
        if warm.failure:
            raise MeasurementFailed(f"The first server on {side} did not start: {warm.failure}")
        async with _queued(measured, case.queued, settle_seconds):
            await measured.calls()
            cpu, begun = measured.cpu_seconds, time.monotonic()
            async with _answers(measured, first) as answers:
                started = await asyncio.wait_for(measured.start_all(names), LIMIT_SECONDS)
            cpu, wall = measured.cpu_seconds - cpu, time.monotonic() - begun
            calls = await measured.calls()
    ready = sorted(one.seconds for one in started if not one.failure)
    failures = [one.failure for one in started if one.failure]
    return Run(
        side=side,
        starts=case.starts,
        failed=len(failures),
        cpu=cpu,
        wall=wall,
        half_ready=ready[len(ready) // 2] if ready else None,
        most_ready=_most(ready),
        answered=_most(sorted(answers)),
        calls=sum(calls.values()),
        first_failure=failures[0] if failures else "",
    )


def _most(ascending: Sequence[float]) -> float | None:
    """Return the value that 95 % do not exceed; None of no values."""
    return ascending[int(len(ascending) * 0.95)] if ascending else None


@contextlib.asynccontextmanager
async def _answers(measured: Hub, name: str) -> AsyncIterator[list[float]]:
    """Ask for this user's servers until the context ends, and add the seconds until each answer to the list."""
    seconds: list[float] = []

    async def ask() -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                seconds.append(await measured.answer_seconds(name))
            await asyncio.sleep(SECONDS_BETWEEN_REQUESTS)

    asking = asyncio.ensure_future(ask())
    try:
        yield seconds
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


@contextlib.asynccontextmanager
async def _queued(measured: Hub, number: int, settle_seconds: float) -> AsyncIterator[None]:
    """Let users start servers whose pods stay pending, and read their progress pages until the context ends."""
    names = sides.usernames(number, sides.QUEUED)
    if not names:
        yield
        return
    await measured.add_users(names)
    expected = await measured.count_pods()
    waiting: list[asyncio.Task[Started]] = []
    try:
        # In groups, because a hub that is busy resets connections when a thousand begin at once.
        for place in range(0, number, QUEUED_AT_ONCE):
            group = names[place : place + QUEUED_AT_ONCE]
            waiting += [asyncio.ensure_future(measured.start(name)) for name in group]
            expected += len(group)
            while await measured.count_pods() < expected:
                _require_waiting(waiting)
                await asyncio.sleep(0.2)
        await asyncio.sleep(settle_seconds)
        yield
        _require_waiting(waiting)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _require_waiting(waiting: Sequence[asyncio.Task[Started]]) -> None:
    if ended := [task for task in waiting if task.done()]:
        raise MeasurementFailed(f"{len(ended)} starts did not wait for their queue: {ended[0].result().failure}")
