"""The page of a start in a real Chromium, while its hub ends and starts again."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import Chromium
from hub import SITE, Hub
from patience import eventually

from jupyter_research_spawner.embedded import NodeSpec

pytestmark = [pytest.mark.embedded, pytest.mark.thorough]


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
