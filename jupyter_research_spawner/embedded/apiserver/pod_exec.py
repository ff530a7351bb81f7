"""Answer `kubectl exec` over a WebSocket: remotecommand, versions 4 and 5.

Source: k8s.io/apimachinery/pkg/util/remotecommand.  Each message begins with the number of its channel.  SPDY, which
clients before Kubernetes 1.31 use, is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

from ..apimachinery.api_errors import ApiError, bad_request
from ..apimachinery.command_request import CommandRequest, CommandSource, RunningCommand
from ..apimachinery.object_fields import Json
from .pod_logs import container_of
from .watch_stream import wants

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


async def run_in_pod(request: web.Request, pod: Json, source: CommandSource | None) -> web.StreamResponse:
    """Run the command of the query in a container, with its streams on the channels of a WebSocket."""
    query = request.query
    container = container_of(pod, query.get("container"))
    phase = pod["status"].get("phase")
    if phase in ("Succeeded", "Failed"):
        raise bad_request(f"cannot exec into a container in a completed pod; current phase is {phase}")
    argv = query.getall("command", [])
    if not argv:
        raise bad_request("you must specify at least one command for the container")
    socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=0)
    if not socket.can_prepare(request).ok:
        raise bad_request("Upgrade request required")
    asked = CommandRequest(argv, has_input=wants(query, "stdin"), is_terminal=wants(query, "tty"))
    await socket.prepare(request)
    # Errors from here on go over the channel: a client takes another answer for a server without WebSockets.
    try:
        command = await source(pod, container, asked) if source else None
    except ApiError as error:
        await _end(socket, error.body)
        return socket
    if command is None:
        await _end(socket, ApiError(500, "InternalError", f'container not found ("{container}")').body)
        return socket
    try:
        await _serve(socket, command)
    finally:
        await command.kill()
    return socket


async def _end(socket: web.WebSocketResponse, status: Json) -> None:
    with contextlib.suppress(ConnectionError):
        await socket.send_bytes(bytes([ERROR]) + json.dumps(status).encode())
        await socket.close()


async def _serve(socket: web.WebSocketResponse, command: RunningCommand) -> None:
    copying = [
        asyncio.ensure_future(_copy(socket, STDOUT, command.read_output)),
        asyncio.ensure_future(_copy(socket, STDERR, command.read_errors)),
    ]
    reading = asyncio.ensure_future(_receive(socket, command))
    ended = asyncio.ensure_future(command.wait())
    try:
        # The client can also leave first.
        await asyncio.wait({ended, reading}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            await asyncio.gather(*copying)
            await _end(socket, exit_status(ended.result()))
    finally:
        tasks = (*copying, reading, ended)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(socket: web.WebSocketResponse, channel: int, read: Callable[[], Awaitable[bytes]]) -> None:
    while data := await read():
        with contextlib.suppress(ConnectionError):
            await socket.send_bytes(bytes([channel]) + data)


async def _receive(socket: web.WebSocketResponse, command: RunningCommand) -> None:
    """Pass on what the client sends until it closes the connection."""
    async for message in socket:
        data = message.data.encode() if message.type is WSMsgType.TEXT else message.data
        if not isinstance(data, bytes) or not data:
            continue
        if data[0] == STDIN:
            await command.write_input(data[1:])
        elif data[0] == CLOSE and data[1:] == bytes([STDIN]):
            command.end_input()
        elif data[0] == RESIZE:
            size = json.loads(data[1:])
            command.resize(int(size["Height"]), int(size["Width"]))


def exit_status(code: int) -> Json:
    """Return the Status that tells the client how the command has ended."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: error executing command, exit code {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
