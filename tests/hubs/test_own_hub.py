"""The spawner in real hubs of both versions, on the embedded cluster, with settings other than SITE.

Each test has a hub and a cluster of its own.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_proxy import Status, proxied
from hub import SITE, Browser, Hub, Json
from patience import eventually

from jupyter_research_spawner.demo.hub import free_port
from jupyter_research_spawner.embedded.apimachinery.api_resources import POD

pytestmark = pytest.mark.embedded

CREATE = ("create", "pods")
# For tests that would show the same with every version of JupyterHub.
once = pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])


def site_with(**over: Any) -> Json:
    return {**copy.deepcopy(SITE), **over}


async def started(hub: Hub, site: Json = SITE, **written: str) -> Hub:
    hub.write(site, **written)
    await hub.start()
    for name in ("alice", "bob"):
        await hub.person(name)
    return hub


def connect(hub: Hub, url: str) -> None:
    """Let the hub use the API server at this URL, with the credentials of its cluster."""
    kubeconfig = yaml.safe_load(hub.cluster.kubeconfig.read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = url
    written = hub.state.parent / "other.kubeconfig"
    written.write_text(yaml.safe_dump(kubeconfig))
    hub.environment = {"KUBECONFIG": str(written)}


async def test_a_source_that_is_down_is_503(hub: Hub) -> None:
    people = {"kind": "static", "passwd": "nowhere/passwd", "group": "nowhere/group"}
    await started(hub, site_with(identity={"sources": {"people": people}}))
    answer = await hub.start_server("alice", {"profile": "small"})
    assert (answer.status, answer.headers.get("Retry-After")) == (503, "10")
    assert "does not answer" in answer.message
    browser = await Browser(hub).login("alice")
    assert (await browser.get("spawn")).status == 503
    assert (await browser.post("spawn", {"offer": "profile:small"})).status == 503
    assert not hub.cluster.api.calls[CREATE]
    await browser.close()


async def test_a_start_is_refused_at_once_while_the_hub_has_never_reached_the_api_server(hub: Hub) -> None:
    """The hub then asks whether the server runs, which it cannot see."""
    connect(hub, f"https://127.0.0.1:{free_port('127.0.0.1')}")
    await started(hub)
    answer = await hub.start_server("alice", {"profile": "small"})
    assert (answer.status, "The cluster does not answer" in answer.message) == (503, True)
    assert (await hub.start_server("bob", {"profile": "nosuch"})).status == 400
    assert "persistentvolumeclaims/home failed: Cannot connect to host 127.0.0.1" in hub.log


@once
async def test_a_server_starts_without_the_right_to_list_events(hub: Hub) -> None:
    forbidden = Status(403, 'events is forbidden: cannot list resource "events"')
    async with proxied(hub.cluster.url, hub.cluster.ca) as proxy:
        proxy.refuses = lambda request: forbidden if request.path.endswith("/events") else None
        connect(hub, proxy.own_url)
        await started(hub)
        assert (await hub.start_server("alice", {"profile": "small"})).status in (201, 202)
        await hub.ready("alice")
        assert hub.log.count(f"The watch of /api/v1/namespaces/jhub/events failed: {forbidden.message}") == 1
        await hub.stop()


@once
async def test_what_the_cluster_does_not_have_is_named_before_anything_is_created(hub: Hub) -> None:
    site = site_with()
    site["storage"]["mounts"]["climate"]["claim"] = "elsewhere"  # alice's pods mount it
    site["priorities"]["low"]["class"] = "nobodys"  # of pods in queue backfill
    await started(hub, site)
    for person, queue, missing in (
        ("alice", "climate", "'elsewhere'"),
        ("bob", "backfill", "PriorityClass 'nobodys'"),
    ):
        answer = await hub.start_server(person, {"profile": "small", "queue": queue})
        assert answer.status == 503
        assert missing in answer.message
    assert not hub.cluster.api.calls[CREATE]


@once
async def test_the_second_crash_ends_the_wait_with_the_containers_reason(hub: Hub) -> None:
    crash = "import sys; sys.exit(3)"
    await started(hub, after=f'c.KubeSpawner.cmd = ["{hub.python}", "-c", "{crash}"]')
    await hub.start_server("alice", {"profile": "small"})
    told = [event async for event in hub.progress("alice")]
    assert "Container notebook ended with exit code 3" in told[-1]["message"]


@once
async def test_a_home_that_does_not_exist_ends_the_start_at_once_with_its_sentence(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "home/alice").rmdir()
    await started(hub)
    await hub.start_server("alice", {"profile": "small"})
    told = [event async for event in hub.progress("alice")]
    # The embedded node shows its own directories in a path if it cannot mount volumes.
    assert "Your home directory " in told[-1]["message"]
    assert "/home/alice does not exist" in told[-1]["message"]
    assert not [event for event in told if "Back-off" in event["message"]]
    assert hub.cluster.api.calls[CREATE] == 1


BESIDE = """
import sys
c.KubeSpawner.extra_containers = [
    {"name": "crashes", "image": "x:1", "command": [sys.executable, "-c", "import sys; sys.exit('no socket')"],
     "terminationMessagePolicy": "FallbackToLogsOnError"},
]
"""


@once
async def test_a_sidecar_that_crashes_again_ends_the_start_with_its_reason(hub: Hub) -> None:
    never = f'c.KubeSpawner.cmd = ["{hub.python}", "-c", "import time; time.sleep(600)"]'
    await started(hub, after=BESIDE + never)
    await hub.start_server("alice", {"profile": "small"})
    told = [event async for event in hub.progress("alice")]
    assert "Container crashes ended with exit code 1: no socket." in told[-1]["message"]


@once
async def test_a_container_that_succeeded_beside_the_notebook_does_not_keep_it_from_being_ready(hub: Hub) -> None:
    await started(hub, after=BESIDE.replace("sys.exit('no socket')", "sys.exit(0)"))
    await hub.start_server("alice", {"profile": "small"})
    told = [event async for event in hub.progress("alice")]
    assert told[-1].get("ready"), told


@once
async def test_a_pod_that_waits_in_a_queue_holds_up_nobody(hub: Hub) -> None:
    site = site_with(hub={**SITE["hub"], "concurrent_starts": 1})
    await started(hub, site)
    await hub.start_server("alice", {"profile": "huge"})
    await eventually(hub.pods)
    await hub.start_server("bob", {"profile": "small"})
    await hub.ready("bob")


async def test_the_hub_knows_that_a_running_servers_pod_is_gone_without_polling(hub: Hub) -> None:
    await started(hub, after="c.Spawner.poll_interval = 3600")
    for name in ("alice", "bob"):
        await hub.start_server(name, {"profile": "small"})
        await hub.ready(name)
    (gone,) = [pod for pod in hub.pods() if "alice" in pod["metadata"]["name"]]
    hub.cluster.store.delete(POD, gone, {"gracePeriodSeconds": 0})
    await hub.stopped("alice")
    assert await hub.server("bob") is not None
    await hub.start_server("alice", {"profile": "small"})  # the hub has not forgotten how to start it
    await hub.ready("alice")


HOOKS = """
def look(spawner):
    if spawner.user.name == "bob":
        raise ValueError("cannot use token-42")
    spawner.environment["ADMIN"] = str(spawner.user.admin)
c.KubeSpawner.pre_spawn_hook = look
c.KubeSpawner.environment = {"VIEWER": '{"theme": "dark"}', "MINE": "{username}"}
"""


async def test_json_in_the_environment_starts_and_an_error_of_a_hook_is_a_sentence_with_an_id(hub: Hub) -> None:
    await started(hub, extra=HOOKS)
    assert (await hub.start_server("alice", {"profile": "small"})).status in (201, 202)
    await hub.ready("alice")
    (pod,) = hub.pods()
    env = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
    assert (env["VIEWER"], env["MINE"], env["ADMIN"]) == ('{"theme": "dark"}', "alice", "False")
    answer = await hub.start_server("bob", {"profile": "small"})
    assert answer.status == 500
    assert "token-42" not in answer.message
    assert "Tell your administrators the id" in answer.message
    number = answer.message.partition("(id ")[2][:8]
    log = hub.log
    assert f"The user was told the id {number}" in log and "cannot use token-42" in log
    # A second request is answered in the same way: the hub has not given up.
    assert (await hub.start_server("bob", {"profile": "small"})).status == 500
