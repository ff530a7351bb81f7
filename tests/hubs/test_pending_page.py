"""The page of a start in a real Chromium, while its hub ends and starts again."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from chromium import Chromium
from hub import SITE, Hub
from patience import eventually
from yarl import URL

from jupyter_research_spawner.embedded import NodeSpec

pytestmark = [pytest.mark.embedded, pytest.mark.thorough]


@contextlib.asynccontextmanager
async def proxy_without_hub(address: str) -> AsyncIterator[list[str]]:
    """Answer as the hub's proxy does while the hub is down: 503, after which an EventSource does not retry.

    Yields the paths of the requests.
    """
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=503, text="Service Unavailable")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", URL(address).port, reuse_address=True).start()
        yield asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("hub", [6, 5], indirect=True, ids=["hub6", "hub5"])
async def test_an_open_page_finds_its_way_back_after_a_restart(hub: Hub, tmp_path: Path) -> None:
    hub.write(SITE)
    await hub.start()
    await hub.person("alice")
    await hub.start_server("alice", {"profile": "huge"}, "exp")
    async with Chromium.running(tmp_path / "chromium") as chromium:
        page = await chromium.page()
        await page.open(f"{hub.url}/hub/login?next=/hub/spawn-pending/alice/exp")
        await page.fill("#username_input", "alice")
        await page.click("#login_submit")
        waits = await page.shows("#progress-message", "Waiting in queue climate")
        (pod,) = await eventually(hub.pods)
        await hub.kill()
        await page.shows("#progress-message", "The hub does not answer at the moment.")
        async with proxy_without_hub(hub.url) as asked:
            # The page asks for itself again and again, and stays as it is.
            await eventually(lambda: asked.count("/hub/spawn-pending/alice/exp") > 1, every=0.2)
            await page.shows("#progress-message", "The hub does not answer at the moment.")
        await hub.start()
        assert await page.shows("#progress-message", "Waiting in queue climate") == waits
        assert hub.pods()[0]["metadata"]["uid"] == pod["metadata"]["uid"]
        assert "/hub/spawn-pending/alice/exp" in await page.run("location.pathname")
        hub.cluster.add_node(NodeSpec("node-2", cpu=128, memory="64Gi"))

        async def is_led_on() -> bool:
            # This hub has no proxy, so that it answers itself.
            return "/user/alice/exp" in await page.run("location.pathname")

        await eventually(is_led_on, every=0.2, otherwise=lambda: hub.log[-4000:])
        assert chromium.errors == []
