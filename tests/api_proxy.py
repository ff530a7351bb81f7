"""A proxy in front of an API server that breaks in the ways of real networks: `from api_proxy import proxied`."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

Json = dict[str, Any]
# Headers of one connection only (RFC 9110), and those that aiohttp writes itself.
_OWN = ("connection", "transfer-encoding", "content-length", "host", "content-encoding", "accept-encoding")


@dataclass(eq=False)
class _Watch:
    request: web.Request
    path: str
    response: web.StreamResponse
    is_silent: bool = False


@dataclass(frozen=True)
class Status:
    """A failure that the API server answers, as a Status object."""

    code: int
    message: str

    @property
    def body(self) -> Json:
        return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": self.code, "message": self.message}


@dataclass
class Proxy:
    """Passes requests with their tokens to the API server at `url`, except for what a test wants to fail."""

    url: str
    context: ssl.SSLContext
    # Whether it closes each new connection without an answer, and whether it never answers.
    is_down: bool = False
    is_hanging: bool = False
    sends_bookmarks: bool = True
    # Returns a Status to answer a request with it instead of the API server.
    refuses: Callable[[web.Request], Status | None] = lambda request: None
    # Of each request that arrived: "list" or "watch" or the method, and the path.
    requests: list[tuple[str, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"
    _watches: list[_Watch] = field(default_factory=list)
    _session: aiohttp.ClientSession | None = None

    @property
    def own_url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def count(self, verb: str, path: str) -> int:
        """Return how many such requests arrived whose path ends so."""
        return sum(1 for found in self.requests if found[0] == verb and found[1].endswith(path))

    def watches(self, path: str = "") -> int:
        """Return how many watches with such an end of their path are open."""
        return sum(1 for watch in self._watches if watch.path.endswith(path))

    def cut(self) -> None:
        """Reset the connections of all watches."""
        for watch in self._watches:
            assert watch.request.transport is not None
            watch.request.transport.abort()

    def silence(self) -> None:
        """Send nothing any more to the open watches, and leave their connections open, as a half-open one is."""
        for watch in self._watches:
            watch.is_silent = True

    async def expire(self) -> None:
        """End the open watches with 410 Gone."""
        gone = {"type": "ERROR", "object": Status(410, "too old resource version").body}
        for watch in self._watches:
            watch.is_silent = True
            await watch.response.write(json.dumps(gone).encode() + b"\n")

    def write_kubeconfig(self, path: Path, token: str) -> Path:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": self.own_url}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "user"}}],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path

    async def handle(self, request: web.Request) -> web.StreamResponse:
        is_watch = request.query.get("watch") in ("true", "True", "1")
        named = "watch" if is_watch else "list" if request.method == "GET" else request.method
        self.requests.append((named, request.path))
        self.tokens.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if self.is_down:
            assert request.transport is not None
            request.transport.abort()
        while self.is_hanging:  # noqa: ASYNC110 - a field of which tests need no more
            await asyncio.sleep(0.05)
        if (status := self.refuses(request)) is not None:
            return web.json_response(status.body, status=status.code)
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}
        async with self._session.request(
            request.method, self.url + request.raw_path, headers=headers, data=await request.read() or None
        ) as answer:
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN}
            if not is_watch or answer.status != 200:
                return web.Response(status=answer.status, headers=passed, body=await answer.read())
            return await self._pass_watch(request, answer, passed)

    async def _pass_watch(
        self, request: web.Request, answer: aiohttp.ClientResponse, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        watch = _Watch(request, request.path, response)
        self._watches.append(watch)
        left = b""
        try:
            async for piece in answer.content.iter_any():
                *lines, left = (left + piece).split(b"\n")
                for line in lines:
                    is_hidden = not self.sends_bookmarks and json.loads(line)["type"] == "BOOKMARK"
                    if not (watch.is_silent or is_hidden):
                        await response.write(line + b"\n")
            while watch.is_silent:  # noqa: ASYNC110 - until the client leaves
                await asyncio.sleep(0.05)
        finally:
            self._watches.remove(watch)
        return response


@asynccontextmanager
async def proxied(url: str, ca: Path, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """Run a proxy in front of the API server at `url`.

    tls: the proxy's certificate for 127.0.0.1; without it, the proxy speaks HTTP.
    """
    proxy = Proxy(url, ssl.create_default_context(cafile=str(ca)), scheme="https" if tls else "http")
    application = web.Application(client_max_size=2**24)
    application.router.add_route("*", "/{path:.*}", proxy.handle)
    # A handler is cancelled when its client leaves, so that `watches` counts only live connections.
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    proxy.port = runner.addresses[0][1]
    connector = aiohttp.TCPConnector(ssl=proxy.context, limit=0)
    no_limit = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=no_limit, auto_decompress=True) as session:
        proxy._session = session
        try:
            yield proxy
        finally:
            await runner.cleanup()
