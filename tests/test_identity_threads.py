"""Blocking lookups beside the event loop: bounded, limited, and recovering."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from jupyter_research_spawner.identity.source_interface import SourceDown
from jupyter_research_spawner.identity.threads import Threads

LONG = timedelta(seconds=30)
SHORT = timedelta(seconds=0.1)


@pytest.fixture
def back() -> Iterator[threading.Event]:
    """Lookups that wait for it hang until it is set."""
    event = threading.Event()
    yield event
    event.set()


def running() -> int:
    return sum(thread.name == "identity-lookup" for thread in threading.enumerate())


async def until_idle() -> None:
    for _ in range(500):
        if running() == 0:
            return
        await asyncio.sleep(0.01)
    pytest.fail("threads are left over")


async def test_at_most_so_many_at_once_and_none_afterwards() -> None:
    most_seen = 0

    def call() -> int:
        nonlocal most_seen
        most_seen = max(most_seen, running())
        time.sleep(0.005)
        return 7

    threads = Threads(3)
    answers = await asyncio.gather(*(threads.run(call, LONG) for _ in range(50)))
    assert answers == [7] * 50
    assert most_seen == 3
    await until_idle()


async def test_what_the_call_raises_arrives() -> None:
    def call() -> None:
        raise ValueError("people.passwd, line 3")

    with pytest.raises(ValueError, match="line 3"):
        await Threads(1).run(call, LONG)


async def test_one_that_hangs_leaves_the_others_working(back: threading.Event) -> None:
    threads = Threads(2)
    with pytest.raises(SourceDown, match="no answer"):
        await threads.run(back.wait, SHORT)
    assert await threads.run(lambda: 7, LONG) == 7


async def test_all_that_hang_refuse_at_once_until_one_comes_back(back: threading.Event) -> None:
    threads = Threads(2)
    waiting = [threads.run(back.wait, SHORT) for _ in range(20)]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["there was no answer within 0s"] * 20
    began = time.monotonic()
    with pytest.raises(SourceDown, match="all 2 threads hang"):
        await threads.run(lambda: 7, LONG)
    assert time.monotonic() - began < 0.05
    back.set()
    await until_idle()
    assert await threads.run(lambda: 7, LONG) == 7


async def test_calls_that_nobody_waits_for_are_not_made(back: threading.Event) -> None:
    threads = Threads(1)
    made = []
    hanging = asyncio.create_task(threads.run(back.wait, LONG))
    await asyncio.sleep(0.02)
    with pytest.raises(SourceDown):
        await threads.run(lambda: made.append(1), SHORT)
    back.set()
    assert await hanging
    await until_idle()
    assert made == []


async def test_a_caller_that_gave_up_still_counts_what_it_left_hanging(back: threading.Event) -> None:
    threads = Threads(1)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(threads.run(back.wait, LONG), 0.05)
    with pytest.raises(SourceDown, match="all 1 threads hang"):
        await threads.run(lambda: 7, LONG)
