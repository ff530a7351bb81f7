"""The hub's pages with a catalogue that brackets each text: no text of ours is outside of brackets."""

from __future__ import annotations

from typing import Any

import pytest
from bs4 import BeautifulSoup
from hub import Hub
from patience import eventually
from test_server_pages import FAILS, started, words
from translations import catalogue, pseudo_catalogue, untranslated

from jupyter_research_spawner.embedded.apimachinery.api_resources import POD

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
async def test_pages_about_starts_and_stops_are_translated(hub: Hub) -> None:
    pseudo_catalogue(hub.state / "translations")
    browser = await started(
        hub,
        after="c.JupyterHub.named_server_limit_per_user = 1",
        pages={"language": "xx", "translations": "translations"},
    )

    async def left(path: str, heading: str, status: int = 200) -> list[str]:
        answer = await browser.get(path)
        assert answer.status == status, answer.text
        assert words(answer.page.select("main h1")[0]) == heading
        return shown(answer.page)

    assert (await hub.start_server("alice", {"profile": "nosuch"})).status == 400
    # The reasons of a refusal are in English, with the names of the profiles.
    refusal = ["There is no profile 'nosuch'.", "Your profiles: (), () and ()."]
    assert await left("spawn-pending/alice", "⟦Your server did not start⟧", 400) == refusal
    await hub.start_server("alice", {"profile": "small"}, "exp")
    await hub.ready("alice", "exp")
    assert await left("home", "⟦Your servers⟧") == [" ".join(refusal)]
    (pod,) = hub.pods()
    keep(hub, pod, ["example.com/keep"])
    assert (await hub.api("DELETE", "users/alice/servers/exp")).status == 202
    assert await left("spawn-pending/alice/exp", "⟦Your server ⟧exp⟦ is stopping⟧") == ["example.com/keep"]
    keep(hub, pod, [])
    await hub.stopped("alice", "exp")
    await browser.close()


@ONCE
async def test_the_page_of_a_failed_start_is_translated(hub: Hub) -> None:
    pseudo_catalogue(hub.state / "translations")
    browser = await started(hub, after=FAILS, pages={"language": "xx", "translations": "translations"})
    await hub.start_server("alice", {"profile": "small"})
    await hub.one_end("alice", "start-failed")
    await hub.stopped("alice")
    answer = await browser.get("spawn-pending/alice")
    assert answer.status == 503
    assert shown(answer.page) == ["notebook 3."], "the name of the container and its exit code"
    await browser.close()


def keep(hub: Hub, pod: Any, finalizers: list[str]) -> None:
    """Set the finalizers of a pod, so that it stays when it is deleted, or goes."""
    hub.cluster.store.modify(POD, pod, lambda found: found["metadata"].update(finalizers=finalizers))


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
