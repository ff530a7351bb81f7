"""The pages about a user's servers in a real Chromium: they follow a start, and their buttons work as posts."""

from __future__ import annotations

import asyncio
import copy
from datetime import datetime, timedelta

import pytest
from browser import DESKTOP, PHONE, WITHOUT_JAVASCRIPT, Chromium, Look, barriers, expect, log_in, visit
from hub import SITE, Hub
from patience import eventually
from playwright.async_api import Route

from jupyter_research_spawner.embedded import NodeSpec

pytestmark = [pytest.mark.embedded, pytest.mark.thorough]

FAILS = """c.KubeSpawner.cmd = ["sh", "-c", "exit 3"]"""
both = pytest.mark.parametrize("hub", [6, 5], indirect=True, ids=["hub6", "hub5"])
once = pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])


async def starting(hub: Hub, profile: str = "huge", server: str = "exp", after: str = "") -> None:
    hub.write({**copy.deepcopy(SITE), "time_zone": "Europe/Berlin"}, after=after)
    await hub.start()
    await hub.person("alice")
    await hub.start_server("alice", {"profile": profile}, server)


@both
@pytest.mark.parametrize("look", [DESKTOP, WITHOUT_JAVASCRIPT], ids=str)
@pytest.mark.parametrize("server", ["exp", ""], ids=["named", "default"])
async def test_cancel_leads_home_with_a_message(hub: Hub, chromium: Chromium, look: Look, server: str) -> None:
    await starting(hub, server=server)
    await eventually(hub.pods, otherwise=lambda: hub.recent_log)
    shown = f"your server {server}".strip()
    async with visit(chromium, hub.url, look) as page:
        await log_in(page, "alice", then=f"/hub/spawn-pending/alice/{server}".rstrip("/"))
        await expect(page.get_by_role("heading", level=1)).to_have_text(f"Y{shown[1:]} is waiting")
        await page.get_by_role("button", name="Cancel the start").click()
        await page.wait_for_url("**/hub/home")
        await expect(page.get_by_role("status").first).to_contain_text(f"The start of {shown} was cancelled.")
        await eventually(lambda: not hub.pods())


@once
@pytest.mark.parametrize("look", [DESKTOP, WITHOUT_JAVASCRIPT], ids=str)
async def test_another_tab_of_a_cancelled_start_says_that_it_does_not_run(
    hub: Hub, chromium: Chromium, look: Look
) -> None:
    await starting(hub)
    async with visit(chromium, hub.url, look) as page:
        await log_in(page, "alice", then="/hub/spawn-pending/alice/exp")
        await expect(page.locator("#research-headline")).to_contain_text("Waiting in queue climate")
        other = await page.context.new_page()
        await other.goto("/hub/home")
        await other.get_by_role("button", name="Cancel the start of exp").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your server exp is not running")
        await expect(other.get_by_text("You cancelled its start.")).to_be_visible()


TOKYO = Look(time_zone="Asia/Tokyo")
TOKYO_WITHOUT_JAVASCRIPT = Look(time_zone="Asia/Tokyo", has_javascript=False)


@once
async def test_times_in_the_sentence_are_those_of_the_browser(hub: Hub, chromium: Chromium) -> None:
    await starting(hub)

    async def time_of(look: Look, path: str, sentence: str) -> tuple[str, str]:
        """Return the time in the sentence about the start, as it is shown, and in UTC."""
        async with visit(chromium, hub.url, look) as page:
            await log_in(page, "alice", then=path)
            element = page.locator(sentence).locator("time")
            await expect(element).to_be_visible()
            return await element.inner_text(), str(await element.get_attribute("datetime"))

    for path, sentence in (
        ("/hub/spawn-pending/alice/exp", "#research-headline"),
        ("/hub/home", ".research-server-told"),
    ):
        plain, at = await time_of(TOKYO_WITHOUT_JAVASCRIPT, path, sentence)
        utc = datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ")
        assert plain == f"{utc.day} {utc:%b %H:%M} UTC"
        shown, same = await time_of(TOKYO, path, sentence)
        assert same == at
        assert shown.endswith(f"{utc + timedelta(hours=9):%H:%M}")
        assert "UTC" not in shown
    # A sentence that comes over the stream of the page.
    is_ready = asyncio.Event()

    async def hold(route: Route) -> None:
        await is_ready.wait()
        await route.continue_()

    async with visit(chromium, hub.url, TOKYO) as page:
        await page.route("**/progress?**", hold)
        await log_in(page, "alice", then="/hub/spawn-pending/alice/exp")
        headline = page.locator("#research-headline")
        await headline.evaluate("element => { element.textContent = ''; element.dataset.sentence = '' }")
        is_ready.set()
        await expect(headline).to_contain_text("Waiting in queue climate since ")
        await expect(headline.locator("time")).to_have_text(f"{utc + timedelta(hours=9):%H:%M}")


@both
async def test_the_page_follows_the_phases_until_the_server_is_ready(hub: Hub, chromium: Chromium) -> None:
    await starting(hub)
    async with visit(chromium, hub.url) as page:
        await log_in(page, "alice", then="/hub/spawn-pending/alice/exp")
        current = page.locator('[aria-current="step"]')
        await expect(current).to_contain_text("In the queue")
        await expect(current.locator("time")).to_be_visible()
        await page.get_by_text("What the cluster says").click()
        log = page.locator("#research-log li")
        await expect(log.first).to_contain_text("Insufficient cpu")
        assert await barriers(page) == []
        hub.cluster.add_node(NodeSpec("node-2", cpu=128, memory="64Gi"))
        # This hub has no proxy, so that it answers itself.
        await page.wait_for_url("**/user/alice/exp**", wait_until="commit")


@both
@pytest.mark.parametrize("look", [DESKTOP, WITHOUT_JAVASCRIPT], ids=str)
async def test_a_start_that_fails_says_so_and_is_tried_again(hub: Hub, chromium: Chromium, look: Look) -> None:
    await starting(hub, "small", after=FAILS)
    async with visit(chromium, hub.url, look) as page:
        await log_in(page, "alice", then="/hub/spawn-pending/alice/exp")
        # The page gets there by itself: with JavaScript by the stream, without it by its reload.
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your server exp did not start")
        await expect(page.get_by_role("alert")).to_contain_text("ended with exit code 3")
        if look.has_javascript:
            assert await barriers(page) == []
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_role("alert")).to_contain_text("ended with exit code 3")
        assert len(await hub.ends("alice")) == 2
        await page.get_by_role("link", name="Change").click()
        await expect(page.get_by_role("radio", name="Small")).to_be_checked()


@once
async def test_home_and_wall_time_have_no_barriers(hub: Hub, chromium: Chromium) -> None:
    await starting(hub, "small")
    await hub.start_server("alice", {"profile": "huge"}, "waits")
    await hub.start_server("alice", {"profile": "nosuch"}, "refused")
    await hub.ready("alice", "exp")
    async with visit(chromium, hub.url, PHONE) as page:
        await log_in(page, "alice")
        await expect(page.get_by_role("link", name="See the start of waits")).to_be_visible()
        assert await barriers(page) == []
        await page.goto("/hub/research-spawner/wall-time?server=exp")
        assert await barriers(page) == []
        await page.goto("/hub/user/alice/nothing")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your server is not running")
        assert await barriers(page) == []
