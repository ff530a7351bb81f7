"""The demo on an external cluster: what it creates, what it refuses, and that it removes everything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from patience import PATIENCE_SECONDS

from jupyter_research_spawner.demo import shared_storage, storage_layout
from jupyter_research_spawner.demo.cluster_api import connected
from jupyter_research_spawner.demo.demo_cluster import CannotStart
from jupyter_research_spawner.demo.external_cluster import (
    ExternalCluster,
    cleanup,
    demo_manifests,
    network_check,
    node_choice,
    pod_waiting,
)
from jupyter_research_spawner.embedded import Cluster, NodeSpec
from jupyter_research_spawner.identity import Group, PosixIdentity

TREE = Path(__file__).parent.parent
IMAGE = "localhost/notebook:1"
PEOPLE = {
    "alice": PosixIdentity("alice", 20001, 20001, (Group(20500, "climate"),), "/home/alice", "/bin/bash", "people"),
    "bob": PosixIdentity("bob", 20002, 20002, (), "/home/bob", "/bin/bash", "people"),
}


def a_node(name: str = "node", spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": f"{name}.example.edu"}},
        "spec": {"podCIDRs": ["10.244.0.0/24"], **(spec or {})},
        "status": {
            "allocatable": {"cpu": "2", "memory": "4Gi"},
            "addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": "192.0.2.7"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "features": {"supplementalGroupsPolicy": True},
            "nodeInfo": {"containerRuntimeVersion": "containerd://1.6.20"},
            "images": [{"names": ["localhost/rig/notebook:1"]}],
            **status,
        },
    }


def asking(cpu: str, **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpu}}, **more}


def a_pod(on: str | None = "node", phase: str = "Running", **spec: Any) -> dict[str, Any]:
    containers = [asking("100m"), asking("150m"), {}]
    return {"spec": {"nodeName": on, "containers": containers, **spec}, "status": {"phase": phase}}


READ = node_choice.Node(
    name="node",
    hostname="node.example.edu",
    address="192.0.2.7",
    cpu=Decimal(2),
    memory=4 * 2**30,
    free_cpu=Decimal(2),
    free_memory=4 * 2**30,
    pods="10.244.0.0/24",
    images=frozenset({"localhost/rig/notebook:1"}),
)


def test_the_node_with_the_most_room_is_played_on():
    large = a_node("large", allocatable={"cpu": "3500m", "memory": "8388608Ki"})
    there = [a_pod("large"), a_pod("large", phase="Succeeded"), a_pod("node"), a_pod(None, phase="Pending")]
    assert node_choice.choose([a_node(), large], there) == replace(
        READ,
        name="large",
        hostname="large.example.edu",
        cpu=Decimal("3.5"),
        memory=8 * 2**30,
        free_cpu=Decimal("3.25"),
        free_memory=8 * 2**30,
    )


@pytest.mark.parametrize(
    ("status", "spec", "reason"),
    [
        ({"features": {}}, {}, "does not support supplementalGroupsPolicy: Strict.*runtime is containerd://1.6.20"),
        (
            {"conditions": [{"type": "Ready", "status": "False", "message": "no network"}]},
            {},
            "is not ready .no network",
        ),
        ({}, {"unschedulable": True}, "is cordoned"),
        ({}, {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}, "is tainted .gpu:NoSchedule"),
        ({"addresses": [{"type": "InternalIP", "address": "2001:db8::7"}]}, {}, "has no IPv4 address"),
        ({"allocatable": {"cpu": "900m", "memory": "4Gi"}}, {}, "has 0.9 CPUs for pods.*needs 1 CPU"),
        ({"allocatable": {"cpu": "2", "memory": "1Gi"}}, {}, "1.0 GiB of memory.*needs 1 CPU and 1536Mi"),
    ],
)
def test_a_node_that_cannot_be_played_on_is_told_with_its_reason(status, spec, reason):
    with pytest.raises(CannotStart, match=f"(?i)node.*{reason}"):
        node_choice.choose([a_node(spec=spec, **status)], [])


def test_a_cluster_without_nodes_is_told():
    with pytest.raises(CannotStart, match="the cluster has no node"):
        node_choice.choose([], [])


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({}, "0.25"),
        ({"initContainers": [asking("200m"), asking("0.2")]}, "0.25"),
        ({"initContainers": [asking("300m")]}, "0.3"),
        ({"initContainers": [asking("100m", restartPolicy="Always")]}, "0.35"),
        ({"initContainers": [asking("200m", restartPolicy="Always"), asking("400m")]}, "0.6"),
        ({"overhead": {"cpu": "50m"}}, "0.3"),
        ({"resources": {"requests": {"cpu": "2"}}}, "2"),
    ],
)
def test_requests_are_counted_as_the_scheduler_does(spec, cpu):
    assert node_choice.requested(a_pod(**spec), "cpu") == Decimal(cpu)


@pytest.mark.parametrize("free", ["1", "1.05", "1.99", "2", "2.3", "4", "7.91", "64"])
def test_two_notebooks_and_two_jobs_fit_and_a_third_job_never_does(free):
    here = replace(READ, free_cpu=Decimal(free))
    found = node_choice.sizes(here)
    left = here.free_cpu - 2 * found.notebook_cpu
    assert 2 * found.job_cpu <= left < 3 * found.job_cpu
    assert found.notebook_cpu >= Decimal("0.25")
    assert found.job_cpu >= Decimal("0.2")


def test_what_is_derived_is_said():
    here = replace(READ, free_cpu=Decimal("1.05"))
    assert node_choice.derived(here, node_choice.sizes(here)) == (
        "Node node has 2 CPUs for pods, and its pods request 0.95 CPUs. Free: 1.05 CPUs and 4.0 GiB of "
        "memory. The demo therefore uses 0.25 CPUs for a notebook and 0.26 CPUs for a batch job: the node has "
        "room for two of each, but not for a third job."
    )


@pytest.mark.parametrize(
    ("state", "trouble"),
    [
        ({"waiting": {"reason": "ContainerCreating"}}, ""),
        ({"waiting": {"reason": "ErrImagePull", "message": "pull"}}, ""),
        ({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}, "Back-off. .*instead of x:1: IMAGE="),
        ({"waiting": {"reason": "CreateContainerConfigError", "message": "no user"}}, "no user"),
        ({"running": {}}, ""),
        ({"terminated": {"exitCode": 0}}, ""),
        ({"terminated": {"exitCode": 1, "reason": "Error", "message": "File exists"}}, "exit code 1: File exists"),
    ],
)
@pytest.mark.parametrize("kind", ["initContainerStatuses", "containerStatuses"])
def test_a_pod_that_will_never_run_says_why(kind, state, trouble):
    found = pod_waiting.in_the_way({"status": {"phase": "Pending", kind: [{"image": "x:1", "state": state}]}})
    assert re.search(trouble, found) if trouble else not found


def test_storage_is_laid_out_with_owners_and_modes(tmp_path, monkeypatch):
    owners = {}
    monkeypatch.setattr(
        os, "chown", lambda path, uid, gid: owners.update({str(path.relative_to(tmp_path)): (uid, gid)})
    )
    storage_layout.lay_out(tmp_path, shared_storage.entries(PEOPLE, owned=True))
    modes = {str(path.relative_to(tmp_path)): f"{path.stat().st_mode & 0o7777:o}" for path in tmp_path.rglob("*")}
    assert modes == {
        "home": "755",
        "home/alice": "700",
        "home/bob": "700",
        "project-climate": "2770",
        "era5": "755",
        "era5/README": "644",
    }
    assert {path: owner for path, owner in owners.items() if owner != (0, 0)} == {
        "home/alice": (20001, 20001),
        "home/bob": (20002, 20002),
        "project-climate": (0, 20500),
    }


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ([], {}, ""),
        # What a shell has exported leads to somebody's cluster, and nobody has asked for that one.
        ([], {"KUBECONFIG": "/somebody's", "IMAGE": "x"}, ""),
        (["KUBECONFIG=/a b"], {}, '--kubeconfig "$KUBECONFIG"'),
        (["KUBECONFIG=/a", "IMAGE=x", "TOUR=only"], {}, '--tour only --kubeconfig "$KUBECONFIG" --image "$IMAGE"'),
    ],
)
def test_make_takes_a_cluster_only_where_it_is_told(arguments, environment, words):
    unwanted = ("KUBECONFIG", "IMAGE", "MAKE", "MFLAGS")  # those of a make around the tests too
    clean = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    made = subprocess.run(
        ["make", "-n", "demo", *arguments],
        cwd=TREE,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert made.replace("\\\n", " ").split("-m jupyter_research_spawner.demo")[1].split() == words.split()


CONFIGS = {
    "a user without a context": "users: [{name: alice, user: {token: hush}}]\nclusters: []\ncontexts: []\n",
    "a broken entry": "users: [{hush: hush}]\nclusters: []\ncontexts: []\ncurrent-context: x\n",
    "no YAML": "users: [{token: hush}\n b",
    "a list": "[hush]",
    "nothing": "",
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
async def test_a_kubeconfig_that_cannot_be_used_is_told_without_what_is_in_it(tmp_path, text):
    config = tmp_path / "config"
    config.write_text(text)
    with pytest.raises(CannotStart, match=f"The kubeconfig {config} cannot be used: ") as told:
        async with connected(str(config)):
            pass
    assert "hush" not in str(told.value)


async def test_a_kubeconfig_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CannotStart, match="The kubeconfig /nowhere does not exist"):
        async with ExternalCluster("/nowhere").prepared(tmp_path, PEOPLE, print):
            pass


async def test_a_cluster_that_does_not_answer_is_told(tmp_path):
    config = tmp_path / "config"
    config.write_text(
        yaml.safe_dump(
            {
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "alice"}}],
                "clusters": [{"name": "here", "cluster": {"server": "https://127.0.0.1:9"}}],
                "users": [{"name": "alice", "user": {"token": "hush"}}],
            }
        )
    )
    with pytest.raises(CannotStart, match=r"https://127\.0\.0\.1:9 does not answer: "):
        async with ExternalCluster(str(config)).prepared(tmp_path, PEOPLE, print):
            pass


async def test_both_ways_are_tried(tmp_path):
    async with network_check.listening("127.0.0.1", "word") as ear, _pod_that_says("127.0.0.1", "word") as port:
        await _say_to(ear.address, "word")
        await network_check.both_ways(ear, READ, "127.0.0.1", port, "word")


@pytest.mark.parametrize(
    ("said", "answered", "sentence"),
    [
        ("", "word", "pods cannot reach this machine at 127.0.0.1:"),
        ("drow", "word", "pods cannot reach this machine at 127.0.0.1:"),
        ("word", "drow", r"this machine cannot reach pods .*ip route add 10.244.0.0/24 via 192.0.2.7"),
        ("", "", "pods cannot reach this machine at .* and this machine cannot reach pods .tried 127.0.0.1:"),
    ],
)
async def test_a_way_that_is_shut_is_named(monkeypatch, said, answered, sentence):
    monkeypatch.setattr(network_check, "SECONDS", 0.3)
    async with network_check.listening("127.0.0.1", "word") as ear, _pod_that_says("127.0.0.1", answered) as port:
        await _say_to(ear.address, said)
        with pytest.raises(CannotStart, match=sentence):
            await network_check.both_ways(ear, READ, "127.0.0.1", port, "word")


@contextlib.asynccontextmanager
async def _pod_that_says(address: str, word: str) -> AsyncIterator[int]:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(word.encode())
        writer.close()

    server = await asyncio.start_server(say, address, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _say_to(address: str, word: str) -> None:
    host, port = address.split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(word.encode())
    writer.close()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster that grants no capabilities, so that the preparation of the storage fails halfway."""
    started = await Cluster.start(tmp_path / "cluster", nodes=[NodeSpec("node", cpu=2, memory="4Gi")], host_paths=True)
    try:
        yield started
    finally:
        await started.stop()


async def names(cluster: Cluster) -> dict[str, list[str]]:
    async with connected(str(cluster.kubeconfig)) as api:
        kinds = [("v1", "Namespace"), *cleanup.CLUSTER_SCOPED]
        return {kind: [found["metadata"]["name"] for found in await api.list(version, kind)] for version, kind in kinds}


@pytest.fixture
def node_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in place of the node's /tmp."""
    found = tmp_path / "tmp"
    found.mkdir()
    monkeypatch.setattr(demo_manifests, "NODE_TMP", str(found))
    return found


@pytest.mark.root
@pytest.mark.embedded
async def test_a_failure_leaves_nothing_behind(cluster, tmp_path, node_tmp):
    before, said = await names(cluster), []
    with pytest.raises(CannotStart, match="prepare-storage cannot run on node: Error, exit code 1"):
        async with ExternalCluster(str(cluster.kubeconfig), IMAGE).prepared(tmp_path, PEOPLE, said.append):
            pytest.fail("nothing was laid out")
    assert said[-1] == "The demo is removed from the cluster: namespace, volumes, priority classes, files on the node."
    assert await names(cluster) == before
    assert list(node_tmp.iterdir()) == []


@pytest.mark.root
@pytest.mark.embedded
async def test_what_a_killed_demo_left_is_swept_and_what_others_made_stays(cluster, tmp_path, node_tmp, monkeypatch):
    before = await names(cluster)
    given = ExternalCluster(str(cluster.kubeconfig), IMAGE)
    theirs = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "research-low"}}
    await cluster.apply({**theirs, "value": -100})

    async def killed(*_: object) -> list[str]:
        return []

    with monkeypatch.context() as patched, pytest.raises(CannotStart):
        patched.setattr(cleanup, "clean", killed)
        async with given.prepared(tmp_path, PEOPLE, print):
            pass
    assert demo_manifests.NAMESPACE in (await names(cluster))["Namespace"]
    assert len(list(node_tmp.iterdir())) == 1

    other = tmp_path / "another"
    other.mkdir()
    with pytest.raises(CannotStart, match="namespace research-demo already exists and was created by another demo"):
        async with given.prepared(other, PEOPLE, print):
            pass
    assert demo_manifests.NAMESPACE in (await names(cluster))["Namespace"]

    said: list[str] = []
    with pytest.raises(CannotStart, match="prepare-storage cannot run"):
        async with given.prepared(tmp_path, PEOPLE, said.append):
            pass
    assert "Deleting the namespace of an earlier demo that was killed ..." in said
    assert await names(cluster) == {**before, "PriorityClass": [*before["PriorityClass"], "research-low"]}
    assert list(node_tmp.iterdir()) == []


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        (
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "research-demo"}},
            "namespace research-demo already exists and was created by someone else",
        ),
        (
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": "research-low"},
                "value": 7,
            },
            "PriorityClass research-low already exists with the value 7, but the demo needs -100",
        ),
    ],
)
async def test_what_is_somebody_else_s_is_not_touched(cluster, tmp_path, theirs, sentence):
    await cluster.apply(theirs)
    before = await names(cluster)
    with pytest.raises(CannotStart, match=sentence):
        async with ExternalCluster(str(cluster.kubeconfig), IMAGE).prepared(tmp_path, PEOPLE, print):
            pass
    assert await names(cluster) == before


@pytest.mark.root
@pytest.mark.embedded
async def test_ctrl_c_while_all_is_being_prepared_leaves_nothing_behind(cluster, tmp_path, node_tmp):
    before = await names(cluster)
    is_there = asyncio.Event()

    def say(text: str) -> None:
        if text.startswith("Notebooks and jobs use"):
            is_there.set()

    async def play() -> None:
        async with ExternalCluster(str(cluster.kubeconfig), IMAGE).prepared(tmp_path, PEOPLE, say):
            pass

    playing = asyncio.create_task(play())
    await asyncio.wait_for(is_there.wait(), PATIENCE_SECONDS)
    while (await names(cluster)) == before:  # noqa: ASYNC110 - the cluster's state
        await asyncio.sleep(0.01)
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert await names(cluster) == before
    assert list(node_tmp.iterdir()) == []
