"""The hub's pages about a user's servers, without JavaScript: pending page, failure, home, and their buttons."""

from __future__ import annotations

import asyncio
import copy
import re
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag
from hub import SITE, Answer, Browser, Hub, Json, visible
from patience import eventually

pytestmark = pytest.mark.embedded

# For tests that would show the same with every version of JupyterHub.
once = pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])
FAILS = """c.KubeSpawner.cmd = ["sh", "-c", "exit 3"]"""


async def started(hub: Hub, extra: str = "", after: str = "", **over: Any) -> Browser:
    """Start a hub, and return alice's browser."""
    hub.write({**copy.deepcopy(SITE), "time_zone": "Europe/Berlin", **over}, extra=extra, after=after)
    await hub.start()
    for name in ("alice", "bob"):
        await hub.person(name)
    return await Browser(hub).login("alice")


async def press(browser: Browser, page: BeautifulSoup, button: str, **over: str) -> Answer:
    """Post the form of the button with this name, as a browser does."""
    (found,) = (one for one in page.select("form button") if button in str(one.get("aria-label") or words(one)))
    form = found.find_parent("form")
    assert form is not None
    fields = {str(field["name"]): str(field.get("value", "")) for field in form.select("input")}
    if found.get("name"):
        fields[str(found["name"])] = str(found["value"])
    return await browser.post(str(form["action"]).removeprefix("/hub/"), {**fields, **over})


async def followed(browser: Browser, answer: Answer) -> BeautifulSoup:
    """Return the page to which a post led."""
    assert answer.status == 303, (answer.status, answer.text)
    return (await browser.get(answer.headers["Location"].removeprefix("/hub/"))).page


def row(page: BeautifulSoup, server: str = "") -> Tag:
    (found,) = (one for one in page.select(".research-server") if one["data-server"] == server)
    return found


def words(tag: Tag) -> str:
    return re.sub(r"\s+", " ", tag.get_text(" ")).strip()


async def waits(hub: Hub, server: str = "") -> None:
    """Start a server that no node can take, and wait until it waits."""
    await hub.start_server("alice", {"profile": "huge"}, server)
    await eventually(hub.pods, otherwise=lambda: hub.recent_log)


async def test_a_named_start_is_cancelled_without_javascript(hub: Hub) -> None:
    browser = await started(hub)
    await waits(hub, "exp")

    async def pending() -> BeautifulSoup | None:
        page = (await browser.get("spawn-pending/alice/exp")).page
        return page if "Waiting in queue climate" in words(page.select("#research-headline")[0]) else None

    page: BeautifulSoup = await eventually(pending, otherwise=lambda: hub.recent_log)
    assert words(page.select("main h1")[0]) == "Your server exp is waiting"
    (current,) = page.select('[aria-current="step"]')
    assert current["data-phase"] == "queue"
    assert current.time is not None
    assert "Huge in queue climate" in words(page.select(".research-top")[0])
    assert "Request checked: 64 CPU, 1 GiB, up to 2h" in words(page.select('[data-phase="decided"]')[0])
    assert page.select('noscript meta[http-equiv="refresh"]')
    assert page.select("style, [style]") == []

    events: list[Json] = []

    async def follow() -> None:
        async for event in hub.progress("alice", "exp"):
            events.append(event)  # noqa: PERF401 - the test reads them as they come

    following = asyncio.ensure_future(follow())
    (update,) = await eventually(lambda: [event for event in events if "phases" in event][:1])
    assert [phase["name"] for phase in update["phases"][:2]] == ["decided", "queue"]
    assert (await press(browser, page, "Cancel the start", _xsrf="forged")).status == 403
    home = await followed(browser, await press(browser, page, "Cancel the start"))
    await asyncio.wait_for(following, 60)
    # A page that is still open must not be sent to a server that is being stopped.
    assert [event for event in events if event.get("ready")] == []
    assert events[-1]["failed"] is True
    assert "The start of your server exp was cancelled." in visible(home)
    assert "Not running" in words(row(home, "exp"))
    assert "You cancelled its start." in words(row(home, "exp"))
    await eventually(lambda: not hub.pods())
    assert [end["code"] for end in await hub.ends("alice")] == ["stopped"]
    # The message is shown once, and why it ended stays.
    again = (await browser.get("home")).page
    assert "The start of your server exp was cancelled." not in visible(again)
    assert "You cancelled its start." in words(row(again, "exp"))
    assert "Traceback" not in hub.log
    await browser.close()


@once
async def test_only_the_user_and_administrators_cancel(hub: Hub) -> None:
    browser = await started(hub)
    await waits(hub)
    path = "research-spawner/servers/alice/cancel"
    stranger = await Browser(hub).login("bob")
    assert (await stranger.post(path, {})).status in (403, 404)
    assert (await browser.post(f"{path}/nothing", {})).status == 404
    assert (await browser.get(path)).status == 405
    assert len(hub.pods()) == 1
    root = await Browser(hub).login("root")
    assert (await root.post(path, {})).status == 303
    await eventually(lambda: not hub.pods())
    assert "An administrator cancelled its start." in words(row((await browser.get("home")).page))
    for one in (browser, stranger, root):
        await one.close()


@once
async def test_a_server_that_became_ready_is_not_cancelled(hub: Hub) -> None:
    browser = await started(hub)
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    home = await followed(browser, await browser.post("research-spawner/servers/alice/cancel", {}))
    assert "The start was not cancelled, because your server is already running." in visible(home)
    assert (await hub.server("alice") or {})["ready"]
    # Cancel and choose something else.
    answer = await browser.post("research-spawner/servers/alice/cancel", {"next": "/hub/spawn/alice"})
    assert (answer.status, answer.headers["Location"]) == (303, "/hub/spawn/alice")
    answer = await browser.post("research-spawner/servers/alice/cancel", {"next": "https://example.org/"})
    assert (answer.status, answer.headers["Location"]) == (303, "/hub/home")
    await browser.close()


async def test_a_failed_start_says_what_happened_and_is_tried_again_with_the_same_options(hub: Hub) -> None:
    browser = await started(hub, after=FAILS)
    await hub.start_server("alice", {"profile": "small", "queue": "teaching", "wall_time": "2h"}, "exp")
    await hub.one_end("alice", "start-failed")
    await hub.stopped("alice", "exp")
    answer = await browser.get("spawn-pending/alice/exp?next=%2Fhub%2Fhome")
    assert answer.status == 503
    page = answer.page
    assert words(page.select("main h1")[0]) == "Your server exp did not start"
    told = words(page.select(".research-failure")[0])
    assert told.startswith("Container notebook ended with exit code 3")
    assert "You can start it again." in told
    assert visible(page).count("did not start") == 1, "the heading says it"
    (change,) = page.select("a#start")
    assert str(change["href"]).startswith("/hub/spawn/alice/exp")
    answer = await press(browser, page, "Try again")
    assert answer.status == 303, answer.text
    assert answer.headers["Location"].startswith("/hub/spawn-pending/alice/exp")

    async def second() -> bool:
        return len(await hub.ends("alice")) == 2

    await eventually(second, otherwise=lambda: hub.recent_log)

    def starts() -> list[str]:
        return [line for line in hub.log.splitlines() if " event=start " in line]

    await eventually(lambda: len(starts()) == 2, otherwise=lambda: hub.recent_log)
    assert all("profile=small queue=teaching" in line for line in starts()), starts()
    await browser.close()


async def test_pages_about_the_server_of_another_user_name_the_user(hub: Hub) -> None:
    browser = await started(hub, after=FAILS)
    root = await Browser(hub).login("root")
    pages = {}

    async def both(path: str) -> None:
        for viewer in (root, browser):
            page = (await viewer.get(path)).page
            pages[viewer] = " ".join(words(heading) for heading in page.select("main h1, main h2, title")), page

    note = "You see a page of alice. Where it says “you”, it means alice."

    def names(theirs: str, own: str) -> None:
        for viewer, heading in ((root, theirs), (browser, own)):
            found, page = pages[viewer]
            assert heading in found
            assert (note in visible(page)) is (viewer is root)

    await waits(hub, "exp")
    await both("spawn-pending/alice/exp")
    names("alice's server exp is", "Your server exp is")
    names("Start of alice's server exp", "Start of your server exp")
    home = await followed(root, await press(root, pages[root][1], "Cancel the start"))
    assert "The start of alice's server exp was cancelled." in visible(home)
    await hub.stopped("alice", "exp")
    await both("user/alice/exp/lab")
    names("alice's server exp is not running", "Your server exp is not running")
    await hub.start_server("alice", {"profile": "small"}, "exp")
    await eventually(lambda: _has_ended(hub, "start-failed"), otherwise=lambda: hub.recent_log)
    await hub.stopped("alice", "exp")
    await both("spawn-pending/alice/exp")
    names("alice's server exp did not start", "Your server exp did not start")
    await both("spawn/alice")
    names("The server will run as", "You will run as")
    for one in (browser, root):
        await one.close()


async def _has_ended(hub: Hub, code: str) -> bool:
    return code in [end["code"] for end in await hub.ends("alice")]


@once
async def test_a_refused_start_leads_to_the_form(hub: Hub) -> None:
    browser = await started(hub)
    assert (await hub.start_server("alice", {"profile": "nosuch"})).status == 400
    page = (await browser.get("spawn-pending/alice")).page
    assert "There is no profile 'nosuch'." in words(page.select(".research-failure")[0])
    # The same options would be refused again.
    assert [words(button) for button in page.select("main button")] == []
    assert [words(link) for link in page.select("main a.btn-primary")] == ["Change what to start"]
    assert "The last start was refused. There is no profile 'nosuch'." in words(row((await browser.get("home")).page))
    page = await followed(browser, await browser.post("research-spawner/servers/alice/start-again", {}))
    assert "There is no profile 'nosuch'." in words(page.select(".research-failure")[0])
    assert not hub.pods()
    await browser.close()


async def test_the_home_page_shows_each_server_and_its_buttons_work(hub: Hub) -> None:
    browser = await started(hub)
    await hub.start_server("alice", {"profile": "small", "queue": "teaching"}, "exp")
    await hub.ready("alice", "exp")
    page = (await browser.get("home")).page
    assert words(page.select("main h1")[0]) == "Your servers"
    assert [words(one) for one in page.select(".research-server-state")] == ["Not running", "Running"]
    assert re.search(r"Small in queue teaching · 7 h 59 min left, until (\d+ \w+ )?\d\d:\d\d", words(row(page, "exp")))
    assert row(page, "exp").select('a[href="/user/alice/exp/"]')
    # After a restart of the hub, the same is known from the pod.
    await hub.kill()
    await hub.start()
    await hub.ready("alice", "exp")

    async def known() -> bool:
        return "Small in queue teaching · 7 h" in words(row((await browser.get("home")).page, "exp"))

    await eventually(known, otherwise=lambda: hub.recent_log)
    home = await followed(browser, await press(browser, (await browser.get("home")).page, "Stop exp"))
    assert re.search(r"Your server exp (was|is being) stopped\.", visible(home))
    await hub.stopped("alice", "exp")
    home = (await browser.get("home")).page
    assert "Last: Small in queue teaching" in words(row(home, "exp"))
    assert "You stopped it." in words(row(home, "exp"))
    answer = await press(browser, home, "Start the same as last time: exp")
    assert answer.headers["Location"] == "/hub/spawn-pending/alice/exp"
    await hub.ready("alice", "exp")
    (pod,) = hub.pods()
    assert pod["metadata"]["labels"]["research-spawner/queue"] == "teaching"
    assert "was not deleted" in visible(
        await followed(browser, await browser.post("research-spawner/servers/alice/delete/exp", {}))
    )
    await press(browser, (await browser.get("home")).page, "Stop exp")
    await hub.stopped("alice", "exp")
    home = await followed(browser, await press(browser, (await browser.get("home")).page, "Delete it now: exp"))
    assert "Your server exp was deleted." in visible(home)
    assert [one["data-server"] for one in home.select(".research-server")] == [""]
    assert await hub.server("alice", "exp") is None
    await browser.close()


async def test_a_server_is_added_by_name(hub: Hub) -> None:
    browser = await started(hub)
    answer = await browser.get("research-spawner/new-server?name=My+Exp")
    assert answer.status == 200
    assert answer.page.select("#spawn_form")
    home = (await browser.get("research-spawner/new-server?name=a/b")).page
    assert "and no slash" in visible(home)
    await browser.close()


async def test_the_page_of_a_stopped_server_starts_the_same_again(hub: Hub) -> None:
    browser = await started(hub)
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    await hub.api("DELETE", "users/alice/server")
    await hub.stopped("alice")
    answer = await browser.get("user/alice/lab")
    assert answer.status == 424
    assert words(answer.page.select("main h1")[0]) == "Your server is not running"
    assert "The hub's service 'tests' stopped it." in visible(answer.page)
    answer = await press(browser, answer.page, "Start the same as last time")
    assert answer.status == 303
    # The page to which the user wanted to go stays known.
    assert answer.headers["Location"] == "/hub/spawn-pending/alice?next=%2Fhub%2Fuser%2Falice%2Flab"
    await hub.ready("alice")
    await browser.close()


async def test_a_site_s_own_home_page_wins_and_can_include_our_rows(hub: Hub) -> None:
    own = hub.state.parent / "own"
    own.mkdir()
    (own / "home.html").write_text(
        '{% extends "templates/home.html" %}\n'
        "{% block main %}<h1>Home of the institute</h1>{% include 'research_servers.html' %}{{ super() }}{% endblock %}"
    )
    (own / "logo.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><title>Institute</title></svg>')
    extra = f'c.JupyterHub.template_paths = ["{own}"]\nc.JupyterHub.logo_file = "{own}/logo.svg"'
    browser = await started(hub, extra=extra)
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    page = (await browser.get("home")).page
    assert "Home of the institute" in visible(page)
    assert "Named Servers" in visible(page)  # JupyterHub's own part
    assert "Small in queue climate" in words(row(page))
    home = await followed(browser, await press(browser, page, "Stop your server"))
    assert re.search(r"Your server (was|is being) stopped\.", visible(home))
    async with browser.session.get(f"{hub.url}/hub/logo") as logo:
        assert "Institute" in await logo.text()
    # Our other pages are those of this site, too.
    assert page.select('link[href*="/research-spawner/static/research."]')
    await browser.close()


async def test_names_and_titles_are_escaped(hub: Hub) -> None:
    evil = "<img src=x>"
    profiles = copy.deepcopy(SITE["profiles"])
    profiles["huge"]["title"] = evil
    browser = await started(hub, profiles=profiles)
    name = "exp" if hub.version >= 6 else evil
    if hub.version >= 6:
        body = {"user_options": {"profile": "huge"}, "display_name": evil}
        await hub.api("POST", f"users/alice/servers/{name}", body)
    else:
        await hub.start_server("alice", {"profile": "huge"}, "%3Cimg%20src%3Dx%3E")
    await eventually(hub.pods, otherwise=lambda: hub.recent_log)
    for path in ("home", f"spawn-pending/alice/{name}"):
        page = (await browser.get(path)).page
        assert page.select('img[src="x"]') == []
        assert f"{evil} in queue climate" in visible(page)
        assert f"server {evil} is" in visible(page) or words(row(page, name)).startswith(evil)
    home = await followed(browser, await press(browser, (await browser.get("home")).page, "Cancel the start"))
    assert f"The start of your server {evil} was cancelled." in visible(home)
    assert home.select('img[src="x"]') == []
    for path, told in {
        f"user/alice/{name}/": f"Your server {evil} is not running",
        f"spawn/alice/{name}": f"Start server {evil}",
        "spawn/alice/other?display_name=%3Cimg%20src%3Dx%3E": f"Start server {evil if hub.version >= 6 else 'other'}",
    }.items():
        page = (await browser.get(path)).page
        assert words(page.h1) == told
        assert page.select('img[src="x"]') == []
    await browser.close()
