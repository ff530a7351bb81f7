"""The HTTP API of the batch service: /jobs, /jobs/ID and /jobs/ID/logs.  Errors are sent as {"error": {...}}."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from jupyterhub.services.auth import HubOAuthenticated
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler, stream_request_body

from ..metrics import count_refusal
from ..refusal import Refusal
from ..wording import quote
from .attempt_recorder import AttemptRecorder
from .auth import HubAuth
from .job_service import LOG_LIMIT, JobService

log = logging.getLogger(__name__)

BODY_LIMIT = 1024 * 1024
# The connection is closed when a body takes longer than this, or is longer than this.
BODY_SECONDS = 30.0
CLOSING_BODY_LIMIT = 4 * BODY_LIMIT
# For each user, without log streams, which JobService counts.
REQUESTS_AT_ONCE = 20
TAIL_LIMIT = 1_000_000
# Other users' notebooks may have the same origin as this service.  A page of such a notebook could load a response with
# the viewer's cookie in a frame or window, and read it.  The sandbox gives each response its own origin (CSP3).
ISOLATED = "default-src 'none'; frame-ancestors 'none'; sandbox"


@stream_request_body
class JsonHandler(HubOAuthenticated, RequestHandler):  # type: ignore[misc]
    """Sends responses and errors as JSON.

    Tornado calls `prepare` when it has the headers, and reads the body afterwards.  So a client
    cannot fill the memory with bodies before the request is authenticated.
    """

    def initialize(
        self,
        hub_login: HubAuth,
        service: JobService,
        recorder: AttemptRecorder,
        under_way: set[RequestHandler],
        requests: Counter[str],
    ) -> None:
        self.hub_auth = hub_login.hub_auth
        self.hub_login = hub_login
        self.service = service
        self.recorder = recorder
        self.under_way = under_way
        self.requests = requests
        under_way.add(self)
        self.request.connection.set_body_timeout(BODY_SECONDS)  # type: ignore[union-attr]

    def on_finish(self) -> None:
        self.under_way.discard(self)

    def data_received(self, chunk: bytes) -> None:
        """Ignore the body, which most addresses do not use."""

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", ISOLATED)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        refusal = refusal_of(status_code, kwargs.get("exc_info", (None, None, None))[1])
        count_refusal(refusal.code)
        self.set_status(refusal.status)
        if refusal.retry_after is not None:
            self.set_header("Retry-After", str(refusal.retry_after))
        if refusal.status == 401:
            self.set_header("WWW-Authenticate", "token")
        self.finish({"error": refusal.as_dict()})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log an unexpected error with an ID, which `refusal_of` also puts into the response."""
        if not isinstance(value, (Refusal, HTTPError, StreamClosedError)):
            value.mark = secrets.token_hex(4)
            log.error(
                "%s %s failed (%s)", self.request.method, self.request.path, value.mark, exc_info=(typ, value, tb)
            )


class UserHandler(JsonHandler):
    """Authenticates the user before the body is read, and limits requests at once."""

    _user = ""
    _refused: Refusal | None = None
    _counted = False

    @property
    def hub_user(self) -> str:
        """Return the user's name in the hub.  Raises Refusal if the request was refused."""
        if self._refused is not None:
            raise self._refused
        return self._user

    async def prepare(self) -> None:
        """Authenticate the request.

        A refusal is sent after the body has arrived and was discarded: a client that still sends would otherwise see
        a broken connection instead of the reason.
        """
        try:
            self._user = await self.hub_login.hub_user(self)
            self._count()
        except Refusal as refusal:
            self._refused = refusal

    def _count(self) -> None:
        if self.requests[self._user] >= REQUESTS_AT_ONCE:
            raise Refusal(
                "too-many-requests",
                f"The batch service is already handling {REQUESTS_AT_ONCE} requests of yours, which is the limit.",
                hint="Wait until they are answered, and send fewer at once.",
                status=429,
                retry_after=1,
            )
        self.requests[self._user] += 1
        self._counted = True

    def on_finish(self) -> None:
        super().on_finish()
        self._uncount()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._uncount()

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self.requests[self._user] -= 1
            if not self.requests[self._user]:
                del self.requests[self._user]


class Jobs(UserHandler):
    async def prepare(self) -> None:
        self._body = bytearray()
        self._received = 0
        await super().prepare()

    def data_received(self, chunk: bytes) -> None:
        """Keep at most BODY_LIMIT bytes, and count the others for the message."""
        self._received += len(chunk)
        if self._refused is None and self._received <= BODY_LIMIT:
            self._body += chunk

    async def get(self) -> None:
        user = self.hub_user
        self.finish(await self.service.jobs(user, self.get_query_argument("continue", "")))

    async def post(self) -> None:
        made = await self.service.submit(self.hub_user, _json(bytes(self._body), self._received))
        self.set_status(201)
        self.set_header("Location", f"{self.request.path.rstrip('/')}/{made['id']}")
        self.finish(made)


class Job(UserHandler):
    async def get(self, job_id: str) -> None:
        self.finish(await self.service.show(self.hub_user, job_id))

    async def delete(self, job_id: str) -> None:
        user, index = self.hub_user, parse_index(self.get_query_argument("index", None))
        if not _truth("remove", self.get_query_argument("remove", "false")):
            self.finish(await self.service.cancel(user, job_id, index))
        elif index is None:
            self.finish(await self.service.remove(user, job_id))
        else:
            raise Refusal(
                "invalid",
                "One index of a job array cannot be removed alone.",
                field="index",
                hint="Leave the index out, to remove the whole array.",
            )


class Logs(UserHandler):
    """Streams a log until the pod ends, the client disconnects, or LOG_LIMIT has passed."""

    _sending: asyncio.Task[None] | None = None

    async def get(self, job_id: str) -> None:
        user = self.hub_user
        follow = _truth("follow", self.get_query_argument("follow", "false"))
        tail = _tail(self.get_query_argument("tail", None))
        index = parse_index(self.get_query_argument("index", None))
        download = _truth("download", self.get_query_argument("download", "false"))
        pieces = await self.service.read(user, job_id, follow=follow, tail=tail, index=index)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        if download:
            # An id that `read` has accepted has only letters, digits and hyphens.
            name = job_id if index is None else f"{job_id}_{index}"
            self.set_header("Content-Disposition", f'attachment; filename="{name}.log"')
        _enable_keepalive(self)
        # The service does not wait for log streams when it stops, and JobService counts them.
        self.under_way.discard(self)
        self._uncount()
        self._sending = asyncio.ensure_future(self._send(pieces))
        try:
            await asyncio.wait_for(self._sending, LOG_LIMIT.total_seconds())
        except asyncio.CancelledError:
            pass  # the client disconnected
        except (Refusal, asyncio.TimeoutError) as error:
            if not self._headers_written:
                raise
            log.warning("The stream of a log was interrupted: %r", error)
            # Close the connection without HTTP's final chunk, so that the client notices that the log is incomplete.
            self.request.connection.stream.close()  # type: ignore[union-attr]
        finally:
            self._sending = None

    async def _send(self, pieces: AsyncIterator[bytes]) -> None:
        async with aclosing(pieces) as opened:  # type: ignore[type-var]
            # Send the headers immediately, so that a client that follows a waiting job knows that it is connected.
            await self.flush()
            async for piece in opened:
                self.write(piece)
                await self.flush()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._sending is not None:
            self._sending.cancel()


class Health(JsonHandler):
    """Answers the kubelet's probes without authentication."""

    def get(self) -> None:
        self.finish({"status": "ok", "cluster": "watched" if self.recorder.is_watching else "not yet"})


class Metrics(JsonHandler):
    """Sends the metrics of this process in the text format of Prometheus, which have no names of users or jobs."""

    async def get(self) -> None:
        await self.hub_login.require_metrics_scope(self)
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(generate_latest())


class Unknown(JsonHandler):
    async def prepare(self) -> None:
        raise HTTPError(404)


def routes(prefix: str, **parts: Any) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """Return the routes of the JSON API.

    `prefix` begins and ends with a slash; `parts` are passed to `JsonHandler.initialize`.
    """
    base = re.escape(prefix.rstrip("/"))
    return [
        (rf"{base}/health", Health, parts),
        (rf"{base}/metrics", Metrics, parts),
        (rf"{base}/jobs/?", Jobs, parts),
        (rf"{base}/jobs/([^/]+)", Job, parts),
        (rf"{base}/jobs/([^/]+)/logs", Logs, parts),
    ]


def _json(body: bytes, received: int) -> Any:
    if received > BODY_LIMIT:
        raise Refusal(
            "too-long",
            f"The request has {received} bytes; the limit is {BODY_LIMIT} bytes.",
            hint="Put long text into a file.",
            status=413,
        )
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(
            "invalid", "The request is not valid JSON.", hint='Send {"command": ["python", "train.py"]} as UTF-8.'
        ) from None


def _truth(field: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise Refusal("invalid", f"{quote(text)} is not true or false.", field=field, hint="Write true or false.")
    return text == "true"


def _tail(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,7}", text) or int(text) > TAIL_LIMIT:
        message = f"{quote(text)} is not a valid number of lines."
        raise Refusal("invalid", message, field="tail", hint=f"Write a number from 0 to {TAIL_LIMIT}.")
    return int(text)


def parse_index(text: str | None) -> int | None:
    """Return an index in a request; None if there is none.  Raises Refusal."""
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text):
        message = f"{quote(text)} is not a valid index."
        raise Refusal("invalid", message, field="index", hint="Write one index, for example 3.")
    return int(text)


def _enable_keepalive(handler: RequestHandler) -> None:
    """Enable TCP keepalive, so that the loss of a client is detected about two minutes after the last packet."""
    stream = getattr(handler.request.connection, "stream", None)
    if stream is None or stream.socket is None:
        return
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option) and stream.socket.family in (socket.AF_INET, socket.AF_INET6):
            stream.socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)


def refusal_of(status: int, error: BaseException | None) -> Refusal:
    """Return what the client is told about an error."""
    if isinstance(error, Refusal):
        return replace(error)
    mark = getattr(error, "mark", None)
    if status in _SENTENCES:
        message, hint = _SENTENCES[status]
        return Refusal(HTTPStatus(status).phrase.lower().replace(" ", "-"), message, hint=hint, status=status)
    if status < 500:
        return Refusal("bad-request", "This is not a valid request for the batch service.", status=status)
    return Refusal(
        "internal",
        "The batch service failed. Your request is not the cause.",
        hint=f"Your administrators can find the reason in the service's log under {mark}." if mark else "",
        status=500,
    )


_SENTENCES = {
    403: ("This is not allowed.", "Reload the page, or log in again."),
    404: ("This address does not exist.", "Jobs are at /jobs, /jobs/ID and /jobs/ID/logs."),
    405: (
        "This address does not support that method.",
        "GET and POST work on /jobs, GET and DELETE on /jobs/ID, GET on /jobs/ID/logs.",
    ),
}
