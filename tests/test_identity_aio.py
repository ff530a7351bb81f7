"""A limit for sources and cluster that a hub full of starts does not take for their silence."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from jupyter_research_spawner.identity.aio import within

LIMIT = timedelta(seconds=0.2)


async def test_an_answer_that_has_come_is_seen_by_a_loop_that_is_late() -> None:
    """Each turn of the loop takes longer than the whole limit, and the answer passes through five."""
    answered = asyncio.get_running_loop().create_future()
    answered.set_result("alice")

    async def through(turns: int) -> str:
        time.sleep(LIMIT.total_seconds() * 1.2)  # noqa: ASYNC251 - what hundreds of starts do to the loop
        return await (asyncio.ensure_future(through(turns - 1)) if turns else answered)

    assert await within(through(5), LIMIT) == "alice"


async def test_silence_ends_after_the_limit_and_is_cancelled() -> None:
    silent = asyncio.get_running_loop().create_future()
    begun = time.monotonic()
    with pytest.raises(asyncio.TimeoutError):
        await within(silent, LIMIT)
    assert time.monotonic() - begun >= LIMIT.total_seconds()
    assert silent.cancelled()


async def test_who_gives_up_cancels_the_work() -> None:
    silent = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(within(silent, LIMIT))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert silent.cancelled()


async def test_what_the_work_raises_is_raised() -> None:
    async def broken() -> None:
        raise OSError("no such directory")

    with pytest.raises(OSError, match="no such directory"):
        await within(broken(), LIMIT)
