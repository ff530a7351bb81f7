"""What must exist in the cluster is asked for once, however many start together."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections import Counter
from datetime import timedelta
from typing import Any, cast

import pytest
from kubernetes_asyncio.client import ApiClient

from jupyter_research_spawner.prerequisite import Prerequisite
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.watch import Prerequisites

HOME = Prerequisite("v1", "PersistentVolumeClaim", "home", "jhub")
ERA5 = Prerequisite("v1", "PersistentVolumeClaim", "era5", "jhub")


QUEUE = Prerequisite("scheduling.volcano.sh/v1beta1", "Queue", "climate", shut=("Closed", "Closing"))


class _Answer:
    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self._body = body

    async def read(self) -> bytes:
        return self._body

    def release(self) -> None:
        pass


class _ApiClient:
    """Answers after a moment with the status that `statuses` has for the object's name, and counts."""

    def __init__(self) -> None:
        self.statuses: dict[str, int] = {}
        self.bodies: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()

    async def call_api(self, path: str, *_: Any, **__: Any) -> _Answer:
        name = path.rpartition("/")[2]
        self.asked[name] += 1
        await asyncio.sleep(0.01)
        return _Answer(self.statuses.get(name, 200), self.bodies.get(name, b"{}"))


@pytest.fixture
def api() -> _ApiClient:
    return _ApiClient()


def prerequisites_of(api: _ApiClient) -> Prerequisites:
    return Prerequisites(cast(ApiClient, api), timedelta(minutes=1))


async def test_a_class_that_starts_together_asks_once_and_is_believed_for_a_while(api: _ApiClient) -> None:
    prerequisites = prerequisites_of(api)
    await asyncio.gather(*(prerequisites.require([HOME, ERA5]) for _ in range(300)))
    await prerequisites.require([HOME, ERA5])
    assert api.asked == {"home": 1, "era5": 1}


async def test_what_is_missing_is_told_to_all_and_asked_for_again(api: _ApiClient) -> None:
    prerequisites = prerequisites_of(api)
    api.statuses["era5"] = 404
    told = await asyncio.gather(*(prerequisites.require([HOME, ERA5]) for _ in range(3)), return_exceptions=True)
    assert [cast(Refusal, refusal).code for refusal in told] == 3 * ["missing-in-cluster"]
    api.statuses["era5"] = 200
    await prerequisites.require([HOME, ERA5])
    assert api.asked == {"home": 1, "era5": 2}


async def test_what_is_shut_is_told_and_asked_for_again(api: _ApiClient) -> None:
    prerequisites = prerequisites_of(api)
    for state in ("Closing", "Closed"):
        api.bodies["climate"] = json.dumps({"status": {"state": state}}).encode()
        with pytest.raises(Refusal, match=f"Queue 'climate' is {state.lower()}: it takes nothing new") as caught:
            await prerequisites.require([HOME, QUEUE])
        assert (caught.value.field, caught.value.status) == ("queue", 503)
    for status in ({"status": {"state": "Open"}}, {}):
        api.bodies["climate"] = json.dumps(status).encode()
        await prerequisites_of(api).require([QUEUE])
        await prerequisites.require([QUEUE])


async def test_an_answer_that_nobody_understands_is_none(api: _ApiClient) -> None:
    api.bodies["climate"] = b"<html>"
    with pytest.raises(Refusal) as caught:
        await prerequisites_of(api).require([QUEUE])
    assert caught.value.code == "cluster-down"


async def test_who_gives_up_does_not_take_the_answer_from_the_others(api: _ApiClient) -> None:
    prerequisites = prerequisites_of(api)
    first = asyncio.ensure_future(prerequisites.require([HOME]))
    second = asyncio.ensure_future(prerequisites.require([HOME]))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert api.asked == {"home": 1}


async def test_a_cluster_that_is_down_for_long_leaves_nothing_behind(api: _ApiClient) -> None:
    """An exception that is raised once more keeps the frames of every time before."""
    prerequisites = prerequisites_of(api)
    api.statuses["home"] = 500
    depths = []
    for _ in range(3):
        with pytest.raises(Refusal) as caught:
            await prerequisites.require([HOME])
        assert caught.value.code == "cluster-down"
        depths.append(sum(1 for _ in traceback.walk_tb(caught.value.__traceback__)))
    assert depths[0] == depths[2]
