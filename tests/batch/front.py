"""The proxy of a hub as far as the service's pages need it: their own addresses, and the hub's static files."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
from aiohttp import web
from conftest import PREFIX, Client
from multidict import CIMultiDict
from playwright.async_api import BrowserContext
from tornado.web import create_signed_value

from jupyter_research_spawner.batch.auth import cookie_secret

STATIC = Path(sys.prefix) / "share" / "jupyterhub" / "static"
OF_ONE_CONNECTION = {"transfer-encoding", "content-length", "content-encoding", "connection"}


@asynccontextmanager
async def front(batch: Client) -> AsyncIterator[str]:
    """Run the proxy, and yield the URL of the service's pages."""
    service = batch.url.removesuffix(PREFIX.rstrip("/"))

    async def forward(request: web.Request) -> web.StreamResponse:
        async with batch.session.request(
            request.method,
            f"{service}{request.rel_url}",
            headers=request.headers,
            data=await request.read(),
            allow_redirects=False,
        ) as answer:
            headers = [(name, value) for name, value in answer.headers.items() if name.lower() not in OF_ONE_CONNECTION]
            response = web.StreamResponse(status=answer.status, headers=CIMultiDict(headers))
            await response.prepare(request)
            with suppress(ConnectionResetError, aiohttp.ClientError):
                async for piece in answer.content.iter_any():
                    await response.write(piece)
            return response

    async def logo(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(STATIC / "images" / "jupyterhub-80.png")

    app = web.Application()
    app.router.add_get("/hub/logo", logo)
    app.router.add_static("/hub/static", STATIC)
    app.router.add_route("*", f"{PREFIX}{{path:.*}}", forward)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        # Browsers send Sec-Fetch-Mode to localhost, as they do with TLS.
        yield f"http://localhost:{site._server.sockets[0].getsockname()[1]}{PREFIX}"  # type: ignore[union-attr]
    finally:
        await runner.cleanup()


async def log_in_at_service(context: BrowserContext, url: str, token: str) -> None:
    """Give the browser the cookie that the service sets after a login at the hub."""
    cookie = create_signed_value(cookie_secret("the-services-own"), "service-batch", token).decode()
    await context.add_cookies([{"name": "service-batch", "value": cookie, "url": url, "httpOnly": True}])
