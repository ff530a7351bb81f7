"""Sends HTTP requests to the batch service.  Errors are JSON: {"error": {code, field, message, ...}}."""

from __future__ import annotations

import http.client
import json
import platform
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .job_errors import JobsError, NotReady, Refused
from .version import VERSION

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
ANSWER_BYTES = 32 * 1024 * 1024
# `job logs --follow` receives nothing while the job prints nothing.  TCP keepalive sends the first probe after one
# minute of silence, and detects a dead connection within two minutes.
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

BROKEN = (OSError, http.client.HTTPException)
GATEWAY_ERRORS = (502, 503, 504)


@dataclass(frozen=True)
class BatchClient:
    """A client for the batch service at `url`.  `token` identifies the user.

    It uses http.client instead of urllib.request, which would use a proxy from the environment and follow redirects.
    The site's proxy cannot reach the hub inside the cluster, and must not see tokens.  Without redirects the token is
    sent to `url` only.
    """

    url: str
    token: str = field(repr=False)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request and return the JSON object of the response.  Raises Refused, NotReady or JobsError."""
        with closing(self._open(method, path, body, ANSWER_SECONDS)) as response:
            content = _content(response, method)
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self._no_service()
        return answer

    def stream(self, path: str, *, silence_allowed: bool) -> Iterator[bytes]:
        """Return an iterator over the response's bytes.  The iterator raises NotReady if the connection is lost."""
        response = self._open("GET", path, None, None if silence_allowed else ANSWER_SECONDS)
        if not response.headers.get("Content-Type", "").startswith("text/plain"):
            response.close()
            raise self._no_service()  # for example the login page of the hub
        return _pieces(response)

    def _open(
        self, method: str, path: str, body: Mapping[str, Any] | None, answer_seconds: float | None
    ) -> http.client.HTTPResponse:
        parts = urlsplit(self.url)
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = connect(parts.hostname or "", parts.port, timeout=CONNECT_SECONDS)
        content = None if body is None else json.dumps(body).encode("ascii")
        try:
            connection.connect()
        except (*BROKEN, UnicodeError) as error:  # UnicodeError: a name that DNS cannot have
            raise NotReady(
                f"The batch service at {self.url} cannot be reached ({_reason(error)}). "
                "It may be restarting: try again in a minute, then tell your administrators."
            ) from error
        sock = connection.sock
        try:
            _be_patient(sock, answer_seconds)
            connection.request(method, parts.path + path, content, self._headers())
            response = connection.getresponse()
        except BROKEN as error:
            connection.close()
            raise NotReady(
                f"The batch service at {self.url} did not answer ({_reason(error)}). {_what_now(method)}"
            ) from error
        sock.close()  # takes effect when the response, which uses it, is closed
        if not 200 <= response.status < 300:
            sock.settimeout(ANSWER_SECONDS)  # an error answer must arrive in time
            with closing(response):
                raise self._refusal(response, method)
        return response

    def _headers(self) -> dict[str, str]:
        return {
            "Authorization": f"token {self.token}",
            "Accept": "application/json, text/plain",
            "Content-Type": "application/json",
            "Connection": "close",
            "User-Agent": f"research-jobs/{VERSION} Python/{platform.python_version()}",
        }

    def _no_service(self) -> JobsError:
        return JobsError(f"{self.url} answered, but it is not a batch service. Check RESEARCH_BATCH_URL.")

    def _refusal(self, response: http.client.HTTPResponse, method: str) -> JobsError:
        content = _content(response, method)
        return self._contract_error(content, response.status) or self._other_error(response, method)

    def _contract_error(self, content: bytes, status: int) -> Refused | None:
        try:
            error = json.loads(content)["error"]
            return Refused(
                code=self._without_token(error["code"]),
                field=None if error["field"] is None else self._without_token(error["field"]),
                message=self._without_token(error["message"]),
                hint=self._without_token(error["hint"]),
                status=status,
                retry_after=None if error["retry_after"] is None else int(error["retry_after"]),
            )
        except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError):
            return None

    def _without_token(self, text: str) -> str:
        # The error page of a proxy might quote the request with its token, and this text is printed.
        return text.replace(self.token, "[token]")

    def _other_error(self, response: http.client.HTTPResponse, method: str) -> JobsError:
        """Return the error for an answer that came from the hub or a proxy instead of the service."""
        status = response.status
        if status in (401, 403):
            return JobsError(
                f"The hub does not allow this notebook's token to use the batch service (HTTP {status}). "
                "Restart your server to get a new token; if that does not help, tell your administrators."
            )
        if status in GATEWAY_ERRORS:
            seconds = response.headers.get("Retry-After", "")
            # A proxy answers 503 if it does not reach the service, and 502 or 504 also after it has sent the request.
            doubt = "" if status == 503 or method != "POST" else f" {_what_now(method)}"
            return NotReady(
                f"The batch service at {self.url} is not ready (HTTP {status}).{doubt}",
                int(seconds) if seconds.isascii() and seconds.isdecimal() else None,
            )
        if 300 <= status < 400:
            return JobsError(
                f"{self.url} redirects (HTTP {status}), and the token is not sent to another address. "
                "RESEARCH_BATCH_URL must be the batch service's own address: tell your administrators."
            )
        return JobsError(
            f"{self.url} answered HTTP {status}, but it is not a batch service. "
            "If RESEARCH_BATCH_URL is right, tell your administrators."
        )


def _be_patient(sock: socket.socket, answer_seconds: float | None) -> None:
    sock.settimeout(answer_seconds)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        if hasattr(socket, option):  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _what_now(method: str) -> str:
    """Return what to do after a request without an answer.  A second POST could create a second job."""
    if method == "POST":
        return "The job may have been submitted: look at 'job list' before trying again."
    return "Try again in a minute."


def _content(response: http.client.HTTPResponse, method: str) -> bytes:
    length = response.length
    try:
        content = response.read(ANSWER_BYTES + 1)
        if length is not None and len(content) < min(length, ANSWER_BYTES):
            raise http.client.IncompleteRead(content, length - len(content))
    except BROKEN as error:
        raise NotReady(
            f"The connection was lost while the batch service answered ({_reason(error)}). {_what_now(method)}"
        ) from error
    if len(content) > ANSWER_BYTES:
        raise JobsError(f"The batch service's answer is longer than {ANSWER_BYTES} bytes and was not read.")
    return content


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    left = response.length  # None for chunks, whose end http.client checks
    with closing(response):
        while True:
            try:
                piece = response.read1(65536)
                if not piece and left:
                    raise http.client.IncompleteRead(b"", left)
            except BROKEN as error:
                raise NotReady(f"The connection was lost before the end of the output ({_reason(error)}).") from error
            if not piece:
                return
            left = None if left is None else left - len(piece)
            yield piece


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "the answer is incomplete"
    return str(error) or type(error).__name__
