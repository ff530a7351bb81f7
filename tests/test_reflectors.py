"""The reflectors of pods and events on an embedded API server: one list, listeners, and an API server that is down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from kubernetes_asyncio.client import ApiClient, Configuration, CoreV1Api
from patience import eventually

from jupyter_research_spawner.embedded.apimachinery.api_resources import NAMESPACE, POD
from jupyter_research_spawner.embedded.apiserver.http_server import ADMIN, Api
from jupyter_research_spawner.embedded.objectstore.object_store import Store
from jupyter_research_spawner.spawner import reflectors
from jupyter_research_spawner.spawner.hub_errors import HubRefusal
from jupyter_research_spawner.spawner.pod_changes import Listeners, PodChange, subscribe, subscribe_to_related
from jupyter_research_spawner.spawner.reflectors import FollowingEventReflector, FollowingPodReflector

Json = dict[str, Any]
LABELS = {"component": "singleuser-server"}
HOST = "127.0.0.1"


def pod(name: str, **labels: str) -> Json:
    return {
        "metadata": {"name": name, "labels": {**LABELS, **labels}},
        "spec": {"containers": [{"name": "notebook", "image": "example/image:1"}]},
    }


class Server:
    """An API server that can be stopped and started again on its port, and counts requests."""

    def __init__(self) -> None:
        self.store = Store()
        self.store.create(NAMESPACE, None, {"metadata": {"name": "jhub"}})
        self.api = Api(self.store, {ADMIN: "token"})
        self.port = 0

    async def start(self) -> None:
        url = await self.api.start(HOST, None, self.port)
        self.port = int(url.rpartition(":")[2])

    def create(self, body: Json) -> Json:
        return self.store.create(POD, "jhub", body)

    def delete(self, found: Json) -> None:
        current = self.store.find(POD, "jhub", found["metadata"]["name"])
        self.store.delete(POD, current, {"gracePeriodSeconds": 0})

    def core(self) -> CoreV1Api:
        configuration = Configuration(host=f"http://{HOST}:{self.port}", api_key={"BearerToken": "Bearer token"})
        return CoreV1Api(ApiClient(configuration))

    @property
    def lists(self) -> int:
        return self.api.calls["list", "pods"]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    started = Server()
    await started.start()
    yield started
    await started.api.stop()


@pytest_asyncio.fixture
async def pods(server: Server) -> AsyncIterator[FollowingPodReflector]:
    reflector = FollowingPodReflector(namespace="jhub", labels=LABELS)
    reflector.api = server.core()
    yield reflector
    await reflector.stop()
    await reflector.api.api_client.close()


def changes_of(name: str) -> list[PodChange]:
    found: list[PodChange] = []
    subscribe("jhub", name, found.append)
    return found


async def test_pods_are_listed_once_and_then_watched(server: Server, pods: FollowingPodReflector) -> None:
    server.create(pod("a"))
    server.create(pod("b", component="other"))
    await pods.start()
    assert set(pods.pods) == {"jhub/a"}
    server.create(pod("c"))
    await eventually(lambda: "jhub/c" in pods.pods)
    assert server.lists == 1
    assert not pods.watch_task.done()


async def test_listeners_get_each_change_of_their_pod_and_its_last_object(
    server: Server, pods: FollowingPodReflector
) -> None:
    changes, others = changes_of("a"), changes_of("b")
    await pods.start()
    created = server.create(pod("a"))
    failed = {"phase": "Failed", "reason": "Evicted"}
    server.store.modify(POD, created, lambda found: found.update(status=failed))
    server.delete(created)
    await eventually(lambda: changes and changes[-1].is_deleted)
    assert [change.is_deleted for change in changes] == [False, False, True]
    assert changes[-1].pod["status"]["reason"] == "Evicted"
    assert (others, dict(pods.pods)) == ([], {})


async def test_a_new_list_tells_which_pods_have_gone_and_which_have_changed(
    server: Server, pods: FollowingPodReflector
) -> None:
    gone, replaced, same = server.create(pod("gone")), server.create(pod("replaced")), server.create(pod("same"))
    await pods.start()
    told = {name: changes_of(name) for name in ("gone", "replaced", "same", "new")}
    await pods.stop()
    for found in (gone, replaced):
        server.delete(found)
    server.create(pod("replaced"))
    server.create(pod("new"))
    await pods.restart()
    assert [(it.is_deleted, it.pod["metadata"]["uid"]) for it in told["gone"]] == [(True, gone["metadata"]["uid"])]
    assert [it.is_deleted for it in told["replaced"]] == [True, False]
    assert told["replaced"][0].pod["metadata"]["uid"] == replaced["metadata"]["uid"]
    assert [it.is_deleted for it in told["new"]] == [False]
    assert told["same"] == []
    assert same["metadata"]["name"] == "same"


async def test_without_a_list_a_start_is_refused_and_the_list_is_repeated(
    server: Server, pods: FollowingPodReflector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflectors, "FIRST_LIST_SECONDS", 0.1)
    await server.api.stop()
    with pytest.raises(HubRefusal, match="cannot list the pods in namespace 'jhub'") as refused:
        await pods.start()
    assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": "30"})
    server.create(pod("a"))
    await server.start()
    await pods.require_list(None)
    assert set(pods.pods) == {"jhub/a"}


async def test_the_pods_stay_known_while_the_api_server_is_down(server: Server, pods: FollowingPodReflector) -> None:
    found = server.create(pod("a"))
    await pods.start()
    changes = changes_of("a")
    await server.api.stop()
    server.delete(found)
    assert set(pods.pods) == {"jhub/a"}
    await server.start()
    await eventually(lambda: changes)
    assert (changes[0].is_deleted, dict(pods.pods)) == (True, {})


async def test_an_object_that_cannot_be_read_does_not_end_the_watch(
    server: Server, pods: FollowingPodReflector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reflectors, "SECONDS_AFTER_ERROR", 0.01)
    await pods.start()
    real, failed = pods._take, []

    def take(change: Any) -> None:
        if not failed:
            failed.append(change)
            raise KeyError("metadata")
        real(change)

    monkeypatch.setattr(pods, "_take", take)
    server.create(pod("a"))
    await eventually(lambda: "jhub/a" in pods.pods)
    assert failed


async def test_events_are_found_by_pod_and_tell_its_listeners(server: Server) -> None:
    events = FollowingEventReflector(namespace="jhub")
    events.api = server.core()
    heard: list[str] = []
    unsubscribe = subscribe_to_related("jhub", "a", lambda: heard.append("changed"))
    created = server.create(pod("a"))
    try:
        await events.start()
        server.store.record(created, "Scheduled", "assigned", source="default-scheduler")
        await eventually(lambda: heard)
        assert [event["reason"] for event in events.of("a")] == ["Scheduled"]
        assert events.of("b") == []
        assert events.field_selector == "involvedObject.kind=Pod"
    finally:
        unsubscribe()
        await events.stop()
        await events.api.api_client.close()


async def test_only_events_of_the_hubs_pods_and_of_starts_are_kept(
    server: Server, pods: FollowingPodReflector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FollowingEventReflector, "page", 2)
    events = FollowingEventReflector(namespace="jhub")
    events.api, events.pods_of_hub = server.core(), pods
    unsubscribe = subscribe_to_related("jhub", "starting", lambda: None)
    others = [pod(name, component="other") for name in ("job", "starting")]
    created = [server.create(one) for one in (pod("running"), *others)]

    def record(reason: str) -> None:
        for one in created:
            server.store.record(one, reason, reason, source="kubelet")

    def kept() -> list[tuple[str, str]]:
        return sorted((event["involvedObject"]["name"], event["reason"]) for event in events.resources.values())

    record("Scheduled")
    record("Pulled")
    try:
        await pods.start()
        await events.start()
        both = [(name, reason) for name in ("running", "starting") for reason in ("Pulled", "Scheduled")]
        assert kept() == both
        record("Started")
        record("Killing")
        await eventually(lambda: ("starting", "Killing") in kept())
        assert kept() == sorted(both + [(name, reason) for name, _ in both[::2] for reason in ("Killing", "Started")])
    finally:
        unsubscribe()
        await events.stop()
        await events.api.api_client.close()


async def test_stop_ends_the_watch(server: Server, pods: FollowingPodReflector) -> None:
    await pods.start()
    task = pods.watch_task
    await asyncio.wait_for(pods.stop(), 60)
    assert task.cancelled()
    assert pods.watch_task is None
    await pods.stop()


def test_a_listener_that_fails_does_not_stop_the_others() -> None:
    listeners: Listeners[int] = Listeners()
    heard: list[int] = []

    def fails(_: int) -> None:
        raise ValueError("broken listener")

    listeners.subscribe("jhub", "a", fails)
    unsubscribe = listeners.subscribe("jhub", "a", heard.append)
    listeners.announce(("jhub", "a"), 1)
    unsubscribe()
    unsubscribe()
    listeners.announce(("jhub", "a"), 2)
    assert heard == [1]
    assert ("jhub", "a") in listeners
    assert ("jhub", "b") not in listeners
