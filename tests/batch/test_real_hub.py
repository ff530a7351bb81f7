"""A real JupyterHub that starts the service itself: which of its tokens open it, and a browser's way in."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
import yaml
from conftest import PREFIX, Client
from patience import eventually
from stub_hub import ACCESS

from jupyter_research_spawner.demo.hub import free_port
from jupyter_research_spawner.embedded.node.container_process import marked_processes

pytestmark = pytest.mark.embedded

ADMIN = "the-administrators-token"
CONFIG = """
import os, sys
from jupyterhub.proxy import Proxy

class NoProxy(Proxy):
    # Nobody comes by the front door here: the tests ask hub and service where they listen.
    should_start = False
    async def add_route(self, routespec, target, data): pass
    async def delete_route(self, routespec): pass
    async def get_all_routes(self): return {}

c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.bind_url = "http://127.0.0.1:1"
c.JupyterHub.hub_bind_url = os.environ["TEST_HUB"]
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = "password"
c.Authenticator.allowed_users = {"alice", "bob"}
c.JupyterHub.services = [
    {"name": "batch", "url": os.environ["TEST_BATCH"], "oauth_no_confirm": True,
     "oauth_client_allowed_scopes": ["read:servers!user"],
     "command": [sys.executable, "-m", "jupyter_research_spawner.batch", "--site", os.environ["TEST_SITE"]],
     "environment": {name: os.environ[name] for name in ("KUBECONFIG", "TEST_SITE")}},
    {"name": "admin", "api_token": os.environ["TEST_ADMIN"]},
]
c.JupyterHub.load_roles = [
    {"name": "user", "scopes": ["self", "access:services!service=batch"]},
    {"name": "admin-service", "scopes": ["admin:users", "tokens"], "services": ["admin"]},
    {"name": "look", "scopes": ["read:users:name", "read:users:groups", "list:users"], "services": ["batch"]},
]
"""


@dataclass
class House:
    """The hub's and the service's addresses."""

    hub: str
    batch: Client

    async def token(self, who: str, *scopes: str) -> str:
        """A token of that person's, as the hub gives them to servers and services."""
        async with self.batch.session.post(
            f"{self.hub}/hub/api/users/{who}/tokens",
            json={"scopes": list(scopes)},
            headers={"Authorization": f"token {ADMIN}"},
        ) as response:
            answer = await response.json()
            assert response.status == 201, answer
            return str(answer["token"])


@pytest_asyncio.fixture
async def house(cluster: Any, batch_site: Any, tmp_path: Path) -> AsyncIterator[House]:
    hub_port, batch_port = free_port("127.0.0.1"), free_port("127.0.0.1")
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump(batch_site.model_dump(mode="json", by_alias=True, exclude_unset=True)))
    (tmp_path / "jupyterhub_config.py").write_text(CONFIG)
    environ = {
        **os.environ,
        "TEST_HUB": f"http://127.0.0.1:{hub_port}",
        "TEST_BATCH": f"http://127.0.0.1:{batch_port}",
        "TEST_SITE": str(site),
        "TEST_ADMIN": ADMIN,
        "KUBECONFIG": str(cluster.kubeconfig),
    }
    log = tmp_path / "hub.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "jupyterhub", cwd=tmp_path, env=environ, stdout=output, stderr=output
        )
    try:
        # The addresses are numbers, and a browser's jar does not keep cookies of those.
        # On a machine under load a server may close an idle connection in the moment in which it is used again.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            found = House(
                f"http://127.0.0.1:{hub_port}", Client(session, f"http://127.0.0.1:{batch_port}{PREFIX.rstrip('/')}")
            )
            # The hub starts the service once it listens itself.
            await eventually(found.batch.is_up, otherwise=lambda: log.read_text()[-4000:])
            yield found
    finally:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 15)
        except asyncio.TimeoutError:
            process.kill()
        # A managed service is in a session of its own, and a hub that ends early leaves it.
        for pid in marked_processes("TEST_SITE", str(site)):
            os.kill(pid, signal.SIGKILL)


async def test_only_a_persons_token_with_the_right_scope_opens_the_service(house):
    batch = house.batch
    token = await house.token("alice", ACCESS)
    job = await batch.submit(token, "true")
    assert [found["id"] for found in (await batch.ask(token, "GET", "/jobs"))[1]["jobs"]] == [job["id"]]

    for who, scopes in (("alice", ["read:users:name!user=alice"]), ("alice", ["access:servers!user=alice"])):
        status, answer = await batch.ask(await house.token(who, *scopes), "POST", "/jobs", {"command": ["true"]})
        assert (status, answer["error"]["status"]) == (403, 403)
    status, answer = await batch.ask(ADMIN, "POST", "/jobs", {"command": ["true"]})
    assert status == 403
    assert (await batch.ask("none", "POST", "/jobs", {"command": ["true"]}))[0] == 401

    bobs = await house.token("bob", ACCESS)
    assert (await batch.ask(bobs, "GET", f"/jobs/{job['id']}"))[0] == 404


async def test_a_browser_signs_in_at_the_hub_and_reads_but_does_not_submit(house):
    session, service = house.batch.session, house.batch.url.removesuffix(PREFIX.rstrip("/"))
    async with session.get(f"{house.hub}/hub/login") as page:
        assert page.status == 200
        xsrf = page.cookies["_xsrf"].value
    form = {"username": "alice", "password": "password", "_xsrf": xsrf}
    async with session.post(f"{house.hub}/hub/login", data=form, allow_redirects=False) as response:
        assert response.status == 302

    there = await sent_to(session, f"{service}{PREFIX}")
    assert urlsplit(there).path == "/hub/api/oauth2/authorize"
    back = await sent_to(session, f"{house.hub}{there}")
    assert urlsplit(back).path == f"{PREFIX}oauth_callback"
    home = await sent_to(session, f"{service}{back}")
    assert home == PREFIX
    async with session.get(f"{service}{home}", headers={"Accept": "text/html"}) as response:
        page = await response.text()
        assert (response.status, "<h1>My work</h1>" in page) == (200, True)
        # The token of this login shows the user's own servers, of which there are none.
        assert "You have no servers and no jobs." in page and "Your servers are not shown" not in page
    jobs = await sent_to(session, f"{service}{home}")
    async with session.get(f"{service}{jobs}") as response:
        assert (response.status, await response.json()) == (200, {"jobs": []})
    async with session.post(f"{service}{jobs}", json={"command": ["true"]}) as response:
        assert response.status == 401


async def sent_to(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url, allow_redirects=False) as response:
        assert response.status == 302, (url, response.status, await response.text())
        return response.headers["Location"]
