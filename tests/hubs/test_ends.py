"""Why a notebook ended: real hubs of both versions on the embedded cluster, their pages, database and REST API."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from bs4 import Tag
from hub import SITE, Browser, Hub, Json
from patience import eventually

from jupyter_research_spawner.embedded.apimachinery.api_resources import POD

pytestmark = pytest.mark.embedded

# For tests that would show the same with every version of JupyterHub.
once = pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])
ENDS = "research-spawner/users/alice/ends"


async def started(hub: Hub, extra: str = "", server: str = "", **over: Any) -> Json:
    """Start a hub and alice's notebook on it, and return her pod."""
    site = {**copy.deepcopy(SITE), "time_zone": "Europe/Berlin", **over}
    hub.write(site, extra=extra)
    await hub.start()
    for name in ("alice", "bob"):
        await hub.person(name)
    await hub.start_server("alice", {"profile": "small"}, server)
    await hub.ready("alice", server)
    (pod,) = hub.pods()
    return dict(pod)


async def ends(hub: Hub, **given: Any) -> list[Json]:
    answer = await hub.api("GET", ENDS, **given)
    assert answer.status == 200, answer.text
    found: list[Json] = json.loads(answer.text)["ends"]
    return found


async def one_end(hub: Hub, code: str) -> Json:
    """Return the only end of alice's servers after she has one with this code."""

    async def found() -> Json | None:
        if not (recorded := await ends(hub)):
            return None
        assert [end["code"] for end in recorded] == [code], (recorded, without_access(hub))
        return recorded[0]

    end: Json = await eventually(found, every=0.1, otherwise=lambda: without_access(hub))
    return end


def without_access(hub: Hub) -> str:
    return "\n".join(line for line in hub.log.splitlines() if "GET /hub/api" not in line)[-6000:]


async def shown(hub: Hub, path: str) -> list[Tag]:
    browser = await Browser(hub).login("alice")
    try:
        return (await browser.get(path)).page.select(".research-end")
    finally:
        await browser.close()


async def test_a_deleted_pod_is_told_until_it_is_dismissed(hub: Hub) -> None:
    pod = await started(hub)
    hub.cluster.store.delete(POD, pod)
    end = await one_end(hub, "deleted")
    assert end["message"].startswith("Its pod was deleted in the cluster and not through the hub")
    await hub.stopped("alice")
    await hub.kill()
    await hub.start()
    assert await ends(hub) == [end]
    browser = await Browser(hub).login("alice")
    for path in ("home", "spawn", "user/alice/lab"):
        (section,) = (await browser.get(path)).page.select(".research-end")
        assert end["message"] in section.get_text()
        assert section.time is not None and section.time["datetime"] == end["at"]
        assert section.time.get_text().endswith(" Europe/Berlin")
        assert section.find("script") is None
    answer = await browser.post("research-spawner/dismiss-end", {"server": "", "page": "spawn"})
    assert (answer.status, answer.headers["Location"]) == (302, "/hub/spawn/alice")
    assert (await browser.get("home")).page.select(".research-end") == []
    assert await ends(hub) == [{**end, "dismissed": True}]
    await browser.close()
