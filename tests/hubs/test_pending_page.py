"""The page of a start in a real Chromium, while its hub ends and starts again."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from browser import Chromium, expect, log_in, visit
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
async def test_an_open_page_finds_its_way_back_after_a_restart(hub: Hub, chromium: Chromium) -> None:
    hub.write(SITE)
    await hub.start()
    await hub.person("alice")
    await hub.start_server("alice", {"profile": "huge"}, "exp")
    async with visit(chromium, hub.url) as page:
        await log_in(page, "alice", then="/hub/spawn-pending/alice/exp")
        sentence = page.get_by_role("status").filter(has_text="Waiting in queue climate")
        waits = await sentence.inner_text()
        (pod,) = await eventually(hub.pods)
        await hub.kill()
        await expect(page.get_by_text("The hub does not answer at the moment.")).to_be_visible()
        async with proxy_without_hub(hub.url) as asked:
            # The page asks for itself again and again, and stays as it is.
            await eventually(lambda: asked.count("/hub/spawn-pending/alice/exp") > 1, every=0.2)
            await expect(page.get_by_text("The hub does not answer at the moment.")).to_be_visible()
        await hub.start()
        assert await sentence.inner_text() == waits
        assert hub.pods()[0]["metadata"]["uid"] == pod["metadata"]["uid"]
        assert "/hub/spawn-pending/alice/exp" in page.url
        hub.cluster.add_node(NodeSpec("node-2", cpu=128, memory="64Gi"))
        # This hub has no proxy, so that it answers itself.
        await page.wait_for_url("**/user/alice/exp**")
