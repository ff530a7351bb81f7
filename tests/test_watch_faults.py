"""follow() through a proxy in front of the embedded cluster's API server, which fails as networks and servers do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from api_proxy import Proxy, Status, proxied
from embedded_cluster import NAMESPACE, cluster, create
from followed import FOO, FOOS, Followed, config_map, following, said, shorten_pauses
from kubernetes_asyncio.config import incluster_config
from patience import eventually

from jupyter_research_spawner.embedded import Cluster
from jupyter_research_spawner.watch import follow as module
from jupyter_research_spawner.watch.api_server import ApiServer
from jupyter_research_spawner.watch.connection import connect

__all__ = ["cluster"]

pytestmark = pytest.mark.embedded
CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_pauses(monkeypatch)


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
    await create(cluster, config_map("a"))
    async with following(server, CONFIG_MAPS) as found:
        await found.knows("a")
        await eventually(lambda: proxy.watches() == 1)
        yield found


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
    async with following(server, path) as found:
        await eventually(lambda: proxy.count("list", "foos") > 3)
        assert found.kinds == ["lost"]
        assert said(caplog, "foos").count("the API server does not have this resource (yet)") == 1
        await cluster.apply(FOOS)
        await create(cluster, FOO)
        await found.knows("a")


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
    await create(cluster, config_map("a"))
    async with client, following(ApiServer(client), CONFIG_MAPS) as found:
        await found.knows("a")
        await eventually(lambda: proxy.watches() == 1)
        del cluster.api.tokens["old"]
        token.write_text(new)
        proxy.cut()
        await create(cluster, config_map("b"))
        await found.knows("b")
    assert {*proxy.tokens} >= {old, new}
