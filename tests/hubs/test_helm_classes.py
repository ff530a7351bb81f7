"""The classes of helm-values/ on real hubs: each is started with the scheduler `plain`, and gives the expected pod."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from embedded_cluster import NAMESPACE
from helm_files import BASE, CLASSES, VALUES, complete
from hub import Hub, Json

from jupyter_research_spawner.embedded import Cluster, NodeSpec
from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.settings import merge
from jupyter_research_spawner.site import load

pytestmark = pytest.mark.embedded


def account(uid: int, group: str) -> Json:
    name = STUDENTS[uid]
    return {"uid": uid, "gid": uid, "groups": {name: uid, group: 20600 + uid % 100}, "home": f"/home/{name}"}


STUDENTS = {20001: "alice", 20002: "bob", 20003: "carol"}
ENROLLED = {"alice": "workshop", "bob": "stats-101", "carol": "deep-learning-lab"}
ROSTERS = {"alice": "workshop-2026-11", "bob": "stats101-f26", "carol": "dl-lab-f26"}
# What a site has in its own file, and days on which all three classes are held.
OWN: Json = {
    # The chart's image has the culler, this machine need not.
    "cull": {"enabled": False},
    "custom": {
        "research": {
            "identity": {
                "sources": {
                    "people": {
                        "passwd": None,
                        "group": None,
                        "people": {name: account(uid, ROSTERS[name]) for uid, name in STUDENTS.items()},
                    }
                }
            },
            "classes": {name: {"since": "2020-01-01", "until": "2099-12-20"} for name in ENROLLED.values()},
        }
    },
}
# The node that the lab needs, with the taint of nodes with GPUs.
GPU_NODE = NodeSpec(
    "gpu-1",
    cpu=8,
    memory="64Gi",
    resources={"nvidia.com/gpu": "1"},
    taints=({"key": "nvidia.com/gpu", "effect": "NoSchedule", "value": "present"},),
)


@pytest_asyncio.fixture(params=[6, 5], ids=["hub6", "hub5"])
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hub]:
    """A hub with base.yaml and all classes, on a cluster with what `manifests` prints and with their claims."""
    values = merge(complete(BASE, VALUES / "schedulers" / "plain.yaml", *CLASSES), OWN)
    site = load(values["custom"]["research"])
    claims = {}
    for part in (site.storage.homes, site.storage.mounts):
        for mount in part.values():
            claims[mount.claim] = tmp_path / mount.claim
            claims[mount.claim].mkdir()
            claims[mount.claim].chmod(0o777)
    for uid, name in STUDENTS.items():
        home = claims["home"] / name
        home.mkdir()
        if os.geteuid() == 0:
            os.chown(home, uid, -1)
    nodes = [NodeSpec("node-1", cpu=4, memory="16Gi"), GPU_NODE]
    cluster = await Cluster.start(tmp_path / "cluster", nodes, namespace=NAMESPACE, claims=claims, back_off_seconds=0.2)
    try:
        for found in everything(site, Release(), ["priorities"]):
            await cluster.apply(found)
        started = Hub(request.param, tmp_path / "hub", cluster)
        started.write_values(values)
        try:
            await started.start()
            yield started
        finally:
            await started.close()
    finally:
        await cluster.stop()


# Of a run, a version or the hub's address.
CHANGING = ("plan", "owner", "request", "site", "terminal-script", "deadline", "passwd", "group")


def steady(pod: Json) -> Json:
    """Return what the hub has sent, without what differs between runs and versions."""
    found = copy.deepcopy({key: pod[key] for key in ("apiVersion", "kind", "metadata", "spec")})
    metadata = found["metadata"]
    for key in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "finalizers"):
        metadata.pop(key, None)
    gone = {f"research-spawner/{name}" for name in CHANGING}
    metadata["annotations"] = {
        key: value for key, value in metadata["annotations"].items() if key not in gone and not key.endswith("-version")
    }
    del found["spec"]["nodeName"]
    for volume in found["spec"]["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            # Its name has a hash of its content.
            source["configMap"]["name"] = source["configMap"]["name"].rpartition("-")[0]
    for container in (*found["spec"]["containers"], *found["spec"]["initContainers"]):
        container.pop("args", None)
        container.pop("command", None)
        container["env"] = [
            entry for entry in container.get("env", []) if not entry["name"].startswith(("JUPYTERHUB_", "JPY_"))
        ]
    return found


async def test_each_class_starts_and_gives_its_pod(hub: Hub, golden: Callable[[str], Any]) -> None:
    for name in ENROLLED:
        await hub.person(name)
    answers = await asyncio.gather(*(hub.start_server(name, {"class": course}) for name, course in ENROLLED.items()))
    assert {answer.status for answer in answers} <= {201, 202}, [answer.text for answer in answers]
    for name in ENROLLED:
        await hub.ready(name)
    pods = {pod["metadata"]["name"]: pod for pod in hub.pods()}
    assert set(pods) == {f"jupyter-{name}" for name in ENROLLED}
    assert pods["jupyter-carol"]["spec"]["nodeName"] == GPU_NODE.name
    for name, course in ENROLLED.items():
        assert steady(pods[f"jupyter-{name}"]) == golden(f"classes/{course}")
    # A class is only for its students.
    refused = await hub.start_server("alice", {"class": "stats-101"}, server="second")
    assert refused.status == 403, refused.text
