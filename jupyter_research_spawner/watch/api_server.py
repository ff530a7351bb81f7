"""The Kubernetes API server over HTTP: plain JSON in and out, and every way it can fail as one of two exceptions.

The generated client's typed models drop fields that they do not know, so only its connection and its login are used.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiClient, ApiException

from ..refusal import Refusal
from ..shape import Json
from .prerequisites import cluster_down, webhook_down

log = logging.getLogger(__name__)

ANSWER_SECONDS = 20.0
CONNECT_SECONDS = 10.0
MERGE_PATCH = "application/merge-patch+json"
# One line of a watch is one object, and an object is at most 1.5 MiB in etcd, some more as JSON.
_LINE_LIMIT = 8 * 1024 * 1024


class ApiError(Exception):
    """The API server said no.  `status` is its HTTP status, `message` its own sentence: for logs, not for people."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status
        self.message = message


class ApiServer:
    """`ask` for one JSON object, `lines` for a watch, `pieces` for a log."""

    def __init__(self, client: ApiClient, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._client = client
        self._answer_seconds = answer_seconds

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """Raises ApiError (4xx), Refusal (503: it does not answer, or with 429 and 5xx)."""
        limit = aiohttp.ClientTimeout(total=self._answer_seconds, sock_connect=CONNECT_SECONDS)
        async with self._open(method, path, query, body, content_type, limit) as response:
            try:
                found = json.loads(await response.read())
            except (ValueError, *_UNREACHABLE) as error:
                raise _down(f"{method} {path}", error) from error
        return found if isinstance(found, dict) else {}

    async def lines(self, path: str, query: Mapping[str, str], silence_seconds: float) -> AsyncIterator[Json]:
        """The JSON objects of a watch until the server ends it.  Raises as `ask` does."""
        begun = b""
        async for piece in self.pieces(path, query, silence_seconds):
            *whole, begun = (begun + piece).split(b"\n")
            for line in whole:
                if line.strip():
                    yield json.loads(line)
            if len(begun) > _LINE_LIMIT:
                raise _down(path, ValueError(f"a line of more than {_LINE_LIMIT} bytes"))

    async def pieces(self, path: str, query: Mapping[str, str], silence_seconds: float) -> AsyncIterator[bytes]:
        """The body as it arrives.  Raises as `ask` does; closing the iterator closes the connection."""
        limit = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=silence_seconds)
        async with self._open("GET", path, query, None, "application/json", limit) as response:
            try:
                async for piece in response.content.iter_any():
                    yield piece
            except _UNREACHABLE as error:
                raise _down(path, error) from error

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Json | None,
        content_type: str,
        limit: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            response = await self._client.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=limit,
            )
        except (ApiException, *_UNREACHABLE) as error:
            raise _down(f"{method} {path}", error) from error
        try:
            if response.status >= 400:
                raise await _refused(f"{method} {path}", response)
            yield response
        finally:
            # Not release(): that would read a log that is still being written to its end.
            response.close()


_UNREACHABLE = (aiohttp.ClientError, asyncio.TimeoutError, OSError)


async def _refused(what: str, response: aiohttp.ClientResponse) -> Exception:
    try:
        text = await response.text(errors="replace")
    except _UNREACHABLE as error:
        return _down(what, error)
    if (refusal := webhook_down(_message(text))) is not None:
        log.error("The API server was asked to %s: %s", what, text[:500])
        return refusal
    if response.status >= 500 or response.status == 429:
        return _down(what, ApiError(response.status, text[:500]))
    return ApiError(response.status, _message(text))


def _message(text: str) -> str:
    try:
        found: Any = json.loads(text)
        return str(found["message"])[:2000]
    except (ValueError, KeyError, TypeError):
        return text[:500]


def _down(what: str, error: Exception) -> Refusal:
    log.error("The API server was asked to %s: %r", what, error)
    return cluster_down()
