"""The pages of the batch service with a catalogue that brackets each text: no text of ours is outside of brackets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from conftest import Client
from stub_hub import StubHub, user
from test_pages import Browser, until
from translations import pseudo_catalogue, untranslated

from jupyter_research_spawner import texts

pytestmark = pytest.mark.embedded

# What the site and the user call things, units, the reasons of the kubelet, and how a plan writes mounts.
KNOWN = (
    *(
        "alice",
        "Half a node",
        "Small",
        "small",
        "climate",
        "normal",
        "exp",
        "fit",
        "stats-101",
        "stats101-staff",
        "job",
    ),
    *("MiB", "GiB", "CPU", "UTC", "uid", "PodInitializing", "research-home", "ContainerCreating"),
    *("quay.io/jupyter/scipy-notebook:2026-10-01", "/home (home), /data/era5 (era5, read-only)"),
    *("/project/climate (project-climate)", "/home/alice"),
)


@pytest.fixture(autouse=True)
def pseudo(tmp_path: Path) -> Iterator[None]:
    texts.use_catalogue(pseudo_catalogue(tmp_path / "translations"), "xx")
    yield
    texts.use_english()


def left(page: str, *known: str) -> list[str]:
    """Return the untranslated words of a page, without what programs read and write."""
    found = BeautifulSoup(page, "html.parser")
    assert found.html is not None
    assert found.html["lang"] == "xx"
    for program in found.select("code, .research-log"):
        program.clear()
    return untranslated(found, (*KNOWN, *known))


async def test_my_work_is_translated(batch: Client, hub: StubHub) -> None:
    alice = Browser(batch, "alices")
    assert left((await alice.get("/")).text) == []
    array = await batch.submit("alices", "sh", "-c", "exit 1", kind="array", array="4-6", name="fit")
    waiting = await batch.submit("alices", "sleep", "60", profile="half", name="fit")
    await until(batch, array["id"], "failed")
    server = {
        "name": "exp",
        "full_name": "alice/exp",
        "url": "/user/alice/exp/",
        "ready": True,
        "pending": "stop",
        "started": "2026-11-29T10:00:00.000000Z",
        "user_options": {"profile": "half", "queue": "climate"},
    }
    hub.tokens["seeing"] = {**user("alice"), "servers": {"exp": server, "": {**server, "name": ""}}}
    page = (await Browser(batch, "seeing").get("/")).text
    assert left(page, array["id"], waiting["id"], "4-6") == []
    assert left((await alice.get("/?name=nothing")).text, "nothing") == []


async def test_the_page_of_a_job_is_translated(batch: Client) -> None:
    alice = Browser(batch, "alices")
    for wishes in ({}, {"kind": "array", "array": "4-6"}):
        job = await batch.submit("alices", "sh", "-c", "exit 3", **wishes)
        path = f"/jobs/{job['id']}/page"
        await until(batch, job["id"], "failed")
        page = (await alice.get(f"{path}?index=5")).text
        assert left(page, job["id"], "4-6") == []
    job = await batch.submit("alices", "sleep", "60")
    assert left((await alice.get(f"/jobs/{job['id']}/page")).text, job["id"]) == []
    cancelled = await alice.press(f"/jobs/{job['id']}/page", "cancel")
    assert cancelled.status == 303
    done = BeautifulSoup((await alice.get("/")).text, "html.parser").select("p.research-note")
    assert [one.get_text() for one in done if job["id"] in one.get_text()] == [f"{job['id']}⟦ was cancelled.⟧"]


async def test_an_error_page_is_translated(batch: Client) -> None:
    alice = Browser(batch, "alices")
    page = await alice.get("/jobs/no-such-job/page")
    # The reasons for which a request is refused stay English.
    assert left(page.text, "You have no job 'no-such-job'.") == []
