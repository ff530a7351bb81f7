"""The hub's pages with a catalogue that brackets each text: no text of ours is outside of brackets."""

from __future__ import annotations

from typing import Any

import pytest
from bs4 import BeautifulSoup
from hub import Hub
from patience import eventually
from test_server_pages import started, words
from translations import catalogue, pseudo_catalogue, untranslated

pytestmark = pytest.mark.embedded

ONCE = pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])
# What the site and the user call things, units, times, and what Kubernetes and JupyterHub say.
KNOWN = (
    *("Small", "Large", "Huge", "small", "large", "huge", "climate", "teaching", "backfill", "alice", "exp", "normal"),
    *("low", "default", "plain", "example/notebook:1", "/home/alice", "/home", "/project/climate", "'tests'"),
    *("uid", "UTC", "Europe/Berlin", "CPU", "GiB", "MiB", "JupyterHub", "(not shown)"),
)


def shown(page: BeautifulSoup) -> list[str]:
    """Return the untranslated words of our part of a page, and of its title."""
    (main,) = page.select("main.research")
    assert main["lang"] == "xx"
    assert page.title is not None
    for program in page.select(".research-log"):  # what the cluster says, and the manifest of a pod
        program.clear()
    return [*untranslated(page.title, KNOWN), *untranslated(main, KNOWN)]


async def test_the_pages_of_a_hub_are_translated(hub: Hub) -> None:
    pseudo_catalogue(hub.state / "translations")
    browser = await started(hub, pages={"language": "xx", "translations": "translations"})
    pages: dict[str, BeautifulSoup] = {}

    async def look(name: str, path: str, status: int = 200) -> BeautifulSoup:
        answer = await browser.get(path)
        assert answer.status == status, answer.text
        pages[name] = answer.page
        return answer.page

    await look("form", "spawn")
    await look("pod", "research-spawner/pod/alice?offer=profile%3Asmall&queue--profile%3Asmall=climate")
    await look("home without servers", "home")
    await hub.start_server("alice", {"profile": "huge"}, "exp")

    async def waits() -> bool:
        page = await look("pending", "spawn-pending/alice/exp")
        return "⟦Waiting in queue ⟧climate" in words(page.select("#research-headline")[0])

    await eventually(waits, otherwise=lambda: hub.recent_log)
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    await look("home", "home")
    await look("wall time", "research-spawner/wall-time?server=")
    await hub.api("DELETE", "users/alice/server")
    await hub.stopped("alice")
    await look("not running", "user/alice/lab", 424)
    await look("home with an end", "home")
    assert {name: found for name, page in pages.items() if (found := shown(page))} == {}
    log = pages["pending"].select("#research-pending")[0]
    assert log["data-text-waiting"] == "⟦Your server ⟧exp⟦ is waiting⟧"
    await browser.close()
    assert "Traceback" not in hub.log


@ONCE
async def test_a_faulty_catalogue_leaves_the_pages_english(hub: Hub) -> None:
    texts: Any = {"Your servers": "%(no)s", "Default server": "Förvald <server>"}
    catalogue(hub.state / "translations", texts)
    browser = await started(hub, pages={"language": "xx", "translations": "translations"})
    answer = await browser.get("home")
    assert words(answer.page.select("main h1")[0]) == "Your servers"
    assert "Förvald &lt;server&gt;" in answer.text
    assert "'Your servers': '%(no)s' has %(no)s, which the English text does not have" in hub.log
    await browser.close()
