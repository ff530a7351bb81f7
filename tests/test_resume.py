"""A server that was starting when the hub went down is started again once, unless its user was faster."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_research_spawner.spawner import resume
from jupyter_research_spawner.spawner.resume import end_resume, resume_ends_with_cancellation

ALICE = ("alice", "")


class Spawner:
    """The parts of a spawner that `resume` uses. Its hub neither starts nor runs the server."""

    def __init__(self) -> None:
        self.user = SimpleNamespace(name="alice", spawners={})
        self.name, self._log_name, self.log = "", "alice", logging.getLogger(__name__)
        self.deleted: list[str] = []

    async def stop(self, now: bool = False) -> None:
        self.deleted.append("pod")

    async def delete_left_pods(self) -> None:
        self.deleted.append("left pods")


@pytest.fixture
def shared() -> Any:
    site = SimpleNamespace(hub=SimpleNamespace(queue_limit=timedelta(days=1)))
    servers: dict[str, set[Any]] = {"resuming_servers": set(), "waiting_since_restart": set()}
    return SimpleNamespace(site=site, resuming=asyncio.Semaphore(1), **servers)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What happens at each request of the start: a function to call. The source is down, so each is repeated."""
    script: list[Any] = []

    async def answer(*_: Any) -> bool:
        script.pop(0)()
        return False

    monkeypatch.setattr(resume, "_is_settled", answer)
    return script


async def run(spawner: Any, shared: Any) -> None:
    await asyncio.wait_for(resume._resume(spawner, shared, 0.0), 60)
    assert shared.resuming_servers == set()


def cancel_start(spawner: Any, shared: Any) -> None:
    with pytest.raises(asyncio.CancelledError), resume_ends_with_cancellation(spawner, shared):
        raise asyncio.CancelledError


async def test_a_start_that_the_hub_cancels_is_not_requested_again(shared: Any, requests: list[Any]) -> None:
    spawner: Any = Spawner()
    requests += [lambda: None, lambda: cancel_start(spawner, shared)]
    await run(spawner, shared)
    assert (requests, spawner.deleted) == ([], ["pod", "left pods"])


@pytest.mark.parametrize("act", [cancel_start, end_resume], ids=["stops", "starts"])
async def test_a_user_who_starts_or_stops_the_server_meanwhile_ends_the_requests(
    act: Any, shared: Any, requests: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two requests."""
    spawner: Any = Spawner()
    requests.append(lambda: asyncio.get_running_loop().call_soon(act, spawner, shared))
    await run(spawner, shared)
    assert requests == []


async def test_pods_of_a_server_that_the_hub_starts_or_runs_are_kept(shared: Any, requests: list[Any]) -> None:
    spawner: Any = Spawner()
    spawner.user.spawners[""] = SimpleNamespace(active=True)
    requests.append(lambda: end_resume(spawner, shared))
    await run(spawner, shared)
    assert spawner.deleted == []
