"""`kubectl exec` and `kubectl port-forward` of the embedded API server, over WebSockets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from embedded_cluster import NAMESPACE, create, ended, now, pod
from kubernetes_asyncio.client import CoreV1Api
from kubernetes_asyncio.client.configuration import Configuration
from kubernetes_asyncio.config import load_kube_config
from kubernetes_asyncio.stream import WsApiClient
from patience import eventually

from jupyter_research_spawner.embedded import Cluster, NodeSpec
from jupyter_research_spawner.embedded.apiserver import spdy
from jupyter_research_spawner.embedded.apiserver.pod_exec import CLOSE, ERROR, RESIZE, STDERR, STDIN, STDOUT
from jupyter_research_spawner.embedded.apiserver.pod_port_forward import PROTOCOL
from jupyter_research_spawner.embedded.node.container_process import marked_processes

pytestmark = pytest.mark.embedded

V5 = "v5.channel.k8s.io"
KINDS = [
    pytest.param(True, id="namespaces", marks=pytest.mark.root),
    pytest.param(False, id="processes"),
]


@pytest.fixture
async def any_cluster(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """A cluster whose containers have namespaces, or are processes of this user."""
    started = await Cluster.start(
        tmp_path / "cluster", [NodeSpec("node-1")], namespace=NAMESPACE, privileged=request.param
    )
    try:
        yield started
    finally:
        await started.stop()


async def running(cluster: Cluster, *command: str, **spec: Any) -> None:
    await create(cluster, pod("web", *command, **spec))
    await eventually(lambda: (now(cluster, "web").get("status") or {}).get("phase") == "Running")


@dataclass
class Answer:
    """What a command has written on each channel."""

    channels: dict[int, bytes] = field(default_factory=dict)

    @property
    def status(self) -> Any:
        return json.loads(self.channels[ERROR])


def session(cluster: Cluster) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        cluster.url,
        headers={"Authorization": f"Bearer {cluster.token}"},
        connector=aiohttp.TCPConnector(ssl=False),
    )


@asynccontextmanager
async def connected(cluster: Cluster, path: str, *protocols: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = f"/api/v1/namespaces/{NAMESPACE}/pods/web/{path}"
    async with session(cluster) as client, client.ws_connect(url, protocols=protocols) as web:
        yield web


def query(*command: str, **more: str) -> str:
    words = [*(("command", word) for word in command), *more.items(), ("stdout", "true"), ("stderr", "true")]
    return f"exec?{urlencode(words)}"


async def rest(web: aiohttp.ClientWebSocketResponse) -> Answer:
    found = Answer()
    async for message in web:
        channel, data = message.data[0], message.data[1:]
        found.channels[channel] = found.channels.get(channel, b"") + data
    return found


@pytest.mark.parametrize("any_cluster", KINDS, indirect=True)
async def test_a_command_runs_in_the_container_and_its_exit_code_arrives(any_cluster: Cluster) -> None:
    variable = {"env": [{"name": "SITE", "value": "here"}]}
    await running(any_cluster, "sleep", "60", container=variable)
    words = ("sh", "-c", "echo $SITE; echo wrong >&2; exit 3")
    async with connected(any_cluster, query(*words), V5, "v4.channel.k8s.io") as web:
        assert web.protocol == V5
        answer = await rest(web)
    assert (answer.channels[STDOUT], answer.channels[STDERR]) == (b"here\n", b"wrong\n")
    assert answer.status["reason"] == "NonZeroExitCode"
    assert answer.status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


@pytest.mark.parametrize("any_cluster", KINDS, indirect=True)
async def test_input_arrives_and_ends(any_cluster: Cluster) -> None:
    await running(any_cluster, "sleep", "60")
    text = b"line\n" * 50_000
    async with connected(any_cluster, query("cat", stdin="true"), V5) as web:
        for start in range(0, len(text), 30_000):
            await web.send_bytes(bytes([STDIN]) + text[start : start + 30_000])
        await web.send_bytes(bytes([CLOSE, STDIN]))
        answer = await rest(web)
    assert answer.channels[STDOUT] == text
    assert answer.status == {"metadata": {}, "status": "Success"}


@pytest.mark.parametrize("any_cluster", KINDS, indirect=True)
async def test_a_terminal_has_the_size_of_the_client(any_cluster: Cluster) -> None:
    await running(any_cluster, "sleep", "60")
    async with connected(any_cluster, query("sh", stdin="true", tty="true"), V5) as web:
        await web.send_bytes(bytes([RESIZE]) + json.dumps({"Width": 91, "Height": 17}).encode())
        await web.send_bytes(bytes([STDIN]) + b"stty size; echo $TERM; exit\n")
        answer = await rest(web)
    assert b"17 91" in answer.channels[STDOUT]
    assert b"xterm" in answer.channels[STDOUT]


@pytest.mark.root
@pytest.mark.parametrize("any_cluster", KINDS[:1], indirect=True)
async def test_a_command_has_the_identity_and_the_files_of_the_container(any_cluster: Cluster) -> None:
    context = {"runAsUser": 20001, "runAsGroup": 20002, "supplementalGroups": [20003]}
    await running(any_cluster, "sh", "-c", "echo mine > /tmp/own; sleep 60", securityContext=context)
    words = ("sh", "-c", "id -u; id -g; id -G; cat /tmp/own; ps -e | wc -l; grep CapEff /proc/self/status")
    async with connected(any_cluster, query(*words), V5) as web:
        lines = (await rest(web)).channels[STDOUT].decode().splitlines()
    assert lines[:4] == ["20001", "20002", "20002 20003", "mine"]
    assert int(lines[4]) < 10  # only the processes of the container
    assert lines[5].split() == ["CapEff:", "0000000000000000"]


@pytest.mark.parametrize("any_cluster", KINDS, indirect=True)
async def test_a_command_ends_when_its_client_leaves(any_cluster: Cluster) -> None:
    await running(any_cluster, "sleep", "60")
    mark = ("EMBEDDED_CLUSTER", str(any_cluster.state))
    before = set(marked_processes(*mark))
    async with connected(any_cluster, query("sh", "-c", "echo up; sleep 600"), V5) as web:
        assert await web.receive_bytes() == bytes([STDOUT]) + b"up\n"
        assert set(marked_processes(*mark)) > before
    await eventually(lambda: set(marked_processes(*mark)) <= before)


async def test_a_program_that_does_not_exist_is_an_error_on_its_channel(cluster: Cluster) -> None:
    await running(cluster, "sleep", "60")
    async with connected(cluster, query("nosuch"), V5) as web:
        answer = await rest(web)
    assert 'exec: "nosuch": executable file not found in $PATH' in answer.status["message"]


async def test_commands_that_cannot_run_are_refused(cluster: Cluster) -> None:
    await running(cluster, "sleep", "60")
    await create(cluster, pod("over", "true"))
    await ended(cluster, "over")
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    async with session(cluster) as client:
        for url, why in (
            (f"{path}/web/exec?command=id", "Upgrade request required"),
            (f"{path}/web/exec", "you must specify at least one command for the container"),
            (f"{path}/web/exec?command=id&container=other", "container other is not valid for pod web"),
            (
                f"{path}/over/exec?command=id",
                "cannot exec into a container in a completed pod; current phase is Succeeded",
            ),
            (f"{path}/web/portforward", "Upgrade request required"),
            (f"{path}/over/portforward", "unable to forward port because pod is not running. Current status=Succeeded"),
        ):
            async with client.get(url) as answer:
                assert (answer.status, (await answer.json())["message"]) == (400, why)
        async with client.get(f"{path}/nosuch/exec?command=id") as answer:
            assert answer.status == 404


async def test_nobody_runs_a_command_without_a_token(cluster: Cluster) -> None:
    await running(cluster, "sleep", "60")
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(cluster.url, connector=connector) as client:
        for path in (query("id"), "portforward"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect(f"/api/v1/namespaces/{NAMESPACE}/pods/web/{path}", protocols=(V5, PROTOCOL))
            assert refused.value.status == 401


async def test_the_python_client_runs_a_command(cluster: Cluster) -> None:
    """It speaks version 4 of the protocol."""
    await running(cluster, "sleep", "60")
    configuration = Configuration()
    await load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    async with WsApiClient(configuration) as client:
        said = await CoreV1Api(client).connect_get_namespaced_pod_exec(
            "web", NAMESPACE, command=["echo", "hello"], stdout=True, stderr=True, stdin=False, tty=False
        )
    assert said == "hello\n"


SERVER = """
import os, socket
server = socket.create_server((os.environ["POD_IP"], 9911))
while True:
    connection, _ = server.accept()
    with connection:
        received = b""
        while data := connection.recv(65536):
            received += data
        connection.sendall(received[::-1])
"""
POD_IP = {"env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}


async def serving(cluster: Cluster) -> None:
    """Start a pod that sends back what it gets on port 9911 in reverse order."""
    await running(cluster, "python3", "-c", SERVER, container=POD_IP)
    address = (now(cluster, "web")["status"]["podIP"], 9911)

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(address) == 0

    await eventually(answers)


class Client:
    """The other end of a port-forward, as kubectl is it."""

    def __init__(self, web: aiohttp.ClientWebSocketResponse) -> None:
        self.web = web
        self.spdy = spdy.Session()

    async def open(self, number: int, port: int) -> tuple[int, int]:
        """Open the streams of one connection, and return them: for errors, for data."""
        streams = 4 * number + 1, 4 * number + 3
        for kind, stream in zip(("error", "data"), streams, strict=True):
            headers = {"streamtype": kind, "port": str(port), "requestid": str(number)}
            await self.web.send_bytes(self.spdy.syn_stream(stream, headers))
        return streams

    async def until_closed(self, *streams: int) -> dict[int, bytes]:
        """Return what arrives on these streams until all of them are closed."""
        found: dict[int, bytes] = dict.fromkeys(streams, b"")
        left, replied = set(streams), set()
        while left:
            for frame in self.spdy.receive(await asyncio.wait_for(self.web.receive_bytes(), 20)):
                if frame.kind == spdy.SYN_REPLY:
                    replied.add(frame.stream)
                found[frame.stream] += frame.data
                if frame.is_last or frame.kind == spdy.RST_STREAM:
                    left.discard(frame.stream)
        assert replied == set(streams)
        return found


async def test_connections_are_forwarded_to_a_port_of_the_pod(cluster: Cluster) -> None:
    await serving(cluster)
    async with connected(cluster, "portforward", PROTOCOL) as web:
        client = Client(web)
        await web.send_bytes(spdy.ping_frame(b"\0\0\0\1"))
        assert await web.receive_bytes() == spdy.ping_frame(b"\0\0\0\1")
        for number in (0, 1):
            error, data = await client.open(number, 9911)
            text = bytes(range(256)) * 1000
            await web.send_bytes(spdy.data_frame(error, b"", is_last=True))
            frames = spdy.data_frame(data, text) + spdy.data_frame(data, b"end", is_last=True)
            # A message is any part of the stream of frames.
            await web.send_bytes(frames[:5])
            await web.send_bytes(frames[5:])
            assert await client.until_closed(error, data) == {error: b"", data: (text + b"end")[::-1]}


async def test_a_closed_port_is_an_error_and_other_ports_go_on(cluster: Cluster) -> None:
    await serving(cluster)
    async with connected(cluster, "portforward", PROTOCOL) as web:
        client = Client(web)
        error, data = await client.open(0, 9)
        answers = await client.until_closed(error, data)
        assert b"failed to connect to port 9" in answers[error]
        error, data = await client.open(1, 9911)
        await web.send_bytes(spdy.data_frame(data, b"abc", is_last=True))
        assert (await client.until_closed(error, data))[data] == b"cba"


async def test_bytes_that_are_not_spdy_end_the_connection(cluster: Cluster) -> None:
    await running(cluster, "sleep", "60")
    async with connected(cluster, "portforward", PROTOCOL) as web:
        await web.send_bytes(b"\x80\x02\x00\x01\x00\x00\x00\x00")
        message = await asyncio.wait_for(web.receive(), 10)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1002)


def test_the_dictionary_is_that_of_the_specification() -> None:
    """Of moby/spdystream v0.5.1, which kubectl uses."""
    assert len(spdy.DICTIONARY) == 1423
    assert hashlib.sha256(spdy.DICTIONARY).hexdigest().startswith("51d27341373f923f3cd88e1eb7162aea")


@pytest.mark.parametrize("size", range(1, 8))
def test_frames_are_parsed_from_parts_of_any_size(size: int) -> None:
    sender, receiver = spdy.Session(), spdy.Session()
    sent = sender.syn_stream(1, {"port": "80", "streamtype": "data"}) + spdy.data_frame(1, b"text", is_last=True)
    sent += sender.syn_reply(1, {"a": "b"}) + spdy.reset_frame(1)
    found = [frame for at in range(0, len(sent), size) for frame in receiver.receive(sent[at : at + size])]
    assert found == [
        spdy.Frame(spdy.SYN_STREAM, 1, headers={"port": "80", "streamtype": "data"}),
        spdy.Frame(0, 1, is_last=True, data=b"text"),
        spdy.Frame(spdy.SYN_REPLY, 1, headers={"a": "b"}),
        spdy.Frame(spdy.RST_STREAM, 1),
    ]
