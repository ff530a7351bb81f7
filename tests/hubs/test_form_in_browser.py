"""The options form in a real Chromium: in templates of a site, in narrow columns, and with what can never start."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from browser import (
    DARK,
    DESKTOP,
    NARROW,
    PHONE,
    WITHOUT_JAVASCRIPT,
    Chromium,
    Look,
    Page,
    axe,
    change_look,
    expect,
    is_too_wide,
    log_in,
    visit,
)
from hub import SITE, Hub, Json

pytestmark = [pytest.mark.embedded, pytest.mark.thorough]

once = pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])
# As a site writes it: JupyterHub's own page with another layout.
NARROW_COLUMN = """{% extends "page.html" %}
{% block main %}
<div class="container">
  <h1>Our own heading</h1>
  <div class="row">
    <div class="col-md-4">
      <form enctype="multipart/form-data" id="spawn_form" action="{{ url }}" method="post">
        {{ spawner_options_form | safe }}
      </form>
    </div>
    <div class="col-md-8"><p>Rules of the institute.</p></div>
  </div>
</div>
{% endblock main %}
"""
OF_THE_PAGE = ("landmark-one-main", "region", "page-has-heading-one")
JUPYTERHUBS_OWN = '{% extends "templates/spawn.html" %}'
IMAGES: Json = {
    "default": {"image": "example/notebook:1", "title": "Python 3.14, October 2026", "description": "NumPy, pandas."},
    "r": {"image": "example/r-notebook:1", "title": "R 4.6, October 2026", "description": "tidyverse, terra."},
}


def site(**over: Json) -> Json:
    """Return settings with all fields that an offer can have."""
    found = {**copy.deepcopy(SITE), "availability": "nodes", **over}
    found["profiles"]["small"] |= {"images": IMAGES, "other_images": {"quay.io/jupyter/*": True}}
    found["profiles"]["large"]["title"] = "Large, for data frames that do not fit into the memory of a laptop"
    return found


async def overflowing(page: Page) -> list[str]:
    """Return what is wider than the form, or in it cut off at its right."""
    found: list[str] = await page.evaluate("""() => {
        const form = document.querySelector(".research-form").getBoundingClientRect();
        return [...document.querySelectorAll(".research-form :not(.visually-hidden)")]
            .filter(element => element.getBoundingClientRect().right > form.right + 16.5)
            .map(element => element.outerHTML.slice(0, 120));
    }""")
    return found


async def faults(page: Page) -> list[str]:
    """Return what is wrong in the form in each look.  What axe says of landmarks is about the site's page."""
    found = []
    for look in (DARK, PHONE, NARROW, DESKTOP):
        await change_look(page, look)
        found += [f"{look}: {fault}" for fault in await axe(page, "#spawn_form") if not fault.startswith(OF_THE_PAGE)]
        found += [f"{look}: too wide: {element}" for element in await overflowing(page)]
        if await is_too_wide(page):
            found.append(f"{look}: must be scrolled horizontally")
    return found


@once
@pytest.mark.parametrize("template", [NARROW_COLUMN, JUPYTERHUBS_OWN], ids=["narrow-column", "jupyterhubs-own"])
async def test_the_form_fits_into_the_column_of_a_site_and_its_targets_are_large_enough(
    hub: Hub, chromium: Chromium, tmp_path: Path, template: str
) -> None:
    (tmp_path / "spawn.html").write_text(template)
    hub.write(site(), extra=f"c.JupyterHub.template_paths = [{str(tmp_path)!r}]")
    await hub.start()
    await hub.person("alice")
    async with visit(chromium, hub.url) as page:
        await log_in(page, "alice", then="/hub/spawn")
        for offer in ("Large, for data frames", "Small"):
            await page.get_by_role("radio", name=offer).check()
            assert await faults(page) == []
        await page.locator('[id="wall_time--profile:small"]').fill("9d")
        await page.get_by_role("button", name="Start", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("Wall time 9d is longer than 8h, the maximum for")
        assert await faults(page) == []
        # The form's own button and error, and not those of JupyterHub's template too.
        await expect(page.get_by_role("button", name="Start", exact=True)).to_have_count(1)
        await page.locator('[id="wall_time--profile:small"]').fill("1h")
        await page.get_by_role("button", name="Start", exact=True).click()
        await page.wait_for_url("**/hub/spawn-pending/alice**", wait_until="commit")


@once
@pytest.mark.parametrize("look", [DESKTOP, NARROW], ids=str)
async def test_what_can_never_start_cannot_be_selected_and_says_why(hub: Hub, chromium: Chromium, look: Look) -> None:
    hub.write({**site(), "autoscaling": False})
    await hub.start()
    await hub.person("alice")
    async with visit(chromium, hub.url, look) as page:
        await log_in(page, "alice", then="/hub/spawn?profile=huge")
        huge = page.get_by_role("radio", name="Huge")
        await expect(huge).to_be_disabled()
        await expect(huge).not_to_be_checked()
        await expect(huge).to_have_accessible_description(re.compile("No node is this big The largest has .*4 CPUs"))
        await page.get_by_text("Huge", exact=True).click(force=True)
        await expect(huge).not_to_be_checked()
        await expect(page.get_by_text("'Huge' can never start in this cluster. Choose another.")).to_be_visible()
        assert await axe(page) == []
        # Nothing is selected, so the browser asks for a choice and posts nothing.
        await page.get_by_role("button", name="Start", exact=True).click()
        assert await page.locator("input[name=offer]:invalid").count() > 0
        await expect(page).to_have_url(f"{hub.url}/hub/spawn?profile=huge")
        # A script that selects it nevertheless.
        await huge.evaluate("radio => { radio.disabled = false; radio.checked = true }")
        await page.get_by_role("button", name="Start", exact=True).click()
        alert = page.get_by_role("alert")
        await expect(alert).to_contain_text(
            re.compile("It requests 64 CPUs, and the largest node has (at most )?4 CPUs")
        )
        await expect(alert).to_contain_text("Choose one that fits: 'Small' or 'Large, for data frames")
        await expect(alert).to_be_focused()
        assert hub.pods() == []


@once
async def test_the_wall_time_and_the_latest_end_are_beside_start(hub: Hub, chromium: Chromium) -> None:
    settings = site()
    settings["profiles"]["small"] |= {"wall_time": "8h", "wall_time_hard": "1d"}
    hub.write(settings)
    await hub.start()
    await hub.person("alice")
    async with visit(chromium, hub.url) as page:
        await log_in(page, "alice", then="/hub/spawn?profile=small")
        side = page.locator("#research-selected")
        await expect(side).to_contain_text(re.compile(r"Wall time\s*8h can be extended\s*Latest end.*, if it starts"))
        await page.locator('[id="wall_time--profile:small"]').fill(" <b>2h</b> ")
        await expect(side).to_contain_text(re.compile(r"Wall time\s*<b>2h</b>\s*Latest end.*, if it starts now"))
    async with visit(chromium, hub.url, WITHOUT_JAVASCRIPT) as page:
        await log_in(page, "alice", then="/hub/spawn?profile=small")
        await expect(page.get_by_text("1d after it starts", exact=True)).to_be_visible()
