"""ChangeSignal wakes at each change, misses none, and ends at its limit."""

from __future__ import annotations

import asyncio

from patience import eventually

from jupyter_research_spawner.spawner.change_signal import ChangeSignal

AN_HOUR = 3600.0


async def test_a_change_wakes_all_that_wait() -> None:
    signal = ChangeSignal()
    waiting = [asyncio.ensure_future(signal.wait(0, AN_HOUR)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    signal.notify()
    await asyncio.wait_for(asyncio.gather(*waiting), 60)


async def test_a_change_between_the_look_and_the_wait_is_not_missed() -> None:
    signal = ChangeSignal()
    seen = signal.count
    signal.notify()
    await asyncio.wait_for(signal.wait(seen, AN_HOUR), 60)
    task = asyncio.ensure_future(signal.wait(signal.count, AN_HOUR))
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})
    signal.notify()
    assert not signal._waiting


async def test_several_changes_wake_once() -> None:
    signal, woken = ChangeSignal(), []

    async def look() -> None:
        while True:
            seen = signal.count
            woken.append(seen)
            await signal.wait(seen, AN_HOUR)

    task = asyncio.ensure_future(look())
    await asyncio.sleep(0)
    for _ in range(10):
        signal.notify()
    await eventually(lambda: len(woken) > 1)
    for _ in range(10):
        await asyncio.sleep(0)
    assert woken == [0, 10]
    task.cancel()


async def test_without_a_change_the_wait_ends_at_its_limit() -> None:
    signal = ChangeSignal()
    await asyncio.wait_for(signal.wait(0, 0.01), 60)
    assert signal.count == 0
