"""A hub that is ended while many servers wait in a queue, start and run: none is lost and none runs twice."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections import Counter

import pytest
from hub import NOTEBOOK, SITE, Browser, Hub, Json
from patience import eventually

from jupyter_research_spawner.embedded import NodeSpec
from jupyter_research_spawner.embedded.apimachinery.api_resources import POD

pytestmark = [pytest.mark.embedded, pytest.mark.thorough]

MANY = 100
# With all at once, a busy machine answers no request within the hub's limits, and the hub refuses the starts.
AT_ONCE = 10
PATIENCE_SECONDS = 900.0
USERS = ("alice", "bob")
# By the kind of server: its profile, and its state before the hub ends.
KINDS = {"running": ("small", "ready"), "starting": ("slow", "spawn"), "queued": ("huge", "spawn")}
# A notebook of this profile answers as soon as the test has created the file in the home of its user.
SLOW = """
import os, pathlib, time
while os.environ["RESEARCH_PROFILE"] == "slow" and not pathlib.Path(os.environ["HOME"], "released").exists():
    time.sleep(0.2)
"""


def site() -> Json:
    found = copy.deepcopy(SITE)
    # Of each, all fit on the node beside those that fit nowhere.
    for name in ("small", "slow"):
        found["profiles"][name] = {**SITE["profiles"]["small"], "title": name, "cpu": "10m", "memory": "16Mi"}
    found["profiles"]["slow"]["order"] = 5
    found["hub"] |= {"boot_limit": "1h", "queue_limit": "2h"}
    return found


def servers(kind: str) -> list[tuple[str, str]]:
    """Return (user, server) of all servers of a kind."""
    return [(USERS[number % len(USERS)], f"{kind}-{number}") for number in range(MANY)]


async def begin(hub: Hub, user: str, profile: str, server: str) -> None:
    """Start a server, again if the busy cluster does not answer in time."""

    async def has_begun() -> bool:
        answer = await hub.start_server(user, {"profile": profile}, server)
        assert answer.status in (201, 202, 503), answer
        return answer.status != 503

    await eventually(has_begun, PATIENCE_SECONDS, every=1.0, otherwise=lambda: hub.recent_log)


async def begin_all(hub: Hub, kind: str) -> None:
    """Start the servers of a kind, AT_ONCE at once, and again those that the hub has refused after it had begun."""
    profile, wanted = KINDS[kind]
    for place in range(0, MANY, AT_ONCE):
        group = servers(kind)[place : place + AT_ONCE]
        pods = len(hub.pods()) + AT_ONCE

        async def have_begun(group: list[tuple[str, str]] = group, pods: int = pods) -> bool:
            now = await states(hub)
            refused = [one for one in group if now.get(one) not in ("ready", "spawn")]
            await asyncio.gather(*(begin(hub, user, profile, server) for user, server in refused))
            return {now.get(one) for one in group} == {wanted} and len(hub.pods()) == pods

        await eventually(have_begun, PATIENCE_SECONDS, every=0.5, otherwise=lambda: hub.recent_log)


async def states(hub: Hub) -> dict[tuple[str, str], str]:
    """Return of each server whether it is "ready", "spawn" (pending), or something else."""
    found = {}
    for user in USERS:
        answer = await hub.api("GET", f"users/{user}?include_stopped_servers")
        for name, server in json.loads(answer.text).get("servers", {}).items():
            if name:
                found[user, name] = "ready" if server["ready"] else str(server["pending"])
    return found


async def count_states(hub: Hub) -> Counter[tuple[str, str]]:
    """Return how many servers of each kind are in each state."""
    return Counter((name.split("-")[0], state) for (_, name), state in (await states(hub)).items())


async def are(hub: Hub, **wanted: str) -> None:
    expected = dict.fromkeys(wanted.items(), MANY)
    seen: list[Counter[tuple[str, str]]] = []

    async def reached() -> bool:
        seen[:] = [await count_states(hub)]
        return seen[0] == expected

    await eventually(reached, PATIENCE_SECONDS, every=0.5, otherwise=lambda: f"{seen}\n{hub.recent_log}")


def uids(hub: Hub) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in hub.pods()}


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
async def test_no_server_is_lost_and_none_runs_twice(hub: Hub, end: str) -> None:
    hub.write(site())
    (hub.state / "notebook.py").write_text(SLOW + NOTEBOOK)
    await hub.start()
    for user in USERS:
        await hub.person(user)
    for kind in KINDS:
        await begin_all(hub, kind)
    await are(hub, running="ready", starting="spawn", queued="spawn")
    await eventually(lambda: len(hub.pods()) == 3 * MANY, PATIENCE_SECONDS)
    before = uids(hub)
    pages = await asyncio.gather(*(Browser(hub).login(user) for user in USERS))
    if end == "SIGTERM":
        await hub.stop()
    else:
        await hub.kill()
    assert uids(hub) == before
    hub.forget_log()
    begun = time.monotonic()
    await hub.start()
    print(f"{end}: the hub is up after {time.monotonic() - begun:.1f} s")
    await are(hub, running="ready", starting="spawn", queued="spawn")
    print(f"{end}: all servers are as before after {time.monotonic() - begun:.1f} s")
    assert uids(hub) == before
    # The page of each start shows it again, with the same session.
    for page, user in zip(pages, USERS, strict=True):
        for name, server in (*servers("starting"), *servers("queued")):
            if name == user:
                answer = await page.get(f"spawn-pending/{user}/{server}")
                assert (answer.status, "Cancel the start" in answer.text) == (200, True), server
        await page.close()
    for user in USERS:
        (hub.state.parent / "home" / user / "released").touch()
    hub.cluster.add_node(NodeSpec("node-2", cpu=64 * MANY, memory="4Ti"))
    await are(hub, running="ready", starting="ready", queued="ready")
    print(f"{end}: all servers run after {time.monotonic() - begun:.1f} s")
    assert uids(hub) == before
    begun = time.monotonic()
    for pod in hub.pods():
        hub.cluster.store.delete(POD, pod, {"gracePeriodSeconds": 0})

    async def all_have_ended() -> bool:
        return "ready" not in (await states(hub)).values()

    await eventually(all_have_ended, PATIENCE_SECONDS, every=0.1, otherwise=lambda: hub.recent_log)
    print(f"{end}: the hub knows that all {3 * MANY} pods are gone after {time.monotonic() - begun:.1f} s")
