"""Rights that are withdrawn while a notebook waits or runs: real hubs of both versions, and a directory that changes.

Each test has a hub and a cluster of its own. The hubs decide again every second instead of every minute.
"""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from hub import OFTEN, SITE, Browser, Directory, Hub, Json
from patience import eventually

from jupyter_research_spawner.embedded import NodeSpec

pytestmark = pytest.mark.embedded

# For tests that would show the same with every version of JupyterHub.
once = pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])


def settings(**over: Any) -> Json:
    site = {**copy.deepcopy(SITE), **over}
    site["identity"] = Directory.settings()
    return site


async def started(hub: Hub, seconds: float = 1, extra: str = "", **over: Any) -> Directory:
    directory = Directory(hub)
    hub.write(settings(**over), extra=OFTEN.format(seconds=seconds) + extra)
    await hub.start()
    for name in ("alice", "bob"):
        await hub.person(name)
    return directory


async def waiting(hub: Hub) -> Json:
    """Start alice's notebook, which waits for a larger node, and return its pod."""
    await hub.start_server("alice", {"profile": "huge"})
    (pod,) = await eventually(hub.pods)
    return dict(pod)


def groups(pod: Json) -> list[int]:
    found: list[int] = pod["spec"]["securityContext"].get("supplementalGroups", [])
    return found


def volumes(pod: Json) -> set[str]:
    return {volume["name"] for volume in pod["spec"]["volumes"]}


async def counted(hub: Hub) -> dict[str, int]:
    """Return the counter of notebooks by outcome, from the hub's /metrics."""
    found = {}
    for line in (await hub.api("GET", "../metrics")).text.splitlines():
        if line.startswith("research_spawner_rights_changed_total{"):
            found[line.partition('outcome="')[2].partition('"')[0]] = int(float(line.rpartition(" ")[2]))
    return found


async def test_a_waiting_notebook_of_a_user_who_left_a_group_is_created_anew(hub: Hub) -> None:
    directory = await started(hub)
    before = await waiting(hub)
    assert groups(before) == [20500]
    shown: list[str] = []
    told = asyncio.ensure_future(collect(hub, shown))
    directory.write(climate="")
    after = await eventually(lambda: other(hub, before), otherwise=lambda: hub.log[-5000:])
    assert groups(after) == []
    assert "research-claim-project-climate" not in volumes(after)
    note = await eventually(lambda: [text for text in shown if text.startswith("Your rights")])
    assert len(note) == 1
    assert note[0].startswith("Your rights have changed. Group climate is no longer yours.")
    assert note[0].endswith("A pod cannot be changed, so yours was recreated and is last in its queue.")
    assert hub.log.count(note[0]) == 1
    assert note[0] in await home_page(hub)
    assert (await counted(hub)) == {"waiting-renewed": 1}
    hub.cluster.add_node(NodeSpec("node-2", cpu=128, memory="64Gi"))
    await hub.ready("alice")
    await told
    (runs,) = hub.pods()
    assert runs["metadata"]["uid"] == after["metadata"]["uid"]


async def collect(hub: Hub, shown: list[str]) -> None:
    """Append the messages on the page of alice's start, until the start is over."""
    async for event in hub.progress("alice"):
        shown.append(str(event["message"]))  # noqa: PERF401 - the test reads them as they come


async def home_page(hub: Hub) -> str:
    browser = await Browser(hub).login("alice")
    try:
        return (await browser.get("home")).page.get_text()
    finally:
        await browser.close()


def other(hub: Hub, before: Json) -> Json | None:
    found = [pod for pod in hub.pods() if pod["metadata"]["uid"] != before["metadata"]["uid"]]
    return found[0] if found else None


async def test_a_waiting_notebook_of_a_locked_account_never_starts(hub: Hub) -> None:
    directory = await started(hub)
    await waiting(hub)
    directory.write(shell="/sbin/nologin")
    shown: list[str] = []
    await collect(hub, shown)
    assert "nologin" in shown[-1]
    await eventually(lambda: not hub.pods())
    assert (await counted(hub)) == {"waiting-refused": 1}
    browser = await Browser(hub).login("alice")
    assert "nologin" in (await browser.get("spawn")).text
    await browser.close()


@once
async def test_a_waiting_notebook_stays_while_the_source_is_down(hub: Hub) -> None:
    directory = await started(hub)
    before = await waiting(hub)
    directory.remove()
    await asyncio.sleep(4)
    assert [pod["metadata"]["uid"] for pod in hub.pods()] == [before["metadata"]["uid"]]
    assert (await hub.server("alice") or {})["pending"] == "spawn"


@once
@pytest.mark.parametrize("changed", [{"climate": ""}, {"shell": "/sbin/nologin"}], ids=["left", "locked"])
async def test_a_pod_is_decided_again_when_it_is_bound(hub: Hub, changed: dict[str, str]) -> None:
    wait = 'c.KubeSpawner.init_containers = [{"name": "slow", "image": "example/slow:1", "command": ["sleep", "5"]}]'
    directory = await started(hub, seconds=3600, extra=wait)
    before = await waiting(hub)
    directory.write(**changed)
    await asyncio.sleep(1.5)
    assert not other(hub, before)
    hub.cluster.add_node(NodeSpec("node-2", cpu=128, memory="64Gi"))
    if "climate" in changed:
        after = await eventually(lambda: other(hub, before), otherwise=lambda: hub.log[-5000:])
        assert groups(after) == []
        await hub.ready("alice")
    else:
        await hub.stopped("alice")
        assert not hub.pods()
    assert "Group climate" in hub.log or "nologin" in hub.log


async def test_a_running_notebook_continues_and_its_user_is_told(hub: Hub) -> None:
    directory = await started(hub)
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    browser = await Browser(hub).login("alice")
    assert "research-notice" not in (await browser.get("home")).text
    directory.write(climate="")
    await eventually(lambda: counted(hub))
    await asyncio.sleep(3)
    assert (await counted(hub)) == {"running-changed": 1}
    told = "Your rights have changed. Group climate is no longer yours."
    assert told in (await browser.get("home")).page.get_text()
    assert hub.log.count(told) == 1
    # Once more after a restart of the hub: it finds the notice in its database.
    await hub.kill()
    await hub.start()
    await asyncio.sleep(4)
    assert (await counted(hub)) == {}
    assert told in (await browser.get("home")).page.get_text()
    directory.write(shell="/sbin/nologin", climate="")
    await eventually(lambda: counted(hub), otherwise=lambda: hub.log[-5000:])
    assert (await counted(hub)) == {"running-refused": 1}
    assert (await hub.server("alice") or {})["ready"]
    page = (await browser.get("home")).page.get_text()
    assert "You may no longer start it, but it continues to run." in page
    directory.write()
    await eventually(lambda: is_quiet(browser))
    await browser.close()


async def is_quiet(browser: Browser) -> bool:
    return "research-notice" not in (await browser.get("home")).text


async def test_a_running_notebook_is_stopped_where_the_site_wants_it(hub: Hub) -> None:
    directory = await started(hub, on_lost_right="stop")
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    await hub.kill()
    await hub.start()
    directory.write(shell="/sbin/nologin")
    await hub.stopped("alice")
    await eventually(lambda: not hub.pods())
    assert (await counted(hub)) == {"running-stopped": 1}
    browser = await Browser(hub).login("alice")
    told = "It was stopped, because you may no longer run it."
    assert told in (await browser.get("home")).page.get_text()
    assert told in (await browser.get("user/alice/lab")).page.get_text()
    directory.write()

    async def is_allowed() -> bool:
        return (await hub.start_server("alice", {"profile": "small"})).status in (201, 202)

    await eventually(is_allowed, every=0.5)
    await hub.ready("alice")
    assert await is_quiet(browser)
    await browser.close()


@once
async def test_deciding_again_sends_no_request_to_the_api_server(hub: Hub) -> None:
    await started(hub, seconds=0.5)
    await hub.start_server("bob", {"profile": "small"})
    await hub.ready("bob")
    hub.cluster.api.calls.clear()
    await hub.start_server("alice", {"profile": "small", "queue": "teaching"})
    await hub.ready("alice")
    await asyncio.sleep(4)
    sent = {call: number for call, number in hub.cluster.api.calls.items() if call[0] != "watch"}
    assert sent.pop(("create", "pods")) == 1
    assert sent.pop(("patch", "pods")) in (1, 2)  # the deadlines, which are written when the notebooks run
    assert sent == {("get", "persistentvolumeclaims"): 1}


@once
async def test_what_the_settings_have_withdrawn_is_not_restored_after_a_restart(hub: Hub) -> None:
    await started(hub)
    before = await waiting(hub)
    await hub.kill()
    site = settings()
    site["storage"]["mounts"] = {}
    site["profiles"]["huge"] |= {"cpu": 32, "images": {"default": "example/notebook:2"}}
    hub.write(site, extra=OFTEN.format(seconds=1))
    await hub.start()
    after = await eventually(lambda: other(hub, before), otherwise=lambda: hub.log[-5000:])
    assert "research-claim-project-climate" not in volumes(after)
    container = after["spec"]["containers"][0]
    assert (container["image"], container["resources"]["limits"]["cpu"]) == ("example/notebook:2", "32")
    for named in (
        "spec.volumes[research-claim-project-climate] is not part of the pod",
        "spec.containers[notebook].image is 'example/notebook:1', not 'example/notebook:2'",
        "spec.containers[notebook].resources.limits.cpu is '64', not '32'",
    ):
        assert named in hub.log
    assert (await counted(hub)) == {"waiting-renewed": 1}
    note = await home_page(hub)
    assert "Mount" in note
    assert "is last in its queue" in note


@once
async def test_a_volume_that_is_no_longer_allowed_ends_a_waiting_notebook_after_a_restart(hub: Hub) -> None:
    # By a hook, because `configure` would refuse such a volume in c.KubeSpawner.volumes.
    volume = """
def add_scratch(spawner, pod):
    pod.spec.volumes.append({"name": "scratch", "hostPath": {"path": "/scratch"}})
    pod.spec.containers[0].volume_mounts.append({"name": "scratch", "mountPath": "/scratch", "readOnly": True})
    return pod
c.KubeSpawner.modify_pod_hook = add_scratch
"""
    await started(hub, extra=volume, pods={"allow": {"host_paths": {"/scratch": "ro"}}})
    await waiting(hub)
    await hub.kill()
    hub.write(settings(), extra=volume)
    await hub.start()
    await eventually(lambda: not hub.pods(), otherwise=lambda: hub.log[-5000:])
    assert "which is not allowed" in hub.log
