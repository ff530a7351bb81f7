"""The navigation of the hub's pages: "My work" for users who may use the batch service."""

from __future__ import annotations

import copy

import pytest
from bs4 import BeautifulSoup
from hub import SITE, Browser, Hub

pytestmark = pytest.mark.embedded

SERVICES = """
c.JupyterHub.services += [
    {{"name": "batch", "url": "http://127.0.0.1:1", "api_token": "{token}-batch"{more}}},
    {{"name": "wiki", "url": "http://127.0.0.1:1", "api_token": "{token}-wiki"}},
]
c.JupyterHub.load_roles = [{{"name": "user", "scopes": ["self"{scopes}]}}]
"""
WIKI = ', "access:services!service=wiki"'


def items(page: BeautifulSoup) -> list[tuple[str, str]]:
    """Return the links of the navigation with their addresses, without those of the user's account."""
    links = page.select("#thenavbar .me-auto a")
    return [(" ".join(link.get_text().split()), str(link["href"])) for link in links]


HOME, TOKEN = ("Home", "/hub/home"), ("Token", "/hub/token")
MY_WORK = ("My work", "/services/batch/")
MENU, ENTRY = ("Services", "#"), ("wiki", "/services/wiki/")


async def opened(hub: Hub, extra: str = "", more: str = "", scopes: str = "") -> Browser:
    services = SERVICES.format(token=hub.token, more=more, scopes=scopes)
    hub.write(copy.deepcopy(SITE), extra=services + extra)
    await hub.start()
    await hub.person("alice")
    return await Browser(hub).login("alice")


async def test_the_batch_service_is_my_work_and_other_services_stay(hub: Hub) -> None:
    browser = await opened(hub, scopes=WIKI)
    for path in ("home", "token", "spawn", "research-spawner/new-server?name=exp"):
        assert items((await browser.get(path)).page) == [HOME, TOKEN, MENU, ENTRY, MY_WORK], path
    missing = await browser.get("no-such-page")
    assert (missing.status, items(missing.page)) == (404, [HOME, TOKEN, MENU, ENTRY, MY_WORK])
    stranger = Browser(hub)
    assert items((await stranger.get("login")).page) == []
    await browser.close()
    await stranger.close()


async def test_there_is_no_menu_without_another_service(hub: Hub) -> None:
    browser = await opened(hub)
    assert items((await browser.get("home")).page) == [HOME, TOKEN, MY_WORK]
    await browser.close()


@pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])
async def test_a_site_can_hide_the_service(hub: Hub) -> None:
    browser = await opened(hub, more=', "display": False')
    assert items((await browser.get("home")).page) == [HOME, TOKEN]
    await browser.close()


OWN = """{% extends "BASE" %}
{% block nav_bar_left_items %}{{ super() }}MORE{% endblock %}
{% block footer %}<p id="own">Institute</p>{% endblock %}
"""


@pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])
@pytest.mark.parametrize(
    ("base", "more", "expected"),
    [
        ("research_layout.html", "", [HOME, TOKEN, MY_WORK]),
        (
            "templates/page.html",
            '{% include "research_my_work.html" %}',
            [HOME, TOKEN, MENU, ("batch", "/services/batch/"), MY_WORK],
        ),
    ],
)
async def test_a_site_s_own_layout_wins_and_can_have_my_work(
    hub: Hub, base: str, more: str, expected: list[tuple[str, str]]
) -> None:
    own = hub.state.parent / "own"
    own.mkdir()
    (own / "page.html").write_text(OWN.replace("BASE", base).replace("MORE", more))
    browser = await opened(hub, extra=f'c.JupyterHub.template_paths = ["{own}"]')
    for path in ("home", "token"):
        page = (await browser.get(path)).page
        assert page.select("#own"), path
        assert items(page) == expected, path
    await browser.close()
