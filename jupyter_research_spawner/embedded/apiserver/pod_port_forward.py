"""Answer `kubectl port-forward`: SPDY streams in a WebSocket (KEP-4006), as kubectl 1.31 and newer send them.

For each connection the client opens an error stream and a data stream with the same requestID.
"""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import WSMsgType, web

from ..apimachinery.api_errors import bad_request
from ..apimachinery.object_fields import Json
from . import spdy

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
_CHUNK = 32 * 1024


async def forward_ports(request: web.Request, pod: Json) -> web.StreamResponse:
    """Connect the streams of a client with ports of a running pod until the client leaves."""
    phase, address = pod["status"].get("phase"), pod["status"].get("podIP")
    if phase != "Running" or not address:
        raise bad_request(f"unable to forward port because pod is not running. Current status={phase}")
    socket = web.WebSocketResponse(protocols=(PROTOCOL,), max_msg_size=0)
    if PROTOCOL not in request.headers.get("Sec-WebSocket-Protocol", "") or not socket.can_prepare(request).ok:
        raise bad_request("Upgrade request required")
    await socket.prepare(request)
    tunnel = _Tunnel(socket, address)
    try:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await tunnel.receive(message.data)
    except ValueError:
        await socket.close(code=1002)
    finally:
        await tunnel.close()
    return socket


class _Tunnel:
    """The streams of one client."""

    def __init__(self, socket: web.WebSocketResponse, address: str) -> None:
        self._socket = socket
        self._address = address
        self._session = spdy.Session()
        self._error_streams: dict[str, int] = {}  # by requestID
        self._received: dict[int, asyncio.Queue[bytes]] = {}  # by data stream; b"" is the end
        self._tasks: set[asyncio.Task[None]] = set()

    async def receive(self, data: bytes) -> None:
        for frame in self._session.receive(data):
            if frame.kind == spdy.SYN_STREAM:
                await self._open(frame)
            elif frame.kind == spdy.PING:
                await self._send(spdy.ping_frame(frame.data))
            elif frame.stream in self._received:
                queue = self._received[frame.stream]
                if frame.data:
                    queue.put_nowait(frame.data)
                if frame.is_last or frame.kind == spdy.RST_STREAM:
                    queue.put_nowait(b"")

    async def _open(self, frame: spdy.Frame) -> None:
        kind, request = frame.headers.get("streamtype"), frame.headers.get("requestid", "")
        port = frame.headers.get("port", "")
        if kind == "error":
            self._error_streams[request] = frame.stream
        elif kind == "data" and request in self._error_streams and port.isdecimal():
            self._received[frame.stream] = asyncio.Queue()
            task = asyncio.ensure_future(self._connect(frame.stream, self._error_streams.pop(request), int(port)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            await self._send(spdy.reset_frame(frame.stream))
            return
        await self._send(self._session.syn_reply(frame.stream))

    async def _connect(self, stream: int, error_stream: int, port: int) -> None:
        try:
            reader, writer = await asyncio.open_connection(self._address, port)
        except OSError as error:
            why = f"failed to connect to port {port}: {error.strerror}"
            await self._send(spdy.data_frame(error_stream, why.encode(), is_last=True))
            await self._send(spdy.data_frame(stream, b"", is_last=True))
            return
        sending = asyncio.ensure_future(self._to_pod(self._received[stream], writer))
        try:
            while data := await reader.read(_CHUNK):
                await self._send(spdy.data_frame(stream, data))
        except OSError:  # the pod has reset the connection
            pass
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()
            del self._received[stream]
            await self._send(spdy.data_frame(stream, b"", is_last=True))
            await self._send(spdy.data_frame(error_stream, b"", is_last=True))

    @staticmethod
    async def _to_pod(received: asyncio.Queue[bytes], writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await received.get():
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    async def _send(self, frame: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            await self._socket.send_bytes(frame)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
