"""The batch service itself on a local port, a stub hub that knows the tokens, and the embedded cluster below."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import samples
from embedded_cluster import NAMESPACE
from kubernetes_asyncio import config
from kubernetes_asyncio.client import ApiClient, Configuration
from stub_hub import StubHub, stub_hub, user

from jupyter_research_spawner.batch.app import Options, running
from jupyter_research_spawner.embedded import Cluster, NodeSpec
from jupyter_research_spawner.site import Site

PREFIX = "/services/batch/"
TOKENS = {"alices": user("alice"), "bobs": user("bob"), "carols": user("carol")}


def small_site(*more: dict[str, Any]) -> Site:
    """The sample settings on plain kube-scheduler, with homes and people that a test can run as."""
    profiles = {
        "small": {"cpu": "100m", "memory": "64Mi", "pod": {"terminationGracePeriodSeconds": 1}},
        "half": {"like": "small", "title": "Half a node", "cpu": 2, "order": 50},
    }
    return samples.site_with(
        {
            "identity": {"sources": {"people": {"passwd": str(samples.DATA / "people.passwd")}, "local": None}},
            "scheduler": {"kind": "plain"},
            "profiles": profiles,
            "queues": {"climate": {"order": 1}},
        },
        {"identity": {"sources": {"people": {"group": str(samples.DATA / "people.group")}}}},
        *more,
    )


@pytest.fixture
def batch_site() -> Site:
    return small_site()


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """One node of 4 CPUs with everything that the sample site needs."""
    claims = {name: tmp_path / name for name in ("home", "project-climate", "era5")}
    for path in claims.values():
        path.mkdir()
        path.chmod(0o777)
    for person in ("alice", "bob", "carol"):
        home = claims["home"] / person
        home.mkdir()
        home.chmod(0o777)
    started = await Cluster.start(
        tmp_path / "cluster",
        [NodeSpec("node-1", cpu=4, memory="16Gi")],
        namespace=NAMESPACE,
        claims=claims,
        back_off_seconds=0.2,
    )
    for name, value in (("low", -100), ("normal", 0), ("high", 100)):
        await started.apply(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": f"research-{name}"},
                "value": value,
            }
        )
    try:
        yield started
    finally:
        await started.stop()


@pytest_asyncio.fixture
async def hub() -> AsyncIterator[StubHub]:
    async with stub_hub(**TOKENS) as stub:
        yield stub
    await close_hub_client()


async def close_hub_client() -> None:
    """Close the HTTP client that JupyterHub 6 keeps for this event loop: each holds an inotify instance of the user."""
    with contextlib.suppress(ModuleNotFoundError):  # JupyterHub 5 has none
        httpclient = importlib.import_module("jupyterhub.httpclient")
        await httpclient.JupyterHubHTTPClient.loop_instance().close()


async def connected(kubeconfig: Path) -> ApiClient:
    configuration = Configuration()
    configuration.connection_pool_maxsize = 0
    await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    return ApiClient(configuration)


def told(api_url: str, **changes: Any) -> Options:
    found: dict[str, Any] = {
        "site": (),
        "name": "batch",
        "host": "127.0.0.1",
        "port": 0,
        "prefix": PREFIX,
        "hub_api_url": api_url,
        "hub_api_token": "the-services-own",
    }
    return Options(**{**found, **changes})


@dataclass
class Client:
    """A person at the other end: `ask` for JSON."""

    session: aiohttp.ClientSession
    url: str

    async def ask(
        self, who: str | None, method: str, path: str, body: Any = None, **kwargs: Any
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"token {who}", **kwargs.pop("headers", {})} if who else kwargs.pop("headers", {})
        async with self.session.request(
            method, self.url + path, json=body, headers=headers, allow_redirects=False, **kwargs
        ) as response:
            return response.status, await response.json(content_type=None)

    async def is_up(self) -> bool:
        try:
            return (await self.ask(None, "GET", "/health"))[0] == 200
        except aiohttp.ClientError:
            return False

    async def submit(self, who: str, *command: str, **wishes: Any) -> dict[str, Any]:
        status, job = await self.ask(who, "POST", "/jobs", {"command": list(command), **wishes})
        assert status == 201, job
        return job

    async def text(self, who: str, path: str) -> str:
        async with self.session.get(self.url + path, headers={"Authorization": f"token {who}"}) as response:
            assert response.status == 200, await response.text()
            return await response.text()


@pytest_asyncio.fixture
async def batch(cluster: Cluster, hub: StubHub, batch_site: Site) -> AsyncIterator[Client]:
    """The service, running, and a client of it."""
    client = await connected(cluster.kubeconfig)
    try:
        async with running(told(hub.api_url), batch_site, client) as port, aiohttp.ClientSession() as session:
            yield Client(session, f"http://127.0.0.1:{port}{PREFIX.rstrip('/')}")
    finally:
        await client.close()
