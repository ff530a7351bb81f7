"""Serve watches, with history, bookmarks, 410 responses, and events for objects that begin or cease to match.

Follows https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping

from aiohttp import web

from ..apimachinery.api_errors import ApiError, bad_request
from ..apimachinery.api_resources import Kind
from ..apimachinery.object_fields import Json
from ..apimachinery.selectors import Match
from ..objectstore.object_store import Change, Store

BOOKMARK_SECONDS = 30.0
DEFAULT_SECONDS = 1800.0


def wants(query: Mapping[str, str], flag: str) -> bool:
    """Return the value of a boolean query parameter in a format of Go's strconv.ParseBool, such as `1` or `True`."""
    return query.get(flag, "").lower() in {"true", "1", "t"}


async def watch(request: web.Request, store: Store, kind: Kind, match: Match) -> web.StreamResponse:
    """Send changes until timeoutSeconds have passed or the client disconnects."""
    query = request.query
    try:
        seconds = float(query.get("timeoutSeconds") or DEFAULT_SECONDS)
        since = int(query.get("resourceVersion") or 0)
    except ValueError as reason:
        raise bad_request(f"invalid watch parameter: {reason}") from None
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    with store.changes() as changes, contextlib.suppress(ConnectionResetError):
        stream = _Stream(response, kind, match)
        initial = wants(query, "sendInitialEvents")
        if since == 0 or initial:
            since = store.revision
            for obj in store.list(kind, match=match):
                await stream.send("ADDED", json.dumps(obj).encode())
            if initial:
                await stream.bookmark(since, {"k8s.io/initial-events-end": "true"})
        elif since < store.oldest or since > store.revision:
            expired = ApiError(410, "Expired", f"too old resource version: {since} ({store.oldest})")
            await stream.send("ERROR", json.dumps(expired.body).encode())
            return response
        else:
            for change in [change for change in store.history if change.revision > since]:
                await stream.change(change)
                since = change.revision
        await _follow(stream, changes, since, time.monotonic() + seconds, wants(query, "allowWatchBookmarks"))
    return response


async def _follow(stream: _Stream, changes: asyncio.Queue[Change], since: int, end: float, bookmarks: bool) -> None:
    while (left := end - time.monotonic()) > 0:
        try:
            change = await asyncio.wait_for(changes.get(), min(left, BOOKMARK_SECONDS))
        except asyncio.TimeoutError:
            if bookmarks:
                await stream.bookmark(since)
            continue
        if change.revision > since:
            await stream.change(change)
            since = change.revision


class _Stream:
    """Sends events to one watcher."""

    def __init__(self, response: web.StreamResponse, kind: Kind, match: Match) -> None:
        self.response = response
        self.kind = kind
        self.match = match

    async def send(self, type_: str, obj: bytes) -> None:
        await self.response.write(b'{"type":"' + type_.encode() + b'","object":' + obj + b"}\n")

    async def change(self, change: Change) -> None:
        if change.kind.key != self.kind.key:
            return
        before = change.old is not None and self.match(change.old)
        after = change.type != "DELETED" and self.match(change.new)
        if after:
            await self.send("MODIFIED" if before else "ADDED", change.new_json)
        elif before:
            await self.send("DELETED", change.new_json)

    async def bookmark(self, revision: int, annotations: Json | None = None) -> None:
        metadata: Json = {"resourceVersion": str(revision)}
        if annotations:
            metadata["annotations"] = annotations
        obj = {"kind": self.kind.kind, "apiVersion": self.kind.api_version, "metadata": metadata}
        await self.send("BOOKMARK", json.dumps(obj).encode())
