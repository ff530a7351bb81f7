"""follow() through a proxy in front of the embedded cluster's API server, which fails as networks and servers do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from api_proxy import Proxy, Status, proxied
from embedded_cluster import NAMESPACE, cluster, create
from kubernetes_asyncio.config import incluster_config
from patience import eventually

from jupyter_research_spawner.embedded import Cluster
from jupyter_research_spawner.shape import Json
from jupyter_research_spawner.watch import follow as module
from jupyter_research_spawner.watch.api_server import ApiServer
from jupyter_research_spawner.watch.connection import connect
from jupyter_research_spawner.watch.follow import follow

__all__ = ["cluster"]

pytestmark = pytest.mark.embedded
CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"


class Followed:
    """What a client knows that follows ConfigMaps."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.kinds: list[str] = []
        self.is_lost = False
        self.task: asyncio.Task[None] | None = None

    async def run(self, server: ApiServer, path: str = CONFIG_MAPS) -> None:
        async for change in follow(server, path, {}):
            self.kinds.append(change.kind)
            self.is_lost = change.kind == "lost"
            if change.kind == "listed":
                self.names.clear()
            for obj in change.objects:
                act = self.names.discard if change.kind == "deleted" else self.names.add
                act(obj["metadata"]["name"])

    async def knows(self, *names: str) -> None:
        await eventually(lambda: self.names >= {*names}, otherwise=lambda: f"{self.names} {self.kinds}")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.2)


@pytest_asyncio.fixture
async def proxy(cluster: Cluster) -> AsyncIterator[Proxy]:
    async with proxied(cluster.url, cluster.ca) as found:
        yield found


@pytest_asyncio.fixture
async def server(proxy: Proxy, cluster: Cluster, tmp_path: Path) -> AsyncIterator[ApiServer]:
    kubeconfig = proxy.write_kubeconfig(tmp_path / "proxy.kubeconfig", cluster.add_user("hub"))
    async with await connect(str(kubeconfig)) as client:
        yield ApiServer(client)


@pytest_asyncio.fixture
async def followed(server: ApiServer, proxy: Proxy, cluster: Cluster) -> AsyncIterator[Followed]:
    """A client that has seen ConfigMap a, and whose watch is open."""
    found = Followed()
    await create(cluster, config_map("a"))
    found.task = asyncio.ensure_future(found.run(server))
    await found.knows("a")
    await eventually(lambda: proxy.watches() == 1)
    yield found
    found.task.cancel()
    await asyncio.gather(found.task, return_exceptions=True)


def config_map(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


async def test_a_connection_that_breaks_costs_no_new_list(followed: Followed, proxy: Proxy, cluster: Cluster) -> None:
    # Longer than the shortest time of a watch, which otherwise counts as failed.
    await create(cluster, config_map("b"))
    await followed.knows("b")
    proxy.cut()
    await create(cluster, config_map("c"))
    await followed.knows("c")
    assert proxy.count("list", "configmaps") == 1
    assert "lost" not in followed.kinds


async def test_a_half_open_connection_is_replaced_when_it_is_silent(
    followed: Followed, proxy: Proxy, cluster: Cluster, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", 1.0)
    proxy.cut()  # the next watch has the shorter limit
    await eventually(lambda: proxy.count("watch", "configmaps") >= 2 and proxy.watches() == 1)
    proxy.silence()
    await create(cluster, config_map("b"))
    await followed.knows("b")
    assert "lost" not in followed.kinds


async def test_without_bookmarks_a_quiet_watch_goes_on(
    followed: Followed, proxy: Proxy, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", 1.0)
    monkeypatch.setattr(module, "SHORTEST_WATCH_SECONDS", 0.5)
    proxy.sends_bookmarks = False
    proxy.cut()
    lists = proxy.count("list", "configmaps")
    await eventually(lambda: proxy.count("watch", "configmaps") >= 4)
    await create(cluster, config_map("b"))
    await followed.knows("b")
    # At most one after the cut.
    assert proxy.count("list", "configmaps") <= lists + 1


async def test_an_api_server_that_is_down_is_told_and_found_again(
    followed: Followed, proxy: Proxy, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.is_down = True
    proxy.cut()
    await eventually(lambda: followed.is_lost)
    # What was known stays: nobody may take an unknown object for a deleted one.
    assert followed.names == {"a"}
    failures = len(proxy.requests)
    await eventually(lambda: len(proxy.requests) > failures + 5)
    assert followed.kinds.count("lost") == 1
    await create(cluster, config_map("b"))
    proxy.is_down = False
    await followed.knows("a", "b")
    assert not followed.is_lost
    assert said(caplog, "The watch of").count(f"The watch of {CONFIG_MAPS} failed") == 1


async def test_an_api_server_that_does_not_answer_is_told(
    proxy: Proxy, followed: Followed, cluster: Cluster, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_answer_seconds", 0.5)
    proxy.is_hanging = True
    proxy.cut()
    await eventually(lambda: followed.is_lost)
    proxy.is_hanging = False
    await create(cluster, config_map("b"))
    await followed.knows("a", "b")


async def test_410_gone_lists_again(followed: Followed, proxy: Proxy, cluster: Cluster) -> None:
    lists = proxy.count("list", "configmaps")
    await proxy.expire()
    await eventually(lambda: proxy.count("list", "configmaps") > lists and proxy.watches() == 1)
    await create(cluster, config_map("b"))
    await followed.knows("a", "b")
    assert "lost" not in followed.kinds


FORBIDDEN = (
    'configmaps is forbidden: User "system:serviceaccount:jhub:hub" cannot list resource "configmaps" in API group "" '
    'in the namespace "jhub"'
)


async def test_a_missing_right_is_said_once_and_works_when_it_is_given(
    followed: Followed, proxy: Proxy, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.refuses = lambda request: Status(403, FORBIDDEN)
    proxy.cut()
    asked = len(proxy.requests)
    await eventually(lambda: len(proxy.requests) > asked + 5)
    assert followed.is_lost
    assert said(caplog, FORBIDDEN).count("Add this right to a Role of the account") == 1
    await create(cluster, config_map("b"))
    proxy.refuses = lambda request: None
    await followed.knows("a", "b")
    await create(cluster, config_map("c"))
    await followed.knows("c")
    await eventually(lambda: f"The watch of {CONFIG_MAPS} works again" in caplog.text)


async def test_a_right_to_list_alone_keeps_the_objects_known(
    followed: Followed, proxy: Proxy, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(request: web.Request) -> Status | None:
        return Status(403, "cannot watch") if "watch" in request.query else None

    proxy.refuses = refuses
    proxy.cut()
    await create(cluster, config_map("b"))
    await followed.knows("b")
    assert not followed.is_lost
    lists = proxy.count("list", "configmaps")
    await eventually(lambda: proxy.count("list", "configmaps") > lists + 3)
    assert said(caplog, "cannot watch").count("cannot watch") == 1
    assert "lost" not in followed.kinds


async def test_a_kind_that_is_installed_later_is_followed(
    server: ApiServer, proxy: Proxy, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"/apis/example.com/v1/namespaces/{NAMESPACE}/foos"
    found = Followed()
    task = asyncio.ensure_future(found.run(server, path))
    try:
        await eventually(lambda: proxy.count("list", "foos") > 3)
        assert found.kinds == ["lost"]
        assert said(caplog, "foos").count("the API server does not have this resource (yet)") == 1
        await cluster.apply(FOOS)
        await create(cluster, {"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}})
        await found.knows("a")
    finally:
        task.cancel()


FOOS: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "foos.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"kind": "Foo", "plural": "foos", "singular": "foo", "listKind": "FooList"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


async def test_an_answer_that_is_no_list_ends_no_watch(followed: Followed, proxy: Proxy, cluster: Cluster) -> None:
    """Some proxies answer with a page of their own, and HTTP 200."""
    proxy.refuses = lambda request: Status(200, "Please log in")
    proxy.cut()
    asked = len(proxy.requests)
    await eventually(lambda: len(proxy.requests) > asked + 3)
    assert followed.task is not None
    assert not followed.task.done()
    proxy.refuses = lambda request: None
    await create(cluster, config_map("b"))
    await followed.knows("a", "b")


async def test_a_renewed_token_is_read_from_its_file(
    proxy: Proxy, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet replaces the token of a service account in its file; the old one ends (KEP-1205)."""
    token, certificate = tmp_path / "token", tmp_path / "ca.crt"
    old, new = cluster.add_user("old"), cluster.add_user("new")
    token.write_text(old)
    certificate.write_bytes(cluster.ca.read_bytes())
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(proxy.port))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(certificate))
    monkeypatch.setattr(incluster_config, "TOKEN_REFRESH_PERIOD", incluster_config.datetime.timedelta(seconds=0.2))
    client = await connect()
    client.configuration.host = proxy.own_url  # the proxy has no TLS
    found = Followed()
    async with client:
        await create(cluster, config_map("a"))
        task = asyncio.ensure_future(found.run(ApiServer(client)))
        try:
            await found.knows("a")
            del cluster.api.tokens["old"]
            token.write_text(new)
            proxy.cut()
            await create(cluster, config_map("b"))
            await found.knows("b")
        finally:
            task.cancel()
    assert {*proxy.tokens} >= {old, new}


def said(caplog: pytest.LogCaptureFixture, part: str) -> str:
    """Return the warnings and errors of follow() in which that part is."""
    found = [record for record in caplog.records if record.name == module.log.name and record.levelno > logging.INFO]
    return "\n".join(record.getMessage() for record in found if part in record.getMessage())
