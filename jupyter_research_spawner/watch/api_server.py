"""Sends requests to the Kubernetes API server as plain JSON. Each failure is an ApiError or a Refusal.

Only the connection and authentication of kubernetes_asyncio are used, because its typed models drop unknown fields.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import re
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import aiohttp
from kubernetes_asyncio.client import ApiClient, ApiException

from ..refusal import Refusal
from ..shape import Json

log = logging.getLogger(__name__)

Result = TypeVar("Result")
ANSWER_SECONDS = 20.0
CONNECT_SECONDS = 10.0
MERGE_PATCH = "application/merge-patch+json"
JSON = "application/json"
# Kubernetes API concepts, "Metadata-only fetches": objects without spec and status.
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
# Each line of a watch is one object. etcd limits a request to 1.5 MiB, and the same object can be somewhat larger here.
_LINE_LIMIT = 8 * 1024 * 1024
_UNREACHABLE = (aiohttp.ClientError, asyncio.TimeoutError, OSError)


class ApiError(Exception):
    """The API server refused a request.

    status: the HTTP status.  message: the API server's message, for logs and not for users.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status
        self.message = message


class ApiServer:
    """The API server that `client` is connected to.

    answer_seconds: the time limit of a request that is not a watch or a log stream.
    """

    def __init__(self, client: ApiClient, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._client = client
        self._answer_seconds = answer_seconds
        self._logs_failures = True

    def for_repeated_requests(self) -> ApiServer:
        """Return the same API server for a caller that repeats a failed request, and logs a failure once.

        The failure is the `__cause__` of the Refusal.
        """
        same = copy.copy(self)
        same._logs_failures = False
        return same

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Json:
        """Send one request and return the JSON object in the response; {} if the response is not an object.

        Raises ApiError for HTTP 4xx. Raises Refusal (503) for HTTP 429 or 5xx, or if the server does not answer.
        """
        limit = aiohttp.ClientTimeout(total=self._answer_seconds, sock_connect=CONNECT_SECONDS)
        async with self._open(method, path, query, body, content_type, limit, accept) as response:
            try:
                found = json.loads(await response.read())
            except (ValueError, *_UNREACHABLE) as error:
                raise self._down(f"{method} {path}", error) from error
        return found if isinstance(found, dict) else {}

    async def time(self) -> datetime:
        """Return the time at the API server, from the header Date of a response. It has a resolution of one second.

        The HTTP status of the response does not matter, so no right is needed. Raises Refusal (503).
        """
        limit = aiohttp.ClientTimeout(total=self._answer_seconds, sock_connect=CONNECT_SECONDS)
        path = "/version"
        try:
            async with self._send("GET", path, None, None, JSON, limit, JSON) as response:
                return parsedate_to_datetime(response.headers["Date"])
        except (KeyError, ValueError) as error:
            raise self._down(f"the header Date of GET {path}", error) from error

    async def watch_events(self, path: str, query: Mapping[str, str], silence_seconds: float) -> AsyncIterator[Json]:
        """Yield the events of a watch until the server ends it, its connection breaks or is silent for too long.

        A caller continues in each case with the last resourceVersion. Raises ApiError and Refusal as `ask` does if the
        watch does not begin.
        """
        incomplete = b""
        async for chunk in self.stream_body(path, query, silence_seconds, may_break=True):
            *lines, incomplete = (incomplete + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    yield json.loads(line)
            if len(incomplete) > _LINE_LIMIT:
                raise self._down(path, ValueError(f"the watch sent a line of more than {_LINE_LIMIT} bytes"))

    async def stream_body(
        self, path: str, query: Mapping[str, str], silence_seconds: float, *, may_break: bool = False
    ) -> AsyncIterator[bytes]:
        """Yield the response's body as it arrives. Raises ApiError and Refusal as `ask` does.

        Closing the iterator closes the connection.

        silence_seconds: the time limit for the next byte.  may_break: whether a connection that breaks or is silent
        for too long ends the body like the server does. The response must then begin within the time limit of `ask`.
        """
        limit = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=silence_seconds)
        begin_seconds = self._answer_seconds if may_break else None
        async with self._open("GET", path, query, None, JSON, limit, begin_seconds=begin_seconds) as response:
            try:
                async for chunk in response.content.iter_any():
                    yield chunk
            except _UNREACHABLE as error:
                if not may_break:
                    raise self._down(path, error) from error
                log.info("The connection of the request GET %s ended: %r", path, error)

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Json | None,
        content_type: str,
        limit: aiohttp.ClientTimeout,
        accept: str = JSON,
        *,
        begin_seconds: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self._send(method, path, query, body, content_type, limit, accept, begin_seconds) as response:
            if response.status >= 400:
                raise await self._error_of(f"{method} {path}", response)
            yield response

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Json | None,
        content_type: str,
        limit: aiohttp.ClientTimeout,
        accept: str,
        begin_seconds: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and yield the response, whatever its status is."""
        request = self._client.call_api(
            path,
            method,
            query_params=list((query or {}).items()),
            header_params={"Accept": accept, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
            _request_timeout=limit,
        )
        try:
            response = await (request if begin_seconds is None else _within(begin_seconds, request))
        except (ApiException, *_UNREACHABLE) as error:
            raise self._down(f"{method} {path}", error) from error
        try:
            yield response
        finally:
            # release() would first read the rest of the body, but a followed log can continue for days.
            response.close()

    async def _error_of(self, request: str, response: aiohttp.ClientResponse) -> Exception:
        try:
            text = await response.text(errors="replace")
        except _UNREACHABLE as error:
            return self._down(request, error)
        if (refusal := webhook_down(_message(text))) is not None:
            log.error("The request %s failed: %s", request, text[:500])
            return refusal
        if response.status >= 500 or response.status == 429:
            return self._down(request, ApiError(response.status, text[:500]))
        return ApiError(response.status, _message(text))

    def _down(self, request: str, error: Exception) -> Refusal:
        if self._logs_failures:
            log.error("The request %s failed: %s", request, explain(error))
        refusal = cluster_down()
        refusal.__cause__ = error
        return refusal


def _message(text: str) -> str:
    """Return the message in the JSON of a Status object. Return the beginning of any other text."""
    try:
        found: Any = json.loads(text)
        return str(found["message"])[:2000]
    except (ValueError, KeyError, TypeError):
        return text[:500]


async def _within(seconds: float, work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of `work`. Raises asyncio.TimeoutError after that time.

    Before Python 3.12, asyncio.wait_for loses a cancellation that comes at the same moment as the result.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        task.cancel()


def explain(error: BaseException) -> str:
    """Return what an exception says, for the log; its type if it says nothing, as a timeout does."""
    return str(error) or repr(error)


def cluster_down() -> Refusal:
    """Return the refusal (503) for an API server that does not answer.

    Each call returns a new object, because `raise` adds frames to the traceback of an exception.
    """
    return Refusal(
        "cluster-down",
        "The cluster does not answer at the moment.",
        status=503,
        hint="Try again in a minute.",
        retry_after=30,
    )


def webhook_down(message: str) -> Refusal | None:
    """Return a refusal if the API server's `message` says that an admission webhook did not answer, else None."""
    found = re.search(r'failed calling webhook "([^"]{1,200})"', message)
    if found is None:
        return None
    return Refusal(
        "webhook-down",
        f"The cluster accepts no new objects at the moment, because its admission webhook {found[1]} does not answer.",
        status=503,
        hint="Try again in a few minutes. If that does not help, tell your administrators the name of the webhook.",
        retry_after=60,
    )
