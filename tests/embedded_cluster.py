"""The embedded cluster as a fixture, for the tests of all packages: `from embedded_cluster import cluster`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from patience import eventually

from jupyter_research_spawner.embedded import Cluster, NodeSpec
from jupyter_research_spawner.embedded.apimachinery.api_resources import EVENT, POD

NAMESPACE = "jhub"

__all__ = ["NAMESPACE", "cluster", "create", "ended", "events", "log_of", "now", "phase", "pod"]


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster with namespace jhub and one node of 4 CPUs and 16 GiB."""
    started = await Cluster.start(
        tmp_path / "cluster", [NodeSpec("node-1", cpu=4, memory="16Gi")], namespace=NAMESPACE, back_off_seconds=0.2
    )
    try:
        yield started
    finally:
        await started.stop()


def pod(name: str, *command: str, **spec: Any) -> dict[str, Any]:
    """Return a pod whose container `main` runs the command. `container=` adds to it, other keywords to the spec."""
    container = {"name": "main", "image": "example/image:1", "command": list(command), **spec.pop("container", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 2, "containers": [container], **spec},
    }


async def create(cluster: Cluster, body: dict[str, Any]) -> dict[str, Any]:
    body = {**body, "metadata": {"namespace": NAMESPACE, **body["metadata"]}}
    return await cluster.apply(body)


def now(cluster: Cluster, name: str) -> dict[str, Any]:
    """Return the pod as it is now, or {} if it does not exist."""
    return cluster.store.find(POD, NAMESPACE, name) or {}


def phase(cluster: Cluster, name: str) -> str:
    return (now(cluster, name).get("status") or {}).get("phase", "")


async def ended(cluster: Cluster, name: str) -> dict[str, Any]:
    """Wait until the pod has ended, and return it."""
    await eventually(lambda: phase(cluster, name) in ("Succeeded", "Failed"))
    return now(cluster, name)


def log_of(cluster: Cluster, name: str, container: str = "main", *, previous: bool = False) -> str:
    assert cluster.api.logs is not None
    found = cluster.api.logs(now(cluster, name), container, previous)
    return found.path.read_text() if found else ""


def events(cluster: Cluster, about: str) -> dict[str, str]:
    """Return the messages of the events about an object by reason. Of several with one reason, the first counts."""
    found = cluster.store.list(EVENT, NAMESPACE, lambda event: event["involvedObject"]["name"] == about)
    latest_first = sorted(found, key=lambda event: int(event["metadata"]["resourceVersion"]), reverse=True)
    return {event["reason"]: event["message"] for event in latest_first}
