"""The wall time of a notebook on real hubs of both versions: its deadline file, its end, and its extension."""

from __future__ import annotations

import copy
import json
import os
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hub import SITE, Browser, Directory, Hub, Json
from patience import eventually

from jupyter_research_spawner.api_object import format_time, parse_time
from jupyter_research_spawner.pod.deadline import DEADLINE

pytestmark = pytest.mark.embedded

# For tests that would show the same with every version of JupyterHub.
once = pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])
ALICE = "research-spawner/users/alice/server/wall-time"


async def started(hub: Hub, wall_time: str = "1h", hard: str = "4h", extra: str = "", **over: Any) -> Json:
    """Start a hub and alice's notebook on it, and return her pod."""
    site = {**copy.deepcopy(SITE), "time_zone": "Europe/Berlin", **over}
    site["profiles"]["small"] |= {"wall_time": wall_time, "wall_time_hard": hard}
    hub.write(site, extra=extra)
    await hub.start()
    for name in ("alice", "bob"):
        await hub.person(name)
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    return pod_of(hub)


def pod_of(hub: Hub) -> Json:
    (pod,) = hub.pods()
    return dict(pod)


def written(hub: Hub) -> Json:
    found: Json = json.loads(pod_of(hub)["metadata"]["annotations"].get(DEADLINE) or "{}")
    return found


async def deadline(hub: Hub) -> Json:
    """Return the annotation of alice's pod when the hub has written it."""
    found: Json = await eventually(lambda: written(hub), otherwise=lambda: hub.log[-4000:])
    return found


def lasts(hub: Hub, found: Json) -> timedelta:
    return parse_time(found["ends_at"]) - parse_time(pod_of(hub)["status"]["startTime"])


async def token(hub: Hub, name: str) -> str:
    return str(json.loads((await hub.api("POST", f"users/{name}/tokens")).text)["token"])


async def test_a_user_sees_the_end_and_extends_it_to_the_hard_end(hub: Hub) -> None:
    await started(hub)
    assert lasts(hub, await deadline(hub)) == timedelta(hours=1)
    browser = await Browser(hub).login("alice")
    page = (await browser.get("home")).page
    (line,) = page.select(".research-deadline")
    assert re.fullmatch(r"59 min left, until (\d+ \w+ )?\d\d:\d\d", line.text), line.text
    assert line.time["datetime"] == written(hub)["ends_at"]  # type: ignore[index]
    (link,) = (link for link in page.select(".research-server a") if "Extend" in link.text)
    assert link["href"] == written(hub)["extend_path"] == "/hub/research-spawner/wall-time?server="
    page = (await browser.get(str(link["href"]).removeprefix("/hub/"))).page
    buttons = [" ".join(button.text.split()) for button in page.select("form button[type=submit]")]
    extensions = [text for text in buttons if text.startswith("Extend to")]
    assert [text.partition(" (")[2] for text in extensions] == ["1h more)", "3h more)"]
    form = next(form for form in page.select("form") if "Extend to" in form.text)
    assert form["action"] == link["href"], "the address of the next page names the server too"
    fields = {str(field["name"]): str(field["value"]) for field in form.select("input")}
    del fields["_xsrf"]
    answer = await browser.post("research-spawner/wall-time", fields)
    assert answer.status == 200
    assert "It now ends at" in answer.page.get_text()
    assert lasts(hub, written(hub)) == timedelta(hours=2)
    left = [" ".join(button.text.split()) for button in answer.page.select("form button[type=submit]")]
    assert [text.partition(" (")[2] for text in left if text.startswith("Extend to")] == ["1h more)", "2h more)"]
    # The same form once more changes nothing.
    again = await browser.post("research-spawner/wall-time", fields)
    assert again.status == 409
    assert "Your server already runs until" in again.page.get_text()
    assert lasts(hub, written(hub)) == timedelta(hours=2)
    assert hub.log.count("Audit: alice extended the wall time of pod") == 1
    # What the pod sees, and what a hub sees after a restart.
    await hub.kill()
    await hub.start()
    found = await hub.api("GET", ALICE, token=await token(hub, "alice"))
    assert found.status == 200, found.text
    assert json.loads(found.text)["ends_at"] == written(hub)["ends_at"] == fields["ends_at"]
    await browser.close()


async def test_a_posted_form_of_another_site_is_refused(hub: Hub) -> None:
    await started(hub)
    before = await deadline(hub)
    browser = await Browser(hub).login("alice")
    end = before["hard_ends_at"]
    answer = await browser.post("research-spawner/wall-time", {"server": "", "ends_at": end, "_xsrf": "forged"})
    assert answer.status == 403
    answer = await browser.post("research-spawner/wall-time", {"server": "other", "ends_at": end})
    assert answer.status == 404
    assert written(hub) == before
    await browser.close()
    # bob's browser knows only bob's servers.
    browser = await Browser(hub).login("bob")
    answer = await browser.post("research-spawner/wall-time", {"server": "", "ends_at": end})
    assert answer.status in (404, 409)
    assert written(hub) == before
    await browser.close()


async def test_a_token_extends_only_what_it_may(hub: Hub) -> None:
    pod = await started(hub)
    before = await deadline(hub)
    bobs = await token(hub, "bob")
    environment = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
    for stranger in (bobs, "nonsense", environment["JUPYTERHUB_API_TOKEN"]):
        answer = await hub.api("POST", ALICE, token=stranger)
        assert answer.status in (403, 404), answer.text
    assert (await hub.api("GET", ALICE, token=bobs)).status in (403, 404)
    assert (await hub.api("GET", "research-spawner/users/carol/server/wall-time", token=bobs)).status in (403, 404)
    assert written(hub) == before
    alices = await token(hub, "alice")
    for body in ([], {"ends_at": 7}, {"ends_at": "soon"}, {"ends_at": "2030-01-01T00:00:00"}, {"until": "x"}):
        answer = await hub.api("POST", ALICE, body, token=alices)
        assert (answer.status, json.loads(answer.text)["error"]["field"]) == (400, "ends_at"), answer.text
    late = format_time(parse_time(before["hard_ends_at"]) + timedelta(seconds=1))
    answer = await hub.api("POST", ALICE, {"ends_at": late}, token=alices)
    assert (answer.status, json.loads(answer.text)["error"]["code"]) == (400, "wall-time-too-long")
    assert written(hub) == before
    answer = await hub.api("POST", ALICE, token=alices)
    assert answer.status == 200, answer.text
    assert json.loads(answer.text)["ends_at"] == written(hub)["ends_at"] == before["hard_ends_at"]
    assert json.loads(answer.text)["can_extend_to"] == []
    answer = await hub.api("POST", ALICE, token=alices)
    assert (answer.status, json.loads(answer.text)["error"]["code"]) == (409, "no-extension-left")


@once
async def test_nobody_extends_what_they_may_no_longer_run(hub: Hub) -> None:
    directory = Directory(hub)
    await started(hub, identity=Directory.settings())
    before = await deadline(hub)
    alices = await token(hub, "alice")
    directory.write(shell="/sbin/nologin")

    async def refused() -> bool:
        answer = await hub.api("POST", ALICE, {"ends_at": before["ends_at"]}, token=alices)
        return answer.status == 403 and "nologin" in answer.text

    await eventually(refused, every=0.5)
    assert written(hub) == before


@once
async def test_the_hub_ends_a_server_after_its_soft_wall_time_also_after_a_restart(hub: Hub) -> None:
    await started(hub, wall_time="25s")
    await hub.kill()
    await hub.start()
    await hub.stopped("alice")
    await eventually(lambda: not hub.pods())
    browser = await Browser(hub).login("alice")
    page = (await browser.get("home")).page.get_text()
    assert "its wall time of 25s was over" in page, page
    await browser.close()


def clock(offset: str) -> dict[str, str]:
    """Return the variables with which the clock of a process is this much off (libfaketime)."""
    found = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("libfaketime is not installed")
        pytest.skip("libfaketime is not installed")
    return {"LD_PRELOAD": str(found), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@once
async def test_a_hub_whose_clock_is_an_hour_fast_does_not_end_a_server_early(hub: Hub) -> None:
    hub.environment = clock("+1h")
    await started(hub, wall_time="30m")
    assert lasts(hub, await deadline(hub)) == timedelta(minutes=30)
    # The restarted hub looks at the end at once.
    await hub.kill()
    await hub.start()
    await hub.ready("alice")
    found = json.loads((await hub.api("GET", ALICE, token=await token(hub, "alice"))).text)
    assert found["ends_at"] == written(hub)["ends_at"]
    assert (await hub.server("alice") or {})["ready"]
    assert "was over" not in hub.log


@once
async def test_a_hub_whose_clock_is_an_hour_slow_ends_a_server_at_its_time(hub: Hub) -> None:
    hub.environment = clock("-1h")
    await started(hub, wall_time="20s")
    await hub.one_end("alice", "wall-time")
    await hub.stopped("alice")


@once
async def test_an_extended_server_outlives_its_soft_wall_time(hub: Hub) -> None:
    pod = await started(hub, wall_time="20s")
    answer = await hub.api("POST", ALICE, token=await token(hub, "alice"))
    assert answer.status == 200, answer.text
    start = parse_time(pod["status"]["startTime"])
    await hub.kill()
    await hub.start()

    async def is_later() -> bool:
        await hub.api("GET", "")
        return datetime.now(start.tzinfo) > start + timedelta(seconds=45)

    await eventually(is_later, every=0.5)
    assert (await hub.server("alice") or {})["ready"]
    assert "was over" not in hub.log


@once
async def test_the_deadline_file_follows_an_extension(hub: Hub) -> None:
    await started(hub)
    before = await deadline(hub)

    def in_file() -> Json | None:
        found = [
            path
            for path in Path(hub.cluster.state).rglob("deadline.json")
            if path.is_file() and path.read_text().startswith('{"ends_at"')
        ]
        return json.loads(found[0].read_text()) if found else None

    await eventually(lambda: in_file() == before)
    await hub.api("POST", ALICE, token=await token(hub, "alice"))
    assert written(hub) != before
    await eventually(lambda: in_file() == written(hub))
