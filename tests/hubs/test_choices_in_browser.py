"""The choices of the options form in a real Chromium: fields, search, the pod, and a site's own template."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import (
    DESKTOP,
    PHONE,
    WITHOUT_JAVASCRIPT,
    Chromium,
    Look,
    Page,
    barriers,
    expect,
    is_too_wide,
    log_in,
    visit,
)
from hub import SITE, Hub, Json

pytestmark = pytest.mark.embedded

MANY: Json = {
    f"p{number}": {**SITE["profiles"]["small"], "title": f"Profile {number}", "order": 10 + number}
    for number in range(8)
}


async def start(hub: Hub, more: Json | None = None, config: str = "") -> None:
    hub.write({**SITE, "profiles": {**SITE["profiles"], **(more or {})}}, config)
    await hub.start()


async def is_in_window(page: Page, name: str) -> bool:
    """Return whether a button can be seen without scrolling."""
    box = await page.get_by_role("button", name=name, exact=True).bounding_box()
    size = page.viewport_size
    assert box is not None
    assert size is not None
    return box["y"] >= 0 and box["y"] + box["height"] <= size["height"]


@pytest.mark.parametrize("look", [DESKTOP, WITHOUT_JAVASCRIPT, PHONE], ids=str)
async def test_only_the_fields_of_the_selected_offer_are_shown_and_a_forgotten_one_refuses_once(
    hub: Hub, chromium: Chromium, look: Look
) -> None:
    await start(hub, MANY)
    async with visit(chromium, hub.url, look) as page:
        await log_in(page, "alice", then="/hub/spawn")
        assert await page.title() == "Start a server - JupyterHub"
        assert await is_in_window(page, "Start")
        assert not await is_too_wide(page)
        await page.get_by_role("radio", name="Small", exact=True).check()
        small, large = page.locator('[id="wall_time--profile:small"]'), page.locator('[id="wall_time--profile:large"]')
        await expect(small).to_be_visible()
        await expect(large).to_be_hidden()
        await page.get_by_role("radio", name="backfill").locator("visible=true").check()
        await small.fill("3h")
        await page.get_by_role("radio", name="Large", exact=True).check()
        await expect(small).to_be_hidden()
        await page.get_by_role("button", name="Start", exact=True).click()
        error = page.get_by_role("alert")
        await expect(error).to_contain_text("You set queue 'backfill' and wall time '3h' for 'Small', but 'Large'")
        await expect(error).to_be_focused()
        assert (await page.title()).startswith("Error: You set queue")
        await expect(page.get_by_role("radio", name="Large", exact=True)).to_be_checked()
        assert hub.pods() == []
        await error.get_by_role("link").click()
        if look.has_javascript:
            assert await barriers(page) == []
        await page.get_by_role("radio", name="Small", exact=True).check()
        await expect(small).to_have_value("3h")
        await page.get_by_role("button", name="Show the pod").click()
        await expect(page.locator("pre")).to_contain_text("runAsUser: 20001")
        await expect(page.locator("pre")).to_contain_text("research-spawner/queue: backfill")
        await expect(page.locator("main")).to_contain_text("wall time 3h")
        if look.has_javascript:
            assert await barriers(page) == []
        await page.goto("/hub/spawn?profile=small&wall_time=3h")
        await page.get_by_role("button", name="Start", exact=True).click()
        await page.wait_for_url("**/hub/spawn-pending/alice**")


async def test_the_search_box_and_the_side_column_follow(hub: Hub, chromium: Chromium) -> None:
    await start(hub, MANY)
    async with visit(chromium, hub.url, DESKTOP) as page:
        await log_in(page, "alice", then="/hub/spawn?profile=large")
        side = page.get_by_role("region", name="You will run as")
        await expect(side).to_contain_text("alice uid 20001")
        await expect(side.get_by_role("heading", level=3)).to_have_text("Large")
        search = page.get_by_role("searchbox")
        await search.fill("profile 3")
        await expect(page.get_by_role("status")).to_have_text("1 of 11 offers")
        await expect(page.get_by_role("radio", name="Profile 3")).to_be_visible()
        await expect(page.get_by_role("radio", name="Profile 4")).to_be_hidden()
        # What Start would start stays visible, and Enter starts nothing.
        await expect(page.get_by_role("radio", name="Large")).to_be_visible()
        await search.press("Enter")
        await page.get_by_role("radio", name="Profile 3").check()
        await expect(side.get_by_role("heading", level=3)).to_have_text("Profile 3")
        await expect(side).to_contain_text("climate priority normal")
        await page.get_by_role("radio", name="backfill").locator("visible=true").check()
        await expect(side).to_contain_text("backfill preemptible, priority low")
        assert await barriers(page) == []
        assert hub.pods() == []


OWN_TEMPLATE = """
{% extends "templates/spawn.html" %}
{% block heading %}<h1>Our own heading</h1>{% endblock %}
"""


async def test_the_form_works_in_a_template_of_the_site(hub: Hub, chromium: Chromium, tmp_path: Path) -> None:
    (tmp_path / "spawn.html").write_text(OWN_TEMPLATE)
    await start(hub, config=f"c.JupyterHub.template_paths = [{str(tmp_path)!r}]")
    async with visit(chromium, hub.url, PHONE) as page:
        await log_in(page, "alice", then="/hub/spawn")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Our own heading")
        await page.get_by_role("radio", name="Small", exact=True).check()
        await page.locator('[id="wall_time--profile:small"]').fill("9d")
        assert not await is_too_wide(page)
        await page.get_by_role("button", name="Start", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("Wall time 9d is longer than 8h")
        # Only once, and with one button.
        await expect(page.locator(".spawn-error-msg")).to_be_hidden()
        await expect(page.get_by_role("button", name="Start", exact=True)).to_have_count(1)
        await page.locator('[id="wall_time--profile:small"]').fill("1h")
        await page.get_by_role("button", name="Start", exact=True).click()
        await page.wait_for_url("**/hub/spawn-pending/alice**")
