"""The HTML pages of the batch service: "My work", a job's page with its actions, and error pages for browsers.

Written for jupyterhub.services.auth of JupyterHub 5.3 to 6.1.  Each page is complete without JavaScript.  Its script
only replaces parts of it, which come as server-sent events (WHATWG HTML, section 9.2).
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shlex
from collections import Counter
from collections.abc import Collection
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode
from zoneinfo import ZoneInfo

import yaml
from jupyterhub.services.auth import HubOAuthCallbackHandler
from tornado.web import HTTPError, RequestHandler

from .. import web
from ..api_object import format_time
from ..jobs import kind_of
from ..metrics import count_refusal
from ..refusal import Refusal
from ..shape import Json
from . import work_view
from .handlers import JsonHandler, Unknown, UserHandler, refusal_of
from .work_reader import WorkReader
from .work_scopes import WorkScope, title_of
from .work_view import Usage, WorkPage, WorkQuery

log = logging.getLogger(__name__)

# Also for the files of the hub that the pages use, which have the same origin unless the hub uses subdomains.
_POLICY = (
    "default-src 'none'; style-src 'self'{hub}; script-src 'self'{hub}; connect-src 'self'; img-src 'self'{hub}; "
    "font-src 'self'{hub}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A page of another user's notebook can have the same origin.  With this value a window that such a page opens is not
# connected to it (HTML, cross-origin opener policies; Chromium 131).
_OPENER_POLICY = "noopener-allow-popups"
KEEP_STATIC_SECONDS = 365 * 24 * 3600
FORM_LIMIT = 16 * 1024
# For each user, and for all users together.
STREAMS_AT_ONCE, ALL_STREAMS_AT_ONCE = 10, 500
# A stream ends after this time, and the page opens another one, which authenticates again.
STREAM_SECONDS = 600.0
# The least and the longest time between two updates of a page.
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 10.0
LOG_LINES = 500
LOG_BYTES = 256 * 1024
_DONE_COOKIE = "research-done"


@dataclass
class Pages:
    """What the handlers of all pages share."""

    reader: WorkReader
    prefix: str
    time_zone: str
    streams: Counter[str] = field(default_factory=Counter)


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
            raise Refusal("invalid", "The address has too many arguments.", hint="Go to My work.") from None

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
            "words": work_view.STATES,
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
            title=_TITLES.get(refusal.status) or HTTPStatus(refusal.status).phrase,
            error={"message": refusal.message, "hint": _BROWSER_HINTS.get(refusal.code, refusal.hint)},
            again=handler.request.path if is_get and refusal.status >= 429 else "",
        )
    )


_TITLES = {
    400: "This request is not valid",
    401: "You are not logged in",
    403: "Not allowed",
    404: "Not found",
    409: "This is not possible now",
    410: "No longer there",
    429: "Too many requests",
    500: "Something went wrong",
    503: "Not available at the moment",
}
# Instead of hints that name commands and addresses.
_BROWSER_HINTS = {
    "unauthorized": "Go to My work and log in, and then try again.",
    "forbidden": "Log out of the hub and log in again. If that does not help, ask your administrators.",
    "not-found": "It may have been removed. My work shows all your jobs.",
}


def wants_page(handler: RequestHandler) -> bool:
    """Return whether the client is a browser that shows a page."""
    return "text/html" in handler.request.headers.get("Accept", "")


class Home(PageHandler):
    """The page "My work", and with `of` the page about a class or a queue."""

    async def get(self) -> None:
        user = self.hub_user
        if not wants_page(self):
            self.redirect(f"{self.request.path.rstrip('/')}/jobs")
            return
        scopes = await self.scopes()
        view = await read_work(self, user, await self.model(), WorkQuery.parse(self.arguments()), scopes)
        site = self.pages.reader.site
        self.send_page(
            self.render_page(
                "work.html",
                **work_values(view),
                has_servers=view.has_servers,
                is_complete=view.is_complete,
                heading=title_of(site, view.scope),
                scopes=[(scope.key, title_of(site, scope)) for scope in (WorkScope("own", user), *scopes)],
                done=self.done(),
                xsrf=self.xsrf(),
                periods=work_view.PERIODS,
            )
        )


@dataclass(frozen=True)
class WorkView:
    """What "My work" shows.  Two views are equal if only the time has passed."""

    page: WorkPage
    usage: tuple[Usage, ...]
    scope: WorkScope
    has_servers: bool
    is_complete: bool


async def read_work(
    handler: PageHandler,
    user: str,
    model: Json,
    query: WorkQuery,
    scopes: Collection[WorkScope],
    shown: frozenset[str] = frozenset(),
) -> WorkView:
    """Read the rows that a query asks for.  Raises Refusal.

    scopes: those of other users' jobs that the user may see.  shown: the ids of jobs that must be up to date.
    """
    reader, scope = handler.pages.reader, find_scope(query.scope, user, scopes)
    work = await reader.jobs_of(scope, user, shown)
    servers = await reader.servers_of(user, model, handler.hub_url) if scope.is_own else ()
    page = work_view.select((*(servers or ()), *work.rows), query, datetime.now(timezone.utc))
    return WorkView(page, work.usage, scope, servers is not None, work.is_complete)


def find_scope(key: str, user: str, scopes: Collection[WorkScope]) -> WorkScope:
    """Return the scope of an address; the user's own jobs for "".  Raises Refusal (404) for any other one."""
    if not key:
        return WorkScope("own", user)
    found = next((scope for scope in scopes if scope.key == key), None)
    if found is None:
        raise Refusal("no-such-page", "You cannot see these jobs.", hint="My work shows your own jobs.", status=404)
    return found


def work_values(view: WorkView) -> dict[str, Any]:
    """Return the values for the template of "My work" and of its parts."""
    columns = {name: of for name, of in work_view.COLUMNS.items() if name != "user" or not view.scope.is_own}
    return {"work": view.page, "usage": view.usage, "columns": columns}


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
        """Send the parts until the client disconnects or STREAM_SECONDS have passed."""
        user, streams = self.hub_user, self.pages.streams
        if streams[user] >= STREAMS_AT_ONCE or streams.total() >= ALL_STREAMS_AT_ONCE:
            raise Refusal(
                "too-many-streams",
                "Too many pages of the batch service are open.",
                hint="Close some of them. You can still reload this page.",
                status=429,
                retry_after=60,
            )
        streams[user] += 1
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        # The service does not wait for streams when it stops.
        self.under_way.discard(self)
        self._uncount()
        self._sending = asyncio.ensure_future(self._send(user))
        try:
            await asyncio.wait_for(self._sending, STREAM_SECONDS)
        except (asyncio.CancelledError, asyncio.TimeoutError):
            pass  # the client disconnected, or it connects again
        except Refusal:
            if not self._headers_written:
                raise
        finally:
            self._sending = None
            streams[user] -= 1
            self.pages.streams += Counter()  # removes users whose count is 0

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


class HomeEvents(StreamHandler):
    """The parts of "My work" as they change."""

    _shown: frozenset[str] = frozenset()

    async def get(self) -> None:
        await self.stream()

    async def look(self) -> WorkView:
        model, query = await self.hub_login.renewed_model(self), WorkQuery.parse(self.arguments())
        view = await read_work(self, self.hub_user, model, query, await self.scopes(), self._shown)
        self._shown = frozenset(row.id for row in view.page.rows)
        return view

    def render_parts(self, view: WorkView) -> dict[str, str]:
        values = work_values(view)
        return {part: self.render_page(f"work_{part}.html", **values) for part in ("usage", "states", "rows")}


@dataclass(frozen=True)
class JobView:
    """What a job's page shows and can change: the service's response about it."""

    found: Json
    scope: WorkScope
    page: int
    log_index: int | None


class JobPage(PageHandler):
    """A job's page.  That of another user's job has no command, manifest and buttons, and its output if the site
    allows it."""

    async def get(self, job_id: str) -> None:
        user, reader = self.hub_user, self.pages.reader
        view = await look_at_job(self, job_id)
        job = await self.service.stored(reader.selection(view.scope, user), job_id)
        template = kind_of(job).SLOTS.pods(job)[0][1]
        own = view.scope.is_own
        values = {
            **job_values(self, view),
            "done": self.done(),
            "arguments": f"?{self.request.query}" if self.request.query else "",
            "is_own": own,
            "is_array": "indexes" in view.found,
            "facts": work_view.job_facts(view.found, job, reader.titles, is_own=own),
            "identity": work_view.identity_facts(job, template) if own else [],
            "command": shlex.join(view.found["command"]) if own else "",
            "manifest": _yaml(work_view.without_managed_fields(job)) if own else "",
            "back": self.pages.prefix + WorkQuery(scope=view.scope.key).address(),
            "back_title": title_of(reader.site, view.scope),
        }
        output = NO_OUTPUT
        if own or reader.site.batch.show_output_of_others:
            output = await read_output(self, view)
        self.send_page(self.render_page("job.html", **values, **output))


def _yaml(found: Json) -> str:
    return yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=120)


class JobEvents(StreamHandler):
    """The parts of a job's page as they change."""

    async def get(self, job_id: str) -> None:
        self._job_id = job_id
        await self.stream()

    async def look(self) -> JobView:
        await self.hub_login.renewed_model(self)
        return await look_at_job(self, self._job_id)

    def render_parts(self, view: JobView) -> dict[str, str]:
        values = {**job_values(self, view), "is_own": view.scope.is_own}
        parts = ("head", "actions", "indexes" if "indexes" in view.found else "timeline")
        return {part: self.render_page(f"job_{part}.html", **values) for part in parts}


async def look_at_job(handler: PageHandler, job_id: str) -> JobView:
    """Return what the page of a job shows.  Raises Refusal."""
    arguments, user, reader = handler.arguments(), handler.hub_user, handler.pages.reader
    page, index, key = (arguments.get(name, "") for name in ("page", "index", "of"))
    scope = find_scope(key, user, await handler.scopes() if key else ())
    found = await handler.service.show_selected(reader.selection(scope, user), job_id)
    if not scope.is_own and not reader.site.batch.show_output_of_others:
        found = work_view.without_output(found)
    return JobView(
        found=found,
        scope=scope,
        page=int(page) if re.fullmatch(r"[1-9][0-9]{0,4}", page) else 1,
        log_index=int(index) if "indexes" in found and re.fullmatch(r"[0-9]{1,6}", index) else None,
    )


def job_values(handler: PageHandler, view: JobView) -> dict[str, Any]:
    """Return the values for the templates of a job's page and of its parts."""
    prefix, found = handler.pages.prefix, view.found
    return {
        "job": found,
        "row": work_view.job_row(found, handler.pages.reader.titles, prefix),
        "job_url": work_view.job_path(prefix, found["id"]),
        "address": partial(_index_arguments, view.scope),
        "attempts": work_view.attempt_views(found),
        "indexes": work_view.index_page(found, view.page),
        "log_index": view.log_index,
        "xsrf": handler.xsrf(),
    }


def _index_arguments(scope: WorkScope, page: int, index: int | None = None) -> str:
    """Return the arguments of the address of an array's page, for a page of its indexes and the index to read."""
    found = {"of": scope.key, "page": page if page > 1 else "", "index": "" if index is None else index}
    return urlencode({key: value for key, value in found.items() if value != ""})


NO_OUTPUT = {"log": "", "log_url": "", "log_note": "", "log_problem": "Its output is shown to its user only."}


async def read_output(handler: PageHandler, view: JobView) -> dict[str, Any]:
    """Return the end of a job's output for its page, and what to say if there is none."""
    found, index, user = view.found, view.log_index, handler.hub_user
    if "indexes" in found and index is None:
        return {**NO_OUTPUT, "log_problem": "Choose an index to read its output."}
    selection = handler.pages.reader.selection(view.scope, user)
    try:
        pieces = await handler.service.read(
            user, found["id"], follow=False, tail=LOG_LINES, index=index, selection=selection
        )
        output = b""
        async with aclosing(pieces) as opened:  # type: ignore[type-var]
            async for piece in opened:
                output = (output + piece)[-LOG_BYTES:]
    except Refusal as refusal:
        if refusal.status >= 500:
            raise
        return {**NO_OUTPUT, "log_problem": str(refusal)}
    text = work_view.plain_text(output)
    note = f"The last {LOG_LINES} lines." if text.count("\n") >= LOG_LINES else "" if text else "No output yet."
    if not text and found["state"] in work_view.ENDED:
        note = "It wrote no output."
    arguments = {} if index is None else {"index": index}
    url = f"{handler.pages.prefix}jobs/{quote(found['id'], safe='')}/logs?{urlencode(arguments)}"
    # The address of the log serves only a user's own jobs.
    return {"log": text, "log_note": note, "log_url": url if view.scope.is_own else "", "log_problem": ""}


class JobAction(PageHandler):
    """POST of a form on a job's page.  The body is read before the request is authenticated, because the form has the
    XSRF token in its body; what is kept of it is limited."""

    async def prepare(self) -> None:
        self._body = bytearray()

    def data_received(self, chunk: bytes) -> None:
        if len(self._body) <= FORM_LIMIT:
            self._body += chunk

    async def post(self, job_id: str, action: str) -> None:
        self._take_form()
        await UserHandler.prepare(self)
        user = self.hub_user
        if action == "again":
            made = await self.service.submit_again(user, job_id)
            warnings = " ".join(made["warnings"])
            self.say_done(f"Submitted as {made['id']}, with the request of {job_id}. {warnings}".rstrip())
            self.redirect(work_view.job_path(self.pages.prefix, made["id"]), status=303)
            return
        before = await (self.service.cancel if action == "cancel" else self.service.remove)(user, job_id)
        if action == "cancel" and before["state"] in work_view.ENDED:
            self.say_done(f"{job_id} had already ended.")
            self.redirect(work_view.job_path(self.pages.prefix, job_id), status=303)
            return
        self.say_done(f"{job_id} was {'cancelled' if action == 'cancel' else 'removed'}.")
        self.redirect(self.pages.prefix, status=303)

    def _take_form(self) -> None:
        """Make the fields of the form arguments of the request, where the hub's library finds the XSRF token."""
        try:
            fields = parse_qsl(bytes(self._body[:FORM_LIMIT]).decode(), max_num_fields=20)
        except ValueError:
            fields = []
        for name, value in fields:
            self.request.arguments.setdefault(name, []).append(value.encode())


class PageCallback(HubOAuthCallbackHandler, PageHandler):  # type: ignore[misc]
    """Handles the redirect from the hub after a browser has logged in."""

    async def prepare(self) -> None:
        """Authenticate nobody: the hub's library does."""


class UnknownPage(Unknown):
    """Tells a browser with a page, and other clients as JSON, that an address does not exist."""

    def initialize(self, pages: Pages, **parts: Any) -> None:  # type: ignore[override]
        self.pages = pages
        super().initialize(**parts)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if wants_page(self):
            send_error_page(self, status_code, kwargs.get("exc_info", (None, None, None))[1], self.pages)
        else:
            super().write_error(status_code, **kwargs)


class StaticFile(JsonHandler):
    """Sends a static file of the pages.  It needs no login, because the files have nothing about users or the site."""

    def get(self, hashed_name: str) -> None:
        found = web.find_static_file(hashed_name)
        if found is None:
            raise HTTPError(404)
        self.set_header("Content-Type", found.content_type)
        self.set_header("Cache-Control", f"public, max-age={KEEP_STATIC_SECONDS}, immutable")
        self.finish(found.content)


def page_routes(prefix: str, pages: Pages, **parts: Any) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """Return the routes of the pages.  `prefix` and `parts` are those of `handlers.routes`."""
    base, with_pages = re.escape(prefix.rstrip("/")), {"pages": pages, **parts}
    return [
        (rf"{base}/?", Home, with_pages),
        (rf"{base}/events", HomeEvents, with_pages),
        (rf"{base}/oauth_callback", PageCallback, with_pages),
        (rf"{base}/jobs/([^/]+)/page", JobPage, with_pages),
        (rf"{base}/jobs/([^/]+)/page/(again|cancel|remove)", JobAction, with_pages),
        (rf"{base}/jobs/([^/]+)/events", JobEvents, with_pages),
        (rf"{base}/{web.STATIC_PATH}/([a-z0-9_.-]+)", StaticFile, parts),
    ]
