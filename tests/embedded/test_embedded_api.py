"""Features that only the embedded API server has (delays, counters, users), and pod logs over HTTP."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from embedded_cluster import NAMESPACE, create, ended, log_of, now, phase, pod
from patience import PATIENCE_SECONDS, eventually

from jupyter_research_spawner.embedded import Cluster
from jupyter_research_spawner.embedded.__main__ import node_spec
from jupyter_research_spawner.embedded.apimachinery.api_resources import POD
from jupyter_research_spawner.embedded.apiserver.pod_logs import seek_to_tail
from jupyter_research_spawner.embedded.node.container_process import MARK, marked_processes
from jupyter_research_spawner.embedded.node.kubelet import NodeSpec

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


def connect(cluster: Cluster, token: str) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(cluster.ca)))
    return aiohttp.ClientSession(cluster.url, headers={"Authorization": f"Bearer {token}"}, connector=connector)


@pytest_asyncio.fixture
async def http(cluster: Cluster) -> AsyncIterator[aiohttp.ClientSession]:
    async with connect(cluster, cluster.token) as session:
        yield session


async def test_a_late_answer_means_that_it_was_stored(cluster: Cluster, http: aiohttp.ClientSession) -> None:
    async with http.post("/embedded/delays", json={"after": {"pods": 30}}) as answer:
        assert answer.status == 200
    with pytest.raises(asyncio.TimeoutError):
        await http.post(PODS, json=pod("p", "true"), timeout=aiohttp.ClientTimeout(total=0.3))
    await ended(cluster, "p")


async def test_a_delay_before_storing_stores_nothing_meanwhile(cluster: Cluster, http: aiohttp.ClientSession) -> None:
    cluster.api.delays.before["pods"] = 0.5
    request = asyncio.ensure_future(http.post(PODS, json=pod("p", "true")))
    await asyncio.sleep(0.2)
    assert not now(cluster, "p")
    assert (await request).status == 201
    await ended(cluster, "p")


async def test_calls_are_counted(cluster: Cluster, http: aiohttp.ClientSession) -> None:
    for _ in range(2):
        await http.get(PODS)
    await http.post(PODS, json=pod("p", "true"))
    await http.get(f"{PODS}/p")
    assert cluster.api.calls == {("list", "pods"): 2, ("create", "pods"): 1, ("get", "pods"): 1}
    async with http.get(PODS) as answer:
        size = len(await answer.read())
    cluster.api.listed_bytes.clear()
    await http.get(PODS)
    async with http.delete("/embedded/calls") as answer:
        told = await answer.json()
    counted = {(call["verb"], call["resource"]): call["count"] for call in told["calls"]}
    assert (counted[("list", "pods")], told["listed_bytes"]) == (4, {"pods": size})
    assert not cluster.api.calls and not cluster.api.listed_bytes


async def test_users_are_told_apart(cluster: Cluster) -> None:
    async with connect(cluster, cluster.add_user("hub")) as hub:
        await hub.get(PODS)
        async with hub.get("/embedded/calls") as answer:
            assert answer.status == 403
    assert [(call.user, call.verb, call.resource, call.namespace) for call in cluster.api.audit] == [
        ("hub", "list", "pods", NAMESPACE)
    ]


async def test_the_kubeconfig_is_for_nobody_else(cluster: Cluster) -> None:
    assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600
    config = json.loads(cluster.kubeconfig.read_text())
    assert config["users"][0]["user"]["token"] == cluster.token
    assert cluster.url.startswith("https://127.0.0.1:")


async def test_a_log_is_followed_to_the_end(cluster: Cluster, http: aiohttp.ClientSession) -> None:
    await create(cluster, pod("p", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done"))
    await eventually(lambda: phase(cluster, "p") == "Running")
    async with http.get(f"{PODS}/p/log", params={"follow": "true"}) as answer:
        assert answer.status == 200
        chunks = [(chunk, phase(cluster, "p")) async for chunk in answer.content.iter_any()]
    assert b"".join(chunk for chunk, _ in chunks) == b"1\n2\n3\n"
    assert chunks[0][1] == "Running", "it comes while the pod runs"


async def test_the_tail_of_a_log(cluster: Cluster, http: aiohttp.ClientSession) -> None:
    await create(cluster, pod("p", "seq", "100"))
    await ended(cluster, "p")
    async with http.get(f"{PODS}/p/log", params={"tailLines": "2"}) as answer:
        assert await answer.text() == "99\n100\n"


async def test_one_of_several_containers_must_be_named(cluster: Cluster, http: aiohttp.ClientSession) -> None:
    body = pod("p", "echo", "first")
    body["spec"]["containers"].append({"name": "second", "image": "x/y:1", "command": ["echo", "two"]})
    await create(cluster, body)
    await ended(cluster, "p")
    async with http.get(f"{PODS}/p/log") as answer:
        said = (await answer.json())["message"]
    async with http.get(f"{PODS}/p/log", params={"container": "second"}) as answer:
        assert await answer.text() == "two\n"
    assert said == "a container name must be specified for pod p, choose one of: [main second]"


@pytest.mark.parametrize(
    ("text", "lines", "tail"),
    [
        ("", 2, ""),
        ("a\nb\nc\n", 2, "b\nc\n"),
        ("a\nb\nc", 2, "b\nc"),
        ("a\n", 5, "a\n"),
        ("a\n", 0, ""),
        ("\n\n", 1, "\n"),
    ],
)
def test_tails(tmp_path: Path, text: str, lines: int, tail: str) -> None:
    (tmp_path / "log").write_text(text)
    with (tmp_path / "log").open("rb") as file:
        seek_to_tail(file, lines)
        assert file.read().decode() == tail


async def test_apply_creates_and_replaces(cluster: Cluster) -> None:
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
    first = await cluster.apply(body)
    second = await cluster.apply({**first, "data": {"b": "2"}})
    assert (first["metadata"]["uid"], second["data"]) == (second["metadata"]["uid"], {"b": "2"})


def test_nodes_on_the_command_line() -> None:
    assert node_spec("n=4") == NodeSpec("n", "4")
    assert node_spec("n=4,8Gi,zone=a,gpu=yes") == NodeSpec("n", "4", "8Gi", {"zone": "a", "gpu": "yes"})


async def run(*options: str) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "jupyter_research_spawner.embedded", *options]
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


async def test_the_command_runs_until_sigterm(tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = await run("--state", str(state), "--node", "n=2,4Gi", "--namespace", "jhub")
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)).decode()
    config = json.loads((state / "kubeconfig").read_text())
    assert line.startswith(config["clusters"][0]["cluster"]["server"])
    headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
    context = ssl.create_default_context(cafile=str(state / "ca.crt"))
    async with aiohttp.ClientSession(headers=headers) as session:
        await session.post(line.split()[0] + PODS, json=pod("p", "sleep", "600"), ssl=context)
        async with session.get(line.split()[0] + "/api/v1/nodes", ssl=context) as answer:
            (node,) = (await answer.json())["items"]
    assert node["status"]["allocatable"]["cpu"] == "2"
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert not (state / "kubeconfig").exists()


async def test_a_killed_cluster_takes_its_pods_with_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = await run("--state", str(state), "--namespace", "jhub")
    assert process.stdout is not None
    url = (await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)).decode().split()[0]
    config = json.loads((state / "kubeconfig").read_text())
    headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
    context = ssl.create_default_context(cafile=str(state / "ca.crt"))
    async with aiohttp.ClientSession(url, headers=headers) as session:
        await session.post(PODS, json=pod("p", "sh", "-c", "setsid sleep 600 & exec sleep 600"), ssl=context)
        await eventually(lambda: len(sleeping(state)) == 2)
    process.kill()
    await process.wait()
    await eventually(lambda: not list(marked_processes(MARK, str(state))))


def sleeping(state: Path) -> list[int]:
    """Return the processes of pods of the cluster in `state`."""
    return [pid for pid in marked_processes(MARK, str(state)) if Path(f"/proc/{pid}/comm").read_text() == "sleep\n"]


async def test_the_log_goes_with_its_pod(cluster: Cluster) -> None:
    await create(cluster, pod("p", "echo", "hello"))
    uid = (await ended(cluster, "p"))["metadata"]["uid"]
    assert log_of(cluster, "p") == "hello\n"
    cluster.store.delete(POD, now(cluster, "p"))
    await eventually(lambda: not cluster.storage.pod(uid).exists())
