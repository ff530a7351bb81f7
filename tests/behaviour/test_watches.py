"""Watches, as reflectors use them."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from kube import MERGE, Json, Kube, defined, eventually, pod
from kubernetes_asyncio import watch
from kubernetes_asyncio.client import ApiException


async def touch(kube: Kube, name: str, value: str) -> None:
    await kube.patch(f"pods/{name}", {"metadata": {"annotations": {"touched": value}}}, MERGE)


async def test_a_watch_without_revision_begins_with_what_is_there(kube: Kube) -> None:
    await kube.made("pods", pod("p1"))
    there = ("ADDED", "p1")
    assert await kube.watched(there) == [there]


async def test_a_watch_from_now_shows_only_what_comes(kube: Kube) -> None:
    await kube.made("pods", pod("p1"))
    revision = await kube.revision()

    async def later() -> None:
        await asyncio.sleep(0.3)
        await touch(kube, "p1", "1")

    comes = ("MODIFIED", "p1")
    seen, _ = await asyncio.gather(kube.watched(comes, resource_version=revision), later())
    assert seen == [comes]


async def test_a_watch_from_the_past_replays_it(kube: Kube) -> None:
    for name in ("p1", "p2"):
        await kube.made("pods", pod(name))
    revision = await kube.revision()
    for name in ("p1", "p2"):
        await touch(kube, name, "1")
    past = [("MODIFIED", "p1"), ("MODIFIED", "p2")]
    assert await kube.watched(past[-1], resource_version=revision) == past


async def test_a_watch_selects_by_labels(kube: Kube) -> None:
    await kube.made("pods", pod("p1", {"component": "a"}))
    await kube.made("pods", pod("p2", {"component": "b"}))
    revision = await kube.revision()
    for name in ("p1", "p2"):
        await touch(kube, name, "1")
    selected = ("MODIFIED", "p2")
    assert await kube.watched(selected, resource_version=revision, label_selector="component=b") == [selected]


async def test_entering_a_selector_is_added_leaving_it_deleted(kube: Kube) -> None:
    await kube.made("pods", pod("p1", {"component": "a"}))
    revision = await kube.revision()
    for component in ("b", "a"):
        await kube.patch("pods/p1", {"metadata": {"labels": {"component": component}}}, MERGE)
    entering, leaving = ("ADDED", "p1"), ("DELETED", "p1")
    seen = await kube.watched(leaving, resource_version=revision, label_selector="component=b")
    assert seen == [entering, leaving]


async def test_a_watch_of_one_object(kube: Kube) -> None:
    for name in ("p1", "p2"):
        await kube.made("pods", pod(name))
    revision = await kube.revision()
    for name in ("p1", "p2"):
        await touch(kube, name, "1")
    selected = ("MODIFIED", "p2")
    assert await kube.watched(selected, resource_version=revision, field_selector="metadata.name=p2") == [selected]


async def test_a_deletion_shows_the_last_state(kube: Kube) -> None:
    await kube.made("pods", pod("p1"))
    revision = await kube.revision()
    await kube.delete("pods/p1", gracePeriodSeconds="0")
    gone = ("DELETED", "p1")
    assert (await kube.watched(gone, resource_version=revision))[-1] == gone


async def test_timeout_seconds_ends_a_watch(kube: Kube) -> None:
    begun = time.monotonic()
    await kube.watched(seconds=1)
    # The server's own limit is half an hour.
    assert time.monotonic() - begun < 60


async def test_bookmarks_bring_the_revision_on(kube: Kube) -> None:
    """A watch without events sends the current revision in a bookmark before it ends."""
    query = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "fieldSelector": "metadata.name=p2",
        "resourceVersion": await kube.revision(),
        "timeoutSeconds": "6",
    }
    async with kube.session.get(f"{kube.here}/pods", params=query) as response:
        other = await kube.made("pods", pod("p1"))
        events = [json.loads(line) async for line in response.content]
    assert {event["type"] for event in events} == {"BOOKMARK"}
    last = events[-1]["object"]
    assert (last["apiVersion"], last["kind"]) == ("v1", "Pod")
    assert int(last["metadata"]["resourceVersion"]) >= int(other["metadata"]["resourceVersion"])


async def test_a_streaming_list_ends_with_its_bookmark(kube: Kube) -> None:
    await kube.made("pods", pod("p1"))
    query = {
        "watch": "true",
        "sendInitialEvents": "true",
        "allowWatchBookmarks": "true",
        "resourceVersionMatch": "NotOlderThan",
        "timeoutSeconds": "2",
    }
    async with kube.session.get(f"{kube.here}/pods", params=query) as response:
        events = [json.loads(line) async for line in response.content]
    assert [event["type"] for event in events[:2]] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_revision_that_is_forgotten_is_410(kube: Kube) -> None:
    """A new resource has no history, so no API server can replay changes before its creation."""
    async with defined(kube, "foos") as path:

        async def events() -> list[Json]:
            query = {"watch": "true", "resourceVersion": "1", "timeoutSeconds": "1"}
            async with kube.session.get(path, params=query) as response:
                return [json.loads(line) async for line in response.content]

        async def expired() -> bool:
            return [event["type"] for event in await events()] == ["ERROR"]

        # Until its cache has begun, a real server reads from a store that has forgotten nothing yet.
        await eventually(expired, True)
        [event] = await events()
        status = event["object"]
        assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
        assert status["message"].startswith("too old resource version: 1 (")
        with pytest.raises(ApiException) as raised:
            group = path.split("/")[2]
            stream = watch.Watch().stream(
                kube.custom.list_namespaced_custom_object,
                *(group, "v1", kube.namespace, "foos"),
                resource_version="1",
                timeout_seconds=1,
            )
            async with stream:
                async for _ in stream:
                    pass
        assert raised.value.status == 410


async def test_a_watch_of_what_is_not_served_is_404(kube: Kube) -> None:
    answer = await kube.call("GET", f"/apis/example.com/v1/namespaces/{kube.namespace}/foos", watch="true")
    assert answer.status == 404


async def test_what_is_listed_has_the_revision_to_watch_from(kube: Kube) -> None:
    await kube.made("pods", pod("p1"))
    listed = (await kube.get("pods", resourceVersion="0")).body
    there = [("ADDED", found["metadata"]["name"]) for found in listed["items"]]
    await kube.made("pods", pod("p2"))
    last = ("ADDED", "p2")
    seen = await kube.watched(last, resource_version=listed["metadata"]["resourceVersion"])
    # A list from the cache may be a little old; it and the watch together miss nothing and tell nothing twice.
    assert there + seen == [("ADDED", "p1"), last]


async def test_events_of_a_watch_are_whole_objects(kube: Kube) -> None:
    await kube.made("pods", pod("p1"))
    query = {"watch": "true", "timeoutSeconds": "1"}
    async with kube.session.get(f"{kube.here}/pods", params=query) as response:
        [event] = [json.loads(line) async for line in response.content]
    found = (await kube.get("pods/p1")).body
    assert event["object"]["metadata"]["uid"] == found["metadata"]["uid"]
    assert (event["object"]["apiVersion"], event["object"]["kind"]) == ("v1", "Pod")


async def test_a_pod_that_goes_is_seen_going_and_gone(kube: Kube) -> None:
    await kube.made("pods", pod("p1", nodeName=kube.nowhere))
    revision = await kube.revision()
    await kube.delete("pods/p1")
    await kube.delete("pods/p1", gracePeriodSeconds="0")
    query = {"watch": "true", "timeoutSeconds": "1", "resourceVersion": revision}
    async with kube.session.get(f"{kube.here}/pods", params=query) as response:
        going, *_, gone = [json.loads(line) async for line in response.content]
    assert (going["type"], gone["type"]) == ("MODIFIED", "DELETED")
    assert going["object"]["metadata"]["deletionGracePeriodSeconds"] == 30
    assert gone["object"]["metadata"]["deletionGracePeriodSeconds"] == 0
    assert int(gone["object"]["metadata"]["resourceVersion"]) > int(going["object"]["metadata"]["resourceVersion"])


async def test_many_watchers_miss_nothing(kube: Kube) -> None:
    revision = await kube.revision()
    watches = [asyncio.ensure_future(kube.watched(("ADDED", "p49"), resource_version=revision)) for _ in range(5)]
    for number in range(50):
        await kube.made("pods", pod(f"p{number}"))
    for seen in await asyncio.gather(*watches):
        assert [name for type_, name in seen if type_ == "ADDED"] == [f"p{number}" for number in range(50)]
