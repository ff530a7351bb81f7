"""Pods that no server of the hub claims, and pods of others in the same namespace, with real hubs.

Each test has a hub and a cluster of its own.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hub import SITE, Hub, Json
from patience import eventually

from jupyter_research_spawner.embedded.apimachinery.api_resources import POD

pytestmark = pytest.mark.embedded

# For tests that would show the same with every version of JupyterHub.
once = pytest.mark.parametrize("hub", [6], indirect=True, ids=["hub6"])


def site() -> Json:
    found = copy.deepcopy(SITE)
    found["hub"] |= {"unclaimed_limit": "4s"}
    return found


# The hub stops no pod, as if it had ended between the change of its database and the deletion of the pod.
KEEPS_PODS = """
from kubespawner import KubeSpawner
async def stop(self, now=False): pass
KubeSpawner.stop = stop
"""


async def leave(hub: Hub, settings: Json) -> Json:
    """Leave a pod that no server claims, and return it. The hub does not run afterwards."""
    hub.write(settings, after=KEEPS_PODS)
    await hub.start()
    await hub.person("alice")
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    await hub.api("DELETE", "users/alice/server")
    await hub.stopped("alice")
    await hub.kill()
    (pod,) = hub.pods()
    return dict(pod)


def names(hub: Hub) -> set[str]:
    return {pod["metadata"]["name"] for pod in hub.pods()}


async def test_a_pod_that_no_server_claims_is_deleted_and_all_others_stay(hub: Hub) -> None:
    await leave(hub, site())
    hub.forget_log()
    hub.write(site())
    await hub.start()
    # A server that runs, one that waits, and one with a name.
    await hub.person("bob")
    await hub.start_server("bob", {"profile": "small"})
    await hub.ready("bob")
    await hub.start_server("bob", {"profile": "huge"}, server="exp")
    stranger(hub, "by-hand", {})
    stranger(hub, "forged", {"research-spawner/user-name": "alice", "research-spawner/owner": "0" * 64})
    await eventually(lambda: "jupyter-alice" not in names(hub), otherwise=lambda: hub.recent_log)
    assert "Deleting pod jhub/jupyter-alice, created at" in hub.log
    assert "because no server of this hub has claimed it for 0:00:04" in hub.log
    # Until the next unclaimed pod is deleted, all others have been there for as long.
    await unclaim(hub, "alice")
    await eventually(lambda: "jupyter-alice" not in names(hub), otherwise=lambda: hub.recent_log)
    assert names(hub) == {"jupyter-bob", "jupyter-bob--exp", "by-hand", "forged"}


def stranger(hub: Hub, name: str, annotations: dict[str, str], **spec: Any) -> Json:
    """Create a pod as another program would, with the label by which KubeSpawner finds its pods."""
    metadata = {"name": name, "labels": {"component": "singleuser-server"}, "annotations": annotations}
    container = {"name": "notebook", "image": "example/notebook:1", "command": ["sleep", "600"], **spec}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
    found: Json = hub.cluster.store.create(POD, "jhub", body)
    return found


@once
async def test_nothing_is_deleted_with_an_empty_database(hub: Hub) -> None:
    pod = await leave(hub, site())
    (hub.state / "hub.sqlite").unlink()
    hub.forget_log()
    hub.write(site())
    await hub.start()
    # Also after the user has come back: the new row of the database is another one.
    await hub.person("alice")
    await hub.start_server("alice", {"profile": "huge"}, server="exp")
    await eventually(lambda: "jupyter-alice--exp" in names(hub))
    # A pod whose database is still there is found in the meantime, and shows that the hub has looked.
    await hub.person("bob")
    await unclaim(hub, "bob")
    await eventually(lambda: "jupyter-bob" not in names(hub), otherwise=lambda: hub.recent_log)
    assert pod["metadata"]["uid"] in {found["metadata"]["uid"] for found in hub.pods()}


async def unclaim(hub: Hub, user: str) -> None:
    """Leave the pod of a server that the running hub forgets."""
    await hub.start_server(user, {"profile": "small"})
    await hub.ready(user)
    (found,) = (pod for pod in hub.pods() if pod["metadata"]["name"] == f"jupyter-{user}")
    await hub.api("DELETE", f"users/{user}/server")
    await hub.stopped(user)
    await eventually(lambda: f"jupyter-{user}" not in names(hub))
    metadata = {key: found["metadata"][key] for key in ("name", "labels", "annotations")}
    spec = {key: value for key, value in found["spec"].items() if key != "nodeName"}
    hub.cluster.store.create(POD, "jhub", {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


@pytest_asyncio.fixture
async def other(hub: Hub, tmp_path: Path) -> AsyncIterator[Hub]:
    """Another hub in the same namespace of the same cluster."""
    found = Hub(6, tmp_path / "other", hub.cluster)
    try:
        yield found
    finally:
        await found.close()


@once
async def test_two_hubs_in_one_namespace_leave_each_others_pods_alone(hub: Hub, other: Hub) -> None:
    for one in (hub, other):
        one.write(site(), after="c.Spawner.poll_interval = 1")
        await one.start()
        await one.person("alice")
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    (pod,) = hub.pods()
    answer = await other.start_server("alice", {"profile": "small"})
    assert answer.status in (202, 503)
    await other.stopped("alice")
    await eventually(
        lambda: "a pod in namespace 'jhub' has that name already, and this hub has not created it" in other.log,
        otherwise=lambda: other.recent_log,
    )
    assert (await other.api("DELETE", "users/alice/server")).status in (202, 204, 400)
    assert (await other.api("DELETE", "users/alice")).status == 204
    # Both look for unclaimed pods; a pod of its own shows that the other hub has done so.
    await other.person("bob")
    await unclaim(other, "bob")
    await eventually(lambda: names(other) == {"jupyter-alice"}, otherwise=lambda: other.recent_log)
    assert hub.pods()[0]["metadata"]["uid"] == pod["metadata"]["uid"]
    found = await hub.server("alice")
    assert found is not None
    assert found["ready"]
    # The other hub's pod may take the name later: it is not this hub's, which notices it and leaves it alone.
    hub.cluster.store.delete(POD, pod, {"gracePeriodSeconds": 0})
    await other.person("alice")
    await eventually(lambda: not hub.pods())
    await hub.stopped("alice")
    assert (await other.start_server("alice", {"profile": "small"})).status in (201, 202)
    await other.ready("alice")
    (theirs,) = other.pods()
    await hub.start_server("alice", {"profile": "small"})
    await hub.stopped("alice")
    assert other.pods()[0]["metadata"]["uid"] == theirs["metadata"]["uid"]
