"""What all HTML pages of the batch service share: authentication, headers, error pages, and server-sent events.

Written for jupyterhub.services.auth of JupyterHub 5.3 to 6.1.  Each page is complete without JavaScript.  Its script
only replaces parts of it, which come as server-sent events (WHATWG HTML, section 9.2).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from .. import web
from ..api_object import format_time
from ..metrics import count_refusal
from ..refusal import Refusal
from ..shape import Json
from ..texts import gettext, gettext_noop
from . import work_view
from .handlers import JsonHandler, UserHandler, refusal_of
from .open_streams import OpenStreams
from .work_reader import WorkReader
from .work_scopes import WorkScope

log = logging.getLogger(__name__)


# Also for the files of the hub that the pages use, which have the same origin unless the hub uses subdomains.
_POLICY = (
    "default-src 'none'; style-src 'self'{hub}; script-src 'self'{hub}; connect-src 'self'; img-src 'self'{hub}; "
    "font-src 'self'{hub}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A page of another user's notebook can have the same origin.  With this value a window that such a page opens is not
# connected to it (HTML, cross-origin opener policies; Chromium 131).
_OPENER_POLICY = "noopener-allow-popups"
# A stream ends after this time, and the page opens another one, which authenticates again.
STREAM_SECONDS = 600.0
# The least and the longest time between two updates of a page.
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 10.0
LAST_EVENT_SECONDS = 5.0
_DONE_COOKIE = "research-done"


@dataclass
class Pages:
    """What the handlers of all pages share."""

    reader: WorkReader
    prefix: str
    time_zone: str
    streams: OpenStreams = field(default_factory=OpenStreams)


class PageHandler(UserHandler):
    """Sends HTML pages.  A browser gets errors as pages too, with the status of the error."""

    pages: Pages
    # Whether a GET without a login is sent to the hub's login.
    goes_to_login = True

    def initialize(self, pages: Pages, **parts: Any) -> None:  # type: ignore[override]
        self.pages = pages
        super().initialize(**parts)

    async def prepare(self) -> None:
        await super().prepare()
        is_unknown = self._refused is not None and self._refused.status == 401
        if is_unknown and self.goes_to_login and self.request.method == "GET":
            self.redirect(self.get_login_url())

    @property
    def hub_url(self) -> str:
        """Return the URL with which all pages of the hub begin."""
        return f"{self.hub_auth.hub_host}{self.hub_auth.hub_prefix}"

    async def model(self) -> Json:
        """Return what the hub says about the user of this request.  Raises Refusal."""
        return await self.hub_login.user_model(self)

    async def scopes(self) -> tuple[WorkScope, ...]:
        """Return the classes and queues whose jobs the user may see; () if the user's groups are not known."""
        try:
            return await self.pages.reader.shared_scopes(self.hub_user)
        except Refusal as refusal:
            log.info("The groups of a user are not known: %s", refusal)
            return ()

    def arguments(self) -> dict[str, str]:
        """Return the arguments of the address; of several with the same name, the last one."""
        try:
            return dict(parse_qsl(self.request.query, max_num_fields=50, errors="replace"))
        except ValueError:
            raise Refusal(
                "invalid", gettext("The address has too many parameters."), hint=gettext("Go to My work.")
            ) from None

    def render_page(self, template: str, **values: Any) -> str:
        return web.render_template(template, base_url=self.pages.prefix, **self._common(), **values)

    def _common(self) -> dict[str, Any]:
        now = datetime.now(timezone.utc)
        zone = ZoneInfo(self.pages.time_zone)
        return {
            "hub_url": self.hub_url,
            "user": self._user,
            "now": now,
            "as_of": format_time(now),
            "zone": self.pages.time_zone,
            "words": work_view.state_words(),
            "moment": partial(work_view.format_moment, zone=zone, now=now),
            "clock": work_view.format_clock,
            "since": work_view.since_seconds,
        }

    def xsrf(self) -> str:
        """Return the token that the forms of a page send.  The hub's library sets its cookie."""
        # Otherwise the library asks the hub again, and blocks meanwhile.
        self._hub_auth_user_cache = self._cached_hub_user
        return bytes(self.xsrf_token).decode()

    def send_page(self, page: str) -> None:
        set_page_headers(self)
        self.finish(page)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if wants_page(self):
            send_error_page(self, status_code, kwargs.get("exc_info", (None, None, None))[1], self.pages, self._user)
        else:
            super().write_error(status_code, **kwargs)

    def say_done(self, sentence: str) -> None:
        """Show a sentence on the next page.  The cookie is signed, so a link cannot make a page say something."""
        self.set_signed_cookie(
            _DONE_COOKIE, sentence, expires_days=None, path=self.pages.prefix, httponly=True, samesite="Lax"
        )

    def done(self) -> str:
        """Return the sentence for this page, once; "" if there is none."""
        found = self.get_signed_cookie(_DONE_COOKIE, max_age_days=1)
        if found is None:
            return ""
        self.clear_cookie(_DONE_COOKIE, path=self.pages.prefix)
        return found.decode("utf-8", "replace")


def set_page_headers(handler: JsonHandler) -> None:
    """Set the headers of an HTML page instead of those of a JSON response."""
    hub = f" {handler.hub_auth.hub_host}" if handler.hub_auth.hub_host else ""
    handler.set_header("Content-Type", "text/html; charset=utf-8")
    handler.set_header("Content-Security-Policy", _POLICY.format(hub=hub))
    handler.set_header("Cross-Origin-Opener-Policy", _OPENER_POLICY)
    handler.set_header("Cross-Origin-Resource-Policy", "same-origin")
    handler.set_header("Referrer-Policy", "same-origin")
    handler.set_header("X-Frame-Options", "DENY")


def send_error_page(
    handler: JsonHandler, status: int, error: BaseException | None, pages: Pages, user: str = ""
) -> None:
    """Send the page about an error, with its status."""
    refusal = refusal_of(status, error)
    count_refusal(refusal.code)
    handler.set_status(refusal.status)
    if refusal.retry_after is not None:
        handler.set_header("Retry-After", str(refusal.retry_after))
    set_page_headers(handler)
    is_get = handler.request.method == "GET"
    handler.finish(
        web.render_template(
            "work_error.html",
            base_url=pages.prefix,
            hub_url=f"{handler.hub_auth.hub_host}{handler.hub_auth.hub_prefix}",
            user=user,
            title=_title_of(refusal.status),
            error={"message": refusal.shown_message, "hint": _hint_of(refusal)},
            again=handler.request.path if is_get and refusal.status >= 429 else "",
        )
    )


_TITLES = {
    400: gettext_noop("This request is not valid"),
    401: gettext_noop("You are not logged in"),
    403: gettext_noop("Not allowed"),
    404: gettext_noop("Not found"),
    409: gettext_noop("This is not possible now"),
    410: gettext_noop("No longer there"),
    429: gettext_noop("Too many requests"),
    500: gettext_noop("Something went wrong"),
    503: gettext_noop("Not available at the moment"),
}
# Instead of hints that name commands and addresses.
_BROWSER_HINTS = {
    "unauthorized": gettext_noop("Go to My work and log in, and then try again."),
    "forbidden": gettext_noop("Log out of the hub and log in again. If that does not help, ask your administrators."),
    "not-found": gettext_noop("It may have been removed. My work shows all your jobs."),
}


def _title_of(status: int) -> str:
    known = _TITLES.get(status)
    return gettext(known) if known else HTTPStatus(status).phrase


def _hint_of(refusal: Refusal) -> str:
    known = _BROWSER_HINTS.get(refusal.code)
    return gettext(known) if known else refusal.hint


def wants_page(handler: RequestHandler) -> bool:
    """Return whether the client is a browser that shows a page."""
    return "text/html" in handler.request.headers.get("Accept", "")


def find_scope(key: str, user: str, scopes: Collection[WorkScope]) -> WorkScope:
    """Return the scope of an address; the user's own jobs for "".  Raises Refusal (404) for any other one."""
    if not key:
        return WorkScope("own", user)
    found = next((scope for scope in scopes if scope.key == key), None)
    if found is None:
        raise Refusal(
            "no-such-page",
            gettext("You cannot see these jobs."),
            hint=gettext("My work shows your own jobs."),
            status=404,
        )
    return found


class StreamHandler(PageHandler):
    """Sends the parts of a page as server-sent events whenever they have changed."""

    goes_to_login = False
    _sending: asyncio.Task[None] | None = None

    async def look(self) -> Any:
        """Return what the page shows now.  Two values are equal if only the time has passed.  Raises Refusal."""
        raise NotImplementedError

    def render_parts(self, view: Any) -> dict[str, str]:
        """Return the HTML of each part of the page."""
        raise NotImplementedError

    async def stream(self) -> None:
        """Send the parts until the client disconnects, STREAM_SECONDS have passed, or another stream replaces it."""
        stream = self.pages.streams.open(self.hub_user)
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        # The service does not wait for streams when it stops.
        self.under_way.discard(self)
        self._uncount()
        stream.sending = self._sending = asyncio.ensure_future(self._send(stream.user))
        try:
            await asyncio.wait_for(self._sending, STREAM_SECONDS)
        except (asyncio.CancelledError, asyncio.TimeoutError):
            # Otherwise the client disconnected, or it connects again.
            if stream.is_replaced:
                await self._say_replaced()
        except Refusal:
            if not self._headers_written:
                raise
        finally:
            self._sending = None
            self.pages.streams.close(stream)

    async def _say_replaced(self) -> None:
        """Tell the page not to connect again by itself, because this would replace another stream."""
        self.write("event: replaced\ndata:\n\n")
        try:
            await asyncio.wait_for(self.flush(), LAST_EVENT_SECONDS)
        except (asyncio.TimeoutError, StreamClosedError):  # a client that does not read must not keep the connection
            self.request.connection.stream.close()  # type: ignore[union-attr]

    async def _send(self, user: str) -> None:
        reader, before = self.pages.reader, None
        scope = find_scope(self.arguments().get("of", ""), user, await self.scopes())
        event = reader.subscribe(scope)
        try:
            while True:
                event.clear()
                view = await self.look()
                # A comment, so that a proxy does not close the connection.
                changed = json.dumps(self.render_parts(view)) if view != before else ""
                self.write(f"event: parts\ndata: {changed}\n\n" if changed else ": nothing has changed\n\n")
                before = view
                await self.flush()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(event.wait(), LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            reader.unsubscribe(scope, event)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._sending is not None:
            self._sending.cancel()
