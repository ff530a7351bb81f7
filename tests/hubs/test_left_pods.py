"""Pods that nobody would find again, because their name or place has changed while the hub was down.

Each test has a hub and a cluster of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hub import SITE, Hub, Json
from patience import eventually

from jupyter_research_spawner.embedded.apimachinery.api_resources import POD

pytestmark = pytest.mark.embedded

# For tests that would show the same with every version of JupyterHub.
once = pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])
OTHER = "research2"
TEMPLATE = 'c.KubeSpawner.pod_name_template = "nb-{username}"\n'

DOWN = {"sources": {"people": {"kind": "static", "passwd": "gone", "group": "gone"}}}


def settings(**over: Any) -> Json:
    site = copy.deepcopy(SITE)
    people = site["identity"]["sources"]["people"]["people"]
    people["carol"] = {"uid": 20003, "gid": 20600, "groups": {"students": 20600}, "home": "/home/carol"}
    return {**site, **over}


def elsewhere() -> Json:
    return settings(namespaces={"name": OTHER})


def places(hub: Hub) -> list[str]:
    """Return namespace/name of all pods."""
    found = hub.cluster.store.list(POD, None)
    return [f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in found]


async def pod_exists(hub: Hub) -> None:
    await eventually(lambda: places(hub) == ["jhub/jupyter-alice"])


async def until_ready(hub: Hub) -> None:
    await hub.ready("alice")


async def interrupted(hub: Hub, profile: str = "huge", until: Callable[[Hub], Awaitable[None]] = pod_exists) -> None:
    """Kill the hub while alice's notebook waits for a larger node, or when it runs."""
    hub.write(settings())
    await hub.start()
    await hub.person("alice")
    await hub.start_server("alice", {"profile": profile})
    await until(hub)
    await hub.kill()
    await hub.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OTHER}})
    for claim in ("home", "project-climate"):
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        metadata = {"name": claim, "namespace": OTHER}
        await hub.cluster.apply(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
        )


MOVED: dict[str, tuple[Json, str, str]] = {
    "namespace": (elsewhere(), "", f"{OTHER}/jupyter-alice"),
    "name": (settings(), TEMPLATE, "jhub/nb-alice"),
    "both": (elsewhere(), TEMPLATE, f"{OTHER}/nb-alice"),
}


@pytest.mark.parametrize(("site", "extra", "new"), MOVED.values(), ids=MOVED)
async def test_the_old_pod_of_an_interrupted_start_is_deleted(hub: Hub, site: Json, extra: str, new: str) -> None:
    await interrupted(hub)
    hub.write(site, extra=extra)
    await hub.start()
    await eventually(lambda: places(hub) == [new], otherwise=lambda: f"{places(hub)}\n{hub.recent_log}")
    assert (await hub.api("DELETE", "users/alice/server")).status in (202, 204)
    await hub.stopped("alice")
    await eventually(lambda: not places(hub), otherwise=lambda: f"{places(hub)}\n{hub.recent_log}")


async def test_a_start_that_is_stopped_while_the_hub_resumes_it_does_not_begin_again(hub: Hub) -> None:
    """The hub answers the request that resumes the start with HTTP 500 when the start is cancelled."""
    await interrupted(hub)
    hub.write(settings(), extra=TEMPLATE + 'c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 300}\n')
    await hub.start()
    await eventually(lambda: places(hub) == ["jhub/nb-alice"], otherwise=lambda: f"{places(hub)}\n{hub.recent_log}")
    assert (await hub.api("DELETE", "users/alice/server")).status in (202, 204)
    told = "alice is not started again after the restart of the hub: it was started or stopped since"
    await eventually(lambda: told in hub.log, otherwise=lambda: hub.recent_log)
    await hub.stopped("alice")
    await eventually(lambda: not places(hub), otherwise=lambda: f"{places(hub)}\n{hub.recent_log}")
    await hub.one_end("alice", "stopped-by-hub")


@once
@pytest.mark.parametrize(("site", "extra"), [(site, extra) for site, extra, _ in MOVED.values()], ids=MOVED)
async def test_the_old_pod_of_a_start_that_is_refused_now_is_deleted(hub: Hub, site: Json, extra: str) -> None:
    await interrupted(hub)
    fewer = copy.deepcopy(site)
    del fewer["profiles"]["huge"]
    hub.write(fewer, extra=extra)
    await hub.start()
    await eventually(lambda: not places(hub), otherwise=lambda: f"{places(hub)}\n{hub.recent_log}")


@once
async def test_the_old_pod_is_kept_in_mind_while_the_source_is_down(hub: Hub) -> None:
    await interrupted(hub)
    hub.write(settings(identity=DOWN), extra=TEMPLATE)
    await hub.start()
    await eventually(lambda: "cannot be started again yet" in hub.log)
    assert (await hub.start_server("alice", {"profile": "huge"})).status == 503
    assert places(hub) == ["jhub/jupyter-alice"]
    await hub.kill()
    hub.write(settings(), extra=TEMPLATE)
    await hub.start()
    await hub.start_server("alice", {"profile": "huge"})
    await eventually(lambda: places(hub) == ["jhub/nb-alice"], otherwise=lambda: f"{places(hub)}\n{hub.recent_log}")


@once
@pytest.mark.parametrize(("site", "extra", "new"), MOVED.values(), ids=MOVED)
async def test_a_running_server_is_stopped_at_its_old_place(hub: Hub, site: Json, extra: str, new: str) -> None:
    await interrupted(hub, "small", until_ready)
    hub.write(site, extra=extra)
    await hub.start()
    await hub.ready("alice")
    assert places(hub) == ["jhub/jupyter-alice"]
    await hub.api("DELETE", "users/alice/server")
    await hub.stopped("alice")
    await eventually(lambda: not places(hub))
    await hub.start_server("alice", {"profile": "huge"})
    await eventually(lambda: places(hub) == [new], otherwise=lambda: f"{places(hub)}\n{hub.recent_log}")


@once
async def test_a_user_who_is_removed_leaves_no_pod(hub: Hub) -> None:
    """The source is down after the restart, so the hub has not started the server again."""
    await interrupted(hub)
    hub.write(settings(identity=DOWN), extra=TEMPLATE)
    await hub.start()
    await eventually(lambda: "cannot be started again yet" in hub.log)
    assert places(hub) == ["jhub/jupyter-alice"]
    assert (await hub.api("DELETE", "users/alice")).status == 204
    await eventually(lambda: not places(hub), otherwise=lambda: f"{places(hub)}\n{hub.recent_log}")


@once
async def test_the_old_pod_of_a_user_who_was_renamed_is_deleted(hub: Hub) -> None:
    hub.write(settings())
    await hub.start()
    await hub.person("alice")
    await hub.start_server("alice", {"profile": "huge"})
    await eventually(lambda: places(hub) == ["jhub/jupyter-alice"])
    assert (await hub.api("PATCH", "users/alice", {"name": "carol"})).status == 200
    await hub.kill()
    await hub.start()
    await eventually(
        lambda: places(hub) == ["jhub/jupyter-carol"], otherwise=lambda: f"{places(hub)}\n{hub.recent_log}"
    )


@pytest.mark.parametrize("is_hers", [True, False], ids=["hers", "nobodys"])
async def test_a_pod_that_was_replaced_ends_the_server(hub: Hub, is_hers: bool) -> None:
    """The hub would send alice to the new pod, which it has not created."""
    hub.write(settings(), after="c.Spawner.poll_interval = 1")
    await hub.start()
    await hub.person("alice")
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    (pod,) = hub.pods()
    hub.cluster.store.delete(POD, pod, {"gracePeriodSeconds": 0})
    metadata = {key: pod["metadata"][key] for key in ("name", "labels", "annotations")}
    if not is_hers:
        metadata["annotations"] = {}
    spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
    hub.cluster.store.create(POD, "jhub", {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    await hub.stopped("alice")
    if is_hers:
        await eventually(lambda: not hub.pods())
    else:
        assert len(hub.pods()) == 1
