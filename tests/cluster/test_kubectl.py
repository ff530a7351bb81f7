"""The real kubectl on the embedded cluster: exec and port-forward, which no other client speaks in the same way."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiohttp
from patience import eventually
from rig.programs import Programs

from jupyter_research_spawner.embedded import Cluster, NodeSpec
from jupyter_research_spawner.embedded.apimachinery.api_resources import POD

COMMAND = ["sh", "-c", "echo mine > /tmp/own; exec python3 -m http.server 9911 --bind $POD_IP"]


async def test_exec_and_port_forward(tmp_path: Path) -> None:
    cluster = await Cluster.start(tmp_path / "cluster", [NodeSpec("node-1")], namespace="jhub")
    try:
        address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
        container = {"name": "main", "image": "example/image:1", "command": COMMAND, "env": [address]}
        await cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "web", "namespace": "jhub"},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
            }
        )
        await eventually(lambda: cluster.store.get(POD, "jhub", "web")["status"].get("phase") == "Running")
        assert await kubectl(cluster, "exec", "web", "--", "cat", "/tmp/own") == (0, b"mine\n")
        assert await kubectl(cluster, "exec", "-i", "web", "--", "cat", given=b"through") == (0, b"through")
        code, said = await kubectl(cluster, "exec", "web", "--", "sh", "-c", "exit 7")
        assert (code, b"exit code 7" in said) == (7, True)
        code, said = await kubectl(cluster, "exec", "web", "--", "nosuch")
        assert (code, b'exec: "nosuch": executable file not found in $PATH' in said) == (1, True)
        await forwarded(cluster)
    finally:
        await cluster.stop()


async def forwarded(cluster: Cluster) -> None:
    process = await start(cluster, "port-forward", "web", ":9911", "--address", "127.0.0.1")
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        url = f"http://{line.split()[2]}/"
        async with aiohttp.ClientSession() as session:
            for _ in range(3):
                async with session.get(url) as answer:
                    assert (answer.status, "Directory listing" in await answer.text()) == (200, True)
    finally:
        process.kill()
        await process.wait()


async def start(cluster: Cluster, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        Programs().binary("kubectl"),
        *arguments,
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def kubectl(cluster: Cluster, *arguments: str, given: bytes = b"") -> tuple[int | None, bytes]:
    process = await start(cluster, *arguments)
    said, _ = await asyncio.wait_for(process.communicate(given), 60)
    return process.returncode, said
