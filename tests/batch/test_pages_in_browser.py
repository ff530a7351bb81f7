"""The service's pages in a real Chromium: live, by keyboard, without JavaScript, on a phone, and for everybody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from browser import (
    DESKTOP,
    NARROW,
    PHONE,
    WITHOUT_JAVASCRIPT,
    Chromium,
    Look,
    barriers,
    chromium,
    expect,
    is_too_wide,
    visit,
)
from conftest import Client
from front import front, log_in_at_service
from playwright.async_api import Page
from stub_hub import StubHub, user
from test_pages import MARKUP

from jupyter_research_spawner.batch import open_streams

__all__ = ["chromium"]

pytestmark = pytest.mark.embedded

SERVER = {"name": "", "full_name": "alice/", "url": "/user/alice/", "ready": True, "started": "2026-11-29T12:00:00Z"}
SEES_SERVERS = {**user("alice"), "servers": {"": SERVER, "gpu": {**SERVER, "name": "gpu", "ready": False}}}


# A job waits in its home until the test goes on.
WAITS = "until [ -e go-on ]; do sleep 0.1; done"


def go_on(tmp_path: Path) -> None:
    """Let the jobs of alice go on.  The embedded cluster has her home there."""
    (tmp_path / "home" / "alice" / "go-on").touch()


@pytest_asyncio.fixture
async def url(batch: Client, hub: StubHub) -> AsyncIterator[str]:
    hub.tokens["seeing"] = SEES_SERVERS
    async with front(batch) as address:
        yield address


async def open_work(page: Page, url: str, path: str = "") -> None:
    await log_in_at_service(page.context, url, "seeing")
    await page.goto(f"{url}{path}")


async def test_my_work_changes_without_reload(chromium: Chromium, batch: Client, url: str, tmp_path: Path) -> None:
    async with visit(chromium, url) as page:
        await open_work(page, url)
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()
        await page.evaluate("window.isTheSamePage = true")
        job = await batch.submit("alices", "sh", "-c", WAITS, name="fit")
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=job["id"]))
        await expect(row).to_contain_text("Running")
        link = row.get_by_role("link")
        await link.focus()
        go_on(tmp_path)
        await expect(row).to_contain_text("Succeeded")
        await expect(link).to_be_focused()
        await expect(page.get_by_role("status")).to_contain_text(f"{job['id']}: Succeeded")
        assert await page.evaluate("window.isTheSamePage")
        await batch.ask("alices", "DELETE", f"/jobs/{job['id']}?remove=true")
        await expect(row).to_have_count(0)


async def test_output_and_state_of_a_job_change_without_reload(
    chromium: Chromium, batch: Client, url: str, tmp_path: Path
) -> None:
    script = f"echo first; {WAITS}; printf '\\033[31m10%%\\r100%%\\033[0m\\n'; echo '<b>last</b>'; exit 4"
    job = await batch.submit("alices", "sh", "-c", script)
    async with visit(chromium, url) as page:
        await open_work(page, url, f"jobs/{job['id']}/page")
        output = page.locator("pre.research-output")
        await expect(output).to_have_text("first\n")
        go_on(tmp_path)
        await expect(output).to_have_text("first\n100%\n<b>last</b>\n")
        await expect(page.get_by_role("main")).to_contain_text("Failed")
        await expect(page.get_by_role("button", name="Run again")).to_be_visible()
        await expect(page.get_by_role("listitem").filter(has_text="Attempt 1")).to_contain_text("exit code 4")


@pytest.mark.parametrize("look", [DESKTOP, WITHOUT_JAVASCRIPT, PHONE], ids=str)
async def test_a_job_is_found_cancelled_and_run_again(chromium: Chromium, batch: Client, url: str, look: Look) -> None:
    job = await batch.submit("alices", "sleep", "600", name="fit")
    await batch.submit("alices", "true", name="other")
    async with visit(chromium, url, look) as page:
        await open_work(page, url)
        await page.get_by_label("Name", exact=True).fill("fit")
        await page.get_by_role("button", name="Filter").click()
        await expect(page.locator("tr[data-key^=job]")).to_have_count(1)
        await page.get_by_role("link", name=job["id"]).click()
        await page.get_by_role("button", name="Submit a copy").click()
        await expect(page.get_by_text(f"with the request of {job['id']}.")).to_be_visible()
        await page.goto(f"{url}jobs/{job['id']}/page")
        await page.get_by_text("Cancel …").click()
        await page.get_by_role("button", name="Cancel the job").click()
        await expect(page.get_by_text(f"{job['id']} was cancelled.")).to_be_visible()
        await expect(page.get_by_role("heading", level=1)).to_have_text("My work")


@pytest.mark.parametrize("look", [DESKTOP, WITHOUT_JAVASCRIPT, NARROW], ids=str)
async def test_one_index_of_an_array_is_cancelled(chromium: Chromium, batch: Client, url: str, look: Look) -> None:
    job = await batch.submit("alices", "sleep", "600", kind="array", array="1-3")
    async with visit(chromium, url, look) as page:
        await open_work(page, url, f"jobs/{job['id']}/page")
        row = page.locator('tr[data-key="index:2"]')
        while "Running" not in await row.inner_text():
            await page.reload()
        await row.get_by_text("Cancel …").click()
        assert not await is_too_wide(page)
        await row.get_by_role("button", name="Cancel index 2").click()
        await expect(page.get_by_text(f"Index 2 of {job['id']} was cancelled.")).to_be_visible()
        await expect(page.get_by_role("heading", level=1)).to_contain_text(job["id"])
        while "Failed" not in await row.inner_text():
            await page.reload()
        await expect(row).to_contain_text("It was cancelled.")
        await expect(row.get_by_text("Cancel …")).to_have_count(0)
        await expect(page.locator('tr[data-key="index:3"]')).to_contain_text("Running")


HIDE = """isHidden => {
    Object.defineProperty(document, "hidden", {value: isHidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


async def test_a_hidden_page_has_no_stream_and_one_that_was_replaced_waits_until_it_is_looked_at(
    chromium: Chromium, batch: Client, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_streams, "STREAMS_AT_ONCE", 1)
    async with visit(chromium, url) as first:
        live, replaced = (
            first.get_by_text(text, exact=True)
            for text in ("Live", "Not live, because too many of these pages are open.")
        )
        await open_work(first, url)
        await expect(live).to_be_visible()
        second = await first.context.new_page()
        await second.goto(url)
        await expect(second.get_by_text("Live", exact=True)).to_be_visible()
        await expect(replaced).to_be_visible()
        # The other tab is hidden, so this one is live again without taking its place.
        await second.evaluate(HIDE, True)
        await first.evaluate(HIDE, True)
        await first.evaluate(HIDE, False)
        await expect(live).to_be_visible()
        job = await batch.submit("alices", "sleep", "600")
        await expect(first.get_by_role("link", name=job["id"])).to_be_visible()
        await expect(second.get_by_role("link", name=job["id"])).to_have_count(0)
        await first.evaluate(HIDE, True)
        await second.evaluate(HIDE, False)
        await expect(second.get_by_role("link", name=job["id"])).to_be_visible()
        await expect(second.get_by_text("Live", exact=True)).to_be_visible()


async def test_the_table_is_sorted_by_keyboard(chromium: Chromium, batch: Client, url: str) -> None:
    for name in ("b", "a", "c"):
        await batch.submit("alices", "true", name=name)
    async with visit(chromium, url) as page:
        await open_work(page, url)
        heading = page.get_by_role("columnheader", name="Name").get_by_role("link")
        await heading.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("columnheader", name="Name")).to_have_attribute("aria-sort", "ascending")
        rows = await page.locator("tr[data-key^=job] .name a").all_inner_texts()
        assert [name.partition("-")[0] for name in rows] == ["a", "b", "c"]


async def test_everybody_can_use_the_pages(chromium: Chromium, batch: Client, url: str) -> None:
    name = f"{MARKUP} {'very-long-' * 6}"
    failed = await batch.submit("alices", "sh", "-c", "exit 1", name=name)
    await batch.submit("alices", "sleep", "600", profile="half")
    await batch.submit("alices", "sleep", "600", profile="half")
    array = await batch.submit("alices", "sh", "-c", "exit $RESEARCH_ARRAY_INDEX", kind="array", array="0-3")
    async with visit(chromium, url, bypass_csp=True) as page:
        for path in ("", f"jobs/{failed['id']}/page", f"jobs/{array['id']}/page?index=1", "jobs/none/page"):
            await open_work(page, url, path)
            assert await barriers(page, "html") == [], path
        await open_work(page, url, f"jobs/{failed['id']}/page")
        await page.get_by_text("Remove …").click()
        await page.get_by_text("Show the manifest as YAML").click()
        assert await barriers(page, "html") == []
    async with visit(chromium, url, PHONE) as page:
        for path in ("", f"jobs/{array['id']}/page"):
            await open_work(page, url, path)
            assert not await is_too_wide(page)
