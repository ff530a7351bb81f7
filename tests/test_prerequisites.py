"""Prerequisites requests each object once, however many servers start at the same time."""

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
from jupyter_research_spawner.watch.api_server import ApiServer

HOME = Prerequisite("v1", "PersistentVolumeClaim", "home", "jhub")
ERA5 = Prerequisite("v1", "PersistentVolumeClaim", "era5", "jhub")
QUEUE = Prerequisite("scheduling.volcano.sh/v1beta1", "Queue", "climate", shut=("Closed", "Closing"))


class _Response:
    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self._body = body

    async def read(self) -> bytes:
        return self._body

    async def text(self, errors: str) -> str:
        return self._body.decode(errors=errors)

    def close(self) -> None:
        pass


class _ApiClient:
    """Answers with the status that `statuses` has for the object's name, and counts the requests for each name."""

    def __init__(self) -> None:
        self.statuses: dict[str, int] = {}
        self.bodies: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.accepted: dict[str, str] = {}

    async def call_api(self, path: str, *_: Any, header_params: dict[str, str], **__: Any) -> _Response:
        name = path.rpartition("/")[2]
        self.accepted[name] = header_params["Accept"]
        self.asked[name] += 1
        await asyncio.sleep(0.01)
        return _Response(self.statuses.get(name, 200), self.bodies.get(name, b"{}"))


@pytest.fixture
def api() -> _ApiClient:
    return _ApiClient()


def prerequisites_of(api: _ApiClient) -> Prerequisites:
    return Prerequisites(ApiServer(cast(ApiClient, api)), timedelta(minutes=1))


async def test_servers_that_start_together_send_one_request_and_the_answer_is_cached(api: _ApiClient) -> None:
    prerequisites = prerequisites_of(api)
    await asyncio.gather(*(prerequisites.require([HOME, ERA5]) for _ in range(300)))
    await prerequisites.require([HOME, ERA5])
    assert api.asked == {"home": 1, "era5": 1}


async def test_a_missing_object_refuses_all_and_is_requested_again(api: _ApiClient) -> None:
    prerequisites = prerequisites_of(api)
    api.statuses["era5"] = 404
    refusals = await asyncio.gather(*(prerequisites.require([HOME, ERA5]) for _ in range(3)), return_exceptions=True)
    assert [cast(Refusal, refusal).code for refusal in refusals] == 3 * ["missing-in-cluster"]
    api.statuses["era5"] = 200
    await prerequisites.require([HOME, ERA5])
    assert api.asked == {"home": 1, "era5": 2}


SECRET = Prerequisite("v1", "Secret", "ticket-alice", "jhub", is_reported=True)


async def test_only_the_metadata_of_a_secret_is_requested_and_its_absence_is_named(api: _ApiClient) -> None:
    prerequisites = prerequisites_of(api)
    await prerequisites.require([SECRET, QUEUE])
    assert api.accepted["ticket-alice"].startswith("application/json;as=PartialObjectMetadata;")
    assert api.accepted["climate"] == "application/json"
    api.statuses["ticket-bob"] = 404
    with pytest.raises(Refusal, match="The cluster has no Secret 'ticket-bob' in namespace 'jhub'"):
        await prerequisites.require([Prerequisite("v1", "Secret", "ticket-bob", "jhub", is_reported=True)])


@pytest.mark.parametrize(("which", "warned"), [(SECRET, False), (HOME, True)])
async def test_a_right_that_is_not_needed_is_not_asked_for(
    api: _ApiClient, caplog: pytest.LogCaptureFixture, which: Prerequisite, warned: bool
) -> None:
    api.statuses[which.name] = 403
    await prerequisites_of(api).require([which])
    assert ("Grant the right" in caplog.text) is warned


async def test_a_shut_queue_is_refused_and_requested_again(api: _ApiClient) -> None:
    prerequisites = prerequisites_of(api)
    for state in ("Closing", "Closed"):
        api.bodies["climate"] = json.dumps({"status": {"state": state}}).encode()
        with pytest.raises(Refusal, match=f"Queue 'climate' is {state.lower()} and accepts no new pods") as caught:
            await prerequisites.require([HOME, QUEUE])
        assert (caught.value.field, caught.value.status) == ("queue", 503)
    for status in ({"status": {"state": "Open"}}, {}):
        api.bodies["climate"] = json.dumps(status).encode()
        await prerequisites_of(api).require([QUEUE])
        await prerequisites.require([QUEUE])


async def test_a_response_that_is_not_json_counts_as_no_answer(api: _ApiClient) -> None:
    api.bodies["climate"] = b"<html>"
    with pytest.raises(Refusal) as caught:
        await prerequisites_of(api).require([QUEUE])
    assert caught.value.code == "cluster-down"


async def test_a_cancelled_start_does_not_cancel_the_shared_request(api: _ApiClient) -> None:
    prerequisites = prerequisites_of(api)
    first = asyncio.ensure_future(prerequisites.require([HOME]))
    second = asyncio.ensure_future(prerequisites.require([HOME]))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert api.asked == {"home": 1}


async def test_repeated_failures_do_not_accumulate_tracebacks(api: _ApiClient) -> None:
    """An exception that is raised again keeps the frames of all earlier times."""
    prerequisites = prerequisites_of(api)
    api.statuses["home"] = 500
    depths = []
    for _ in range(3):
        with pytest.raises(Refusal) as caught:
            await prerequisites.require([HOME])
        assert caught.value.code == "cluster-down"
        depths.append(sum(1 for _ in traceback.walk_tb(caught.value.__traceback__)))
    assert depths[0] == depths[2]


@pytest.mark.parametrize("status", [401, 403])
async def test_an_object_that_must_not_be_read_counts_as_existing_and_is_logged_once(
    api: _ApiClient, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    prerequisites = prerequisites_of(api)
    api.statuses = {"home": status, "era5": status}
    await prerequisites.require([HOME, ERA5])
    await prerequisites.require([HOME, ERA5])
    assert api.asked == {"home": 1, "era5": 1}
    assert [f"(HTTP {status}) and is assumed to exist" in message for message in caplog.messages] == [True]


@pytest.mark.parametrize(
    ("kind", "resource"),
    [("LocalQueue", "localqueues"), ("PriorityClass", "priorityclasses"), ("QueuePolicy", "queuepolicies")],
)
def test_resource_is_the_plural_of_the_kind(kind: str, resource: str) -> None:
    assert Prerequisite("example.org/v1", kind, "climate").resource == resource
