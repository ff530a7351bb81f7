"""A waiting notebook when its hub starts again: servers and schedulers have added to its pod only what is harmless.

With UPDATE_ADOPTION=1 the pods are written to tests/data/adoption/, where tests/test_adoption.py reads them.
"""

from __future__ import annotations

import asyncio
import copy
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from alice import CYCLES_SECONDS, Alice
from ground import JOB, ground
from hub import OFTEN, Directory, Hub
from patience import eventually
from queueing import SCHEDULERS, Queueing
from rig.api import Json, until
from rig.cluster import Cluster
from rig.node import Node
from traitlets.config import Config

from jupyter_research_spawner.jobs import notebook
from jupyter_research_spawner.pod import check, compose, differences
from jupyter_research_spawner.shape import NOTEBOOK_KIND
from jupyter_research_spawner.spawner.offline_render import render_base_pod

DATA = Path(__file__).parent.parent / "data" / "adoption"
# Of 100m each, which is all that the queue has room for.
BALLAST = [f"ballast-{number}" for number in range(4)]


def config() -> Config:
    """KubeSpawner's settings with one of each field for which an API server has defaults."""
    found = Config()
    kube = found.KubeSpawner
    kube.cmd = ["sleep", "600"]
    kube.image_pull_policy = "IfNotPresent"
    kube.image_pull_secrets = ["registry"]
    kube.common_labels = {"app": "jupyterhub", "chart": "jupyterhub-4.3.2"}
    kube.environment = {"POD": {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}}
    kube.volumes = [
        {"name": "scratch", "emptyDir": {}},
        {"name": "motd", "configMap": {"name": "motd", "optional": True}},
        {"name": "names", "downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "both", "projected": {"sources": [{"configMap": {"name": "motd", "optional": True}}]}},
    ]
    kube.volume_mounts = [{"name": "scratch", "mountPath": "/scratch"}]
    kube.lifecycle_hooks = {"preStop": {"exec": {"command": ["true"]}}}
    probe = {"httpGet": {"path": "/", "port": 8000}}
    kube.extra_containers = [
        {
            "name": "beside",
            "image": JOB,
            "command": ["sleep", "600"],
            "ports": [{"containerPort": 8000}],
            "resources": {"limits": {"cpu": "1m", "memory": "8Mi"}},
            "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 30},
            "lifecycle": {"preStop": probe},
        }
    ]
    kube.init_containers = [
        {"name": "first", "image": JOB, "command": ["true"], "resources": {"requests": {"cpu": "1m"}}}
    ]
    kube.tolerations = [{"key": "gpu", "effect": "NoSchedule"}]
    kube.node_selector = {"pool": "interactive"}
    return found


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(queueing, id=queueing.kind, marks=pytest.mark.programs(queueing.kind)) for queueing in SCHEDULERS
    ],
)
def alice(
    request: pytest.FixtureRequest, cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Alice]:
    queueing: Queueing = request.param
    name = f"adoption-{queueing.kind}"
    with ground(cluster, name, tmp_path_factory.mktemp(name) / "storage") as here:
        started = queueing.start(cluster)
        try:
            found = Alice(here, queueing.settings(here))
            found.api.apply(*found.priorities(), *queueing.objects(name))
            yield found
            found.clean()
        finally:
            started.stop()


def sent(alice: Alice) -> Json:
    """Return the pod that a hub sends for alice's notebook."""
    decided = replace(alice.decide(NOTEBOOK_KIND, "jupyter-alice", queue="climate"), adoption_key="key")
    with ThreadPoolExecutor(1) as own:
        base = own.submit(asyncio.run, render_base_pod(alice.site, decided, config())).result()
    manifest = compose(decided, base, notebook.SLOTS)
    check(decided, manifest, notebook.SLOTS)
    return manifest


def keep(alice: Alice, state: str, pod: Json) -> None:
    """Write the pod to the file from which the unit tests read it, if that is asked for."""
    if os.environ.get("UPDATE_ADOPTION"):
        kept = copy.deepcopy({key: value for key, value in pod.items() if key != "status"})
        kept["metadata"].pop("managedFields", None)
        (DATA / f"{alice.site.scheduler.kind}-{state}.yaml").write_text(yaml.safe_dump(kept, width=118))


@pytest.fixture
def full(alice: Alice) -> Iterator[None]:
    """The queue has no room."""
    for name in BALLAST:
        alice.notebook(name, queue="climate")
    until(lambda: sum(alice.phase(name).name == "running" for name in BALLAST) >= 3, "the queue is full")
    yield
    alice.clean()


def test_servers_and_schedulers_add_only_what_is_harmless(alice: Alice, full: None) -> None:
    manifest = sent(alice)
    keep(alice, "sent", manifest)
    alice.api.create(manifest)
    until(lambda: alice.phase("jupyter-alice").name == "queued", "it waits")
    assert changed(alice, manifest, "waits") == []
    for name in BALLAST:
        alice.api.remove(alice.pod(name))
    alice.runs("jupyter-alice")
    assert changed(alice, manifest, "runs") == []


def changed(alice: Alice, manifest: Json, state: str) -> list[tuple[str, str]]:
    """Return in what the pod differs from the manifest, after some cycles of the scheduler."""
    time.sleep(3 * CYCLES_SECONDS)
    pod = alice.pod("jupyter-alice")
    keep(alice, state, pod)
    return differences(manifest, pod, alice.scheduler.adds(pod), 100)


async def test_a_waiting_notebook_is_adopted_by_the_next_hub_and_ends_with_its_rights(
    alice: Alice, full: None, tmp_path: Path
) -> None:
    cluster = alice.ground.cluster
    hub = Hub(6, tmp_path, cluster, cluster.network.address)
    directory = Directory(hub)
    try:
        hub.write({**alice.settings, "identity": directory.settings()}, extra=OFTEN.format(seconds=1))
        await hub.start()
        await hub.person("alice")
        await hub.start_server("alice", {"profile": "small", "queue": "climate"})
        await eventually(lambda: alice.api.find("v1", "Pod", "jupyter-alice", alice.namespace))
        before = alice.pod("jupyter-alice")["metadata"]["uid"]
        await hub.kill()
        await hub.start()
        await eventually(lambda: "Adopting pod" in hub.log or "Deleting pod" in hub.log, otherwise=lambda: hub.log)
        assert "Deleting pod" not in hub.log
        assert alice.pod("jupyter-alice")["metadata"]["uid"] == before
        directory.write(climate="")  # which may use the queue
        await hub.stopped("alice")
        assert "requires membership in group climate" in hub.log
        await eventually(lambda: alice.api.find("v1", "Pod", "jupyter-alice", alice.namespace) is None)
    finally:
        await hub.close()
