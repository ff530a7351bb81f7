"""A hub's API as far as the service asks it: GET /hub/api/user tells whose a token is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

ACCESS = "access:services!service=batch"


def user(name: str, *scopes: str) -> dict[str, Any]:
    """What the hub says of a person's token."""
    return {"kind": "user", "name": name, "admin": False, "groups": [], "scopes": list(scopes or (ACCESS,))}


@dataclass
class StubHub:
    """`tokens` are those it knows; with `fails` it answers 500 to all, with `hangs` it does not answer."""

    api_url: str = ""
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    fails: bool = False
    hangs: bool = False
    asked: int = 0
    metrics_are_public: bool = False

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.hangs:
            await asyncio.sleep(60)
        if self.fails:
            return web.json_response({"status": 500, "message": "the database is gone"}, status=500)
        model = self.tokens.get(request.headers.get("Authorization", "").removeprefix("token "))
        if model is None:
            return web.json_response({"status": 403, "message": "Missing or invalid credentials."}, status=403)
        return web.json_response(model)

    async def metrics(self, request: web.Request) -> web.Response:
        """What /hub/api/metrics answers without a token, by c.JupyterHub.authenticate_prometheus."""
        if self.fails:
            return web.Response(status=500)
        return web.Response(text="") if self.metrics_are_public else web.Response(status=403)


@asynccontextmanager
async def stub_hub(**tokens: dict[str, Any]) -> AsyncIterator[StubHub]:
    stub = StubHub(tokens=tokens)
    app = web.Application()
    app.router.add_get("/hub/api/user", stub.answer)
    app.router.add_get("/hub/api/metrics", stub.metrics)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    stub.api_url = f"http://127.0.0.1:{port}/hub/api"
    try:
        yield stub
    finally:
        await runner.cleanup()
