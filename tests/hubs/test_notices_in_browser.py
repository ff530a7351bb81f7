"""What a user sees before the end of the wall time: a real hub, proxy and JupyterLab, in a real Chromium."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from browser import Chromium, expect, log_in, visit
from patience import eventually

from jupyter_research_spawner.demo import embedded_cluster
from jupyter_research_spawner.demo.demo_cluster import settings
from jupyter_research_spawner.demo.running_demo import RunningDemo, set_up
from jupyter_research_spawner.demo.user_session import UserSession
from jupyter_research_spawner.shape import Json

# Without root, the pods of the embedded cluster see none of their mounts.
pytestmark = [pytest.mark.thorough, pytest.mark.root]
# The first notice is due at once, and no more after an extension by more than two hours.
SITE = {"hub": {"first_notice": "9h"}, "profiles": {"small": {"wall_time": "8h", "wall_time_hard": "24h"}}}
NOTICE = ".jp-Notification-Toast-warning"
DEADLINE = "research-spawner/deadline"


@pytest_asyncio.fixture
async def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningDemo]:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)  # pods run as other users
    monkeypatch.setattr(embedded_cluster, "settings", lambda: settings(SITE))
    async with set_up(embedded_cluster.EmbeddedCluster(), tmp_path / "demo", print) as running:
        yield running


async def pod_of_alice(demo: RunningDemo) -> Json:
    return next(pod for pod in await demo.pods() if pod["metadata"]["name"] == "jupyter-alice")


async def first_terminal_output(alice: UserSession, root: str) -> str:
    """Return what a new terminal of JupyterLab prints, up to its first prompt."""
    xsrf = alice.xsrf("/user/alice/")
    answer = await alice.http.post(f"{root}/api/terminals", json={}, headers={"X-XSRFToken": xsrf})
    assert answer.status == 200, await answer.text()
    name, printed = (await answer.json())["name"], ""
    async with alice.http.ws_connect(f"{root}/terminals/websocket/{name}") as socket:
        while "$ " not in printed:
            message = json.loads((await asyncio.wait_for(socket.receive(), 60)).data)
            printed += message[1] if message[0] == "stdout" else ""
    return printed


async def test_jupyterlab_tells_the_end_until_it_is_extended(demo: RunningDemo, chromium: Chromium) -> None:
    hub = demo.hub
    root = f"{hub.url}/user/alice"
    async with UserSession(hub.url, "alice", hub.password) as alice, visit(chromium, hub.url) as page:
        await alice.log_in()
        await alice.start_server("Small")

        async def deadline() -> Json:
            found: Json = json.loads((await pod_of_alice(demo))["metadata"]["annotations"][DEADLINE])
            return found

        first = await eventually(deadline, every=0.2)
        await log_in(page, "alice", hub.password, then="/user/alice/lab")
        date = f"new Date({first['ends_at_seconds'] * 1000})"
        when = await page.evaluate(f"{date}.toLocaleTimeString([], {{hour: '2-digit', minute: '2-digit'}})")
        notice = page.locator(NOTICE)
        # The role is what makes a screen reader read it.
        await expect(notice.get_by_role("alert")).to_contain_text(f"This server ends at {when}")
        await expect(notice).to_contain_text("saved files are kept")

        terminal = await first_terminal_output(alice, root)
        assert re.match(r"This server ends on \w+ .* UTC, in (8 h 0|7 h [0-9]+) min\.", terminal), terminal

        # Nobody else can read the end: the page is the user's own.
        async with aiohttp.ClientSession() as anybody:
            answer = await anybody.get(f"{root}/lab")
            assert "/hub/login" in str(answer.url) and "ends_at" not in await answer.text()

        # JupyterLab closes a notice whose button is pressed.
        async with page.context.expect_page() as opened:
            await notice.get_by_role("button", name="Extend").click()
        extending = await opened.value
        assert first["extend_path"] == "/hub/research-spawner/wall-time?server="
        assert extending.url == hub.url + first["extend_path"]
        extend = extending.get_by_role("button", name="(8h more)")
        await expect(extend).to_be_visible()

        # JupyterLab has closed the notice. A page that is loaded again shows it until the server is extended.
        await page.bring_to_front()
        await page.reload()
        await expect(notice).to_contain_text(f"This server ends at {when}")
        await extending.bring_to_front()
        await extend.click()
        await expect(extending.get_by_role("status")).to_contain_text("It now ends at")

        async def is_gone() -> bool:
            # The user comes back from the tab with the hub's page.
            await extending.bring_to_front()
            await page.bring_to_front()
            return await notice.count() == 0

        await eventually(is_gone, every=0.5)
        assert (await deadline())["ends_at_seconds"] == first["ends_at_seconds"] + 8 * 3600
