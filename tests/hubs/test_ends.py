"""Why a notebook ended: real hubs of both versions on the embedded cluster, their pages, database and REST API."""

from __future__ import annotations

import copy
import json
import re
import sqlite3
from typing import Any

import pytest
from bs4 import Tag
from embedded_cluster import NAMESPACE
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


async def ends(hub: Hub, token: str | None = None) -> list[Json]:
    return await hub.ends("alice", token)


def without_access(hub: Hub) -> str:
    return "\n".join(line for line in hub.log.splitlines() if "GET /hub/api" not in line)[-6000:]


async def shown(hub: Hub, path: str) -> list[Tag]:
    browser = await Browser(hub).login("alice")
    try:
        return (await browser.get(path)).page.select(".research-end")
    finally:
        await browser.close()


async def stopped_after(hub: Hub, code: str) -> Json:
    """Return the only end of alice's servers, whose code this is, after the hub knows that her server has stopped."""
    end = await hub.one_end("alice", code)
    await hub.stopped("alice")
    return end


async def test_a_deleted_pod_is_told_until_it_is_dismissed(hub: Hub) -> None:
    pod = await started(hub)
    hub.cluster.store.delete(POD, pod)
    end = await stopped_after(hub, "deleted")
    assert end["message"].startswith("Its pod was deleted in the cluster and not through the hub")
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
    answer = await browser.post("research-spawner/dismiss-end", {"server": "", "next": "/hub/spawn/alice"})
    assert (answer.status, answer.headers["Location"]) == (302, "/hub/spawn/alice")
    assert (await browser.get("home")).page.select(".research-end") == []
    assert await ends(hub) == [{**end, "dismissed": True}]
    elsewhere = await browser.post("research-spawner/dismiss-end", {"server": "", "next": "https://example.org/"})
    assert (elsewhere.status, elsewhere.headers["Location"]) == (302, "/hub/home")
    assert (await browser.post("research-spawner/dismiss-end", {"server": "other"})).status == 404
    await browser.close()


def disrupt(reason: str) -> Any:
    """Return a change of a pod that sets DisruptionTarget, as the cluster does before it deletes it."""
    found = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "lastTransitionTime": "2026-11-29T10:00:00Z",
    }
    return lambda pod: pod["status"]["conditions"].append(found)


async def test_a_preempted_named_server_is_told_until_it_runs_again(hub: Hub) -> None:
    pod = await started(hub, server="exp")
    hub.cluster.store.delete(POD, hub.cluster.store.modify(POD, pod, disrupt("PreemptionByScheduler")))
    end = await hub.one_end("alice", "preempted")
    assert (end["server"], end["continues"], end["dismissed"]) == ("exp", False, False)
    assert "work of a higher priority needed its place" in end["message"]
    await hub.stopped("alice", "exp")
    (section,) = await shown(hub, "home")
    assert section.get_text().strip().startswith("Your server exp ended:")
    await hub.start_server("alice", {"profile": "small"}, "exp")
    await hub.ready("alice", "exp")
    assert await shown(hub, "home") == []
    assert await ends(hub) == [{**end, "dismissed": True}]


@once
async def test_stops_through_the_hub_are_told_apart(hub: Hub) -> None:
    await started(hub)
    tokens = {name: await token(hub, name) for name in ("alice", "root")}
    told = {}
    for asks in ("alice", "root", "tests", "idle"):
        if (await hub.server("alice") or {}).get("ready") is not True:
            await hub.start_server("alice", {"profile": "small"})
            await hub.ready("alice")
        if asks == "idle":
            await hub.kill()
            with sqlite3.connect(hub.state / "hub.sqlite") as database:
                database.execute("UPDATE spawners SET last_activity = datetime('now', '-90 minutes')")
            await hub.start()
            await hub.ready("alice")
        assert (await hub.api("DELETE", "users/alice/server", token=tokens.get(asks))).status in (202, 204)
        await hub.stopped("alice")
        told[asks] = ((await ends(hub))[-1], len(await shown(hub, "home")))
    minutes = re.compile(r"\b9\dm\b")
    assert [(end["code"], minutes.sub("90m", end["message"]), shown_) for end, shown_ in told.values()] == [
        ("stopped", "You stopped it.", 0),
        ("stopped-by-hub", "An administrator stopped it through the hub.", 1),
        ("stopped-by-hub", "The hub's service 'tests' stopped it.", 1),
        ("idle", "The hub's service 'tests' stopped it after 90m without activity.", 1),
    ]


async def token(hub: Hub, name: str, *scopes: str) -> str:
    body = {"scopes": list(scopes)} if scopes else {}
    found: str = json.loads((await hub.api("POST", f"users/{name}/tokens", body)).text)["token"]
    return found


async def test_only_tokens_that_may_read_the_servers_read_their_ends(hub: Hub) -> None:
    pod = await started(hub)
    (container,) = pod["spec"]["containers"]
    of_notebook = {entry["name"]: entry.get("value") for entry in container["env"]}["JUPYTERHUB_API_TOKEN"]
    assert (await hub.api("GET", ENDS, token=of_notebook)).status == 404
    hub.cluster.store.delete(POD, pod)
    end = await stopped_after(hub, "deleted")
    assert await ends(hub, token=await token(hub, "alice")) == [end]
    assert await ends(hub, token=await token(hub, "alice", "read:servers!server=alice/")) == [end]
    assert await ends(hub, token=await token(hub, "root")) == [end]
    for refused in (
        await token(hub, "bob"),
        await token(hub, "alice", "read:users:name!user"),
        await token(hub, "alice", "read:servers!server=alice/other"),
    ):
        assert (await hub.api("GET", ENDS, token=refused)).status == 404
    assert (await hub.api("GET", ENDS, token="wrong")).status == 403
    assert (await hub.api("GET", "research-spawner/users/nobody/ends")).status == 404
    assert (await hub.api("GET", "research-spawner/users/bob/ends")).text == '{"ends": []}'


def ran_out_of_memory(pod: Json) -> None:
    """Change a pod as the kubelet does when it restarts a container after OOMKilled."""
    (container,) = pod["status"]["containerStatuses"]
    ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-29T10:00:00Z"}
    container |= {"restartCount": 1, "lastState": {"terminated": ended}}


@once
async def test_a_restart_out_of_memory_names_the_profiles_with_more_and_the_server_stays(hub: Hub) -> None:
    pod = await started(hub)
    hub.cluster.store.modify(POD, pod, ran_out_of_memory)
    end = await hub.one_end("alice", "out-of-memory")
    assert (end["continues"], end["at"]) == (True, "2026-11-29T10:00:00Z")
    hint = "Use less memory, or choose a profile with more: Large or Huge."
    await eventually(lambda: has_hint(hub, hint))
    (section,) = await shown(hub, "home")
    assert "Your server was restarted" in section.get_text()
    assert hint in section.get_text()
    assert (await hub.server("alice") or {})["ready"]


async def has_hint(hub: Hub, hint: str) -> bool:
    (end,) = await ends(hub)
    return bool(end["hint"] == hint)


@once
async def test_a_container_that_the_kubelet_restarts_does_not_end_the_server(hub: Hub) -> None:
    pod = await started(hub, extra="c.KubeSpawner.poll_interval = 1")

    def ends_for_now(changed: Json) -> None:
        (container,) = changed["status"]["containerStatuses"]
        container |= {"ready": False, "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}

    hub.cluster.store.modify(POD, pod, ends_for_now)
    polls = hub.log.count("GET /hub/api")
    await eventually(lambda: polled(hub, polls))
    assert [found["metadata"]["uid"] for found in hub.pods()] == [pod["metadata"]["uid"]]
    assert (await hub.server("alice") or {})["ready"]


async def polled(hub: Hub, before: int) -> bool:
    """Make requests until the hub has polled the server several times."""
    await hub.server("alice")
    return hub.log.count("GET /hub/api") > before + 40


async def test_what_ended_while_the_hub_was_down_is_found_or_unknown(hub: Hub) -> None:
    pod = await started(hub)
    await hub.kill()
    hub.cluster.store.delete(POD, pod)
    await eventually(lambda: not hub.pods())
    await hub.start()
    end = await stopped_after(hub, "unknown")
    assert end["message"] == "The hub did not see it end, and the cluster does not say why."
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    (pod,) = hub.pods()
    await hub.kill()

    def fail(changed: Json) -> None:
        changed["status"] |= {"phase": "Failed", "reason": "DeadlineExceeded"}

    hub.cluster.store.modify(POD, pod, fail)
    await hub.start()

    async def second() -> Json | None:
        found = await ends(hub)
        return found[1] if len(found) > 1 else None

    found: Json = await eventually(second, otherwise=lambda: without_access(hub))
    assert (found["code"], found["message"]) == ("wall-time", "It reached its hard wall time.")


@once
async def test_a_preemption_while_the_hub_was_down_is_found_in_the_events(hub: Hub) -> None:
    pod = await started(hub)
    await hub.kill()
    hub.cluster.store.record(pod, "Preempted", "Preempted by pod b on node node-1", source="default-scheduler")
    hub.cluster.store.delete(POD, hub.cluster.store.get(POD, NAMESPACE, pod["metadata"]["name"]))
    await hub.start()

    async def preempted() -> bool:
        return [end["code"] for end in await ends(hub)] == ["preempted"]

    await eventually(preempted, otherwise=lambda: without_access(hub))


@once
async def test_a_soft_wall_time_that_is_over_is_an_end(hub: Hub) -> None:
    site = copy.deepcopy(SITE["profiles"])
    site["small"] |= {"wall_time": "4s", "wall_time_hard": "5m"}
    await started(hub, profiles=site)
    end = await stopped_after(hub, "wall-time")
    assert end["message"] == "It was stopped, because its wall time of 4s was over."


@once
async def test_a_start_that_failed_is_told_after_its_page_is_closed(hub: Hub) -> None:
    extra = """c.KubeSpawner.cmd = ["sh", "-c", "exit 3"]"""
    hub.write(SITE, after=extra)
    await hub.start()
    await hub.person("alice")
    await hub.start_server("alice", {"profile": "small"})
    end = await stopped_after(hub, "start-failed")
    assert end["message"].startswith("Your server did not start. Container notebook ended with exit code 3")
    (section,) = await shown(hub, "home")
    assert end["message"] in section.get_text()
