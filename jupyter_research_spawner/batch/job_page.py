"""The page of a job, and its buttons."""

from __future__ import annotations

import re
import shlex
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from ..jobs import kind_of
from ..pod.yaml_text import as_text
from ..refusal import Refusal
from ..shape import Json
from ..texts import gettext
from . import job_view, work_view
from .handlers import UserHandler, parse_index
from .page_handlers import PageHandler, StreamHandler, find_scope
from .work_scopes import WorkScope, title_of
from .work_view import WorkQuery

FORM_LIMIT = 16 * 1024
LOG_LINES = 500
LOG_BYTES = 256 * 1024


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
            "facts": job_view.job_facts(view.found, job, reader.site, is_own=own),
            "identity": job_view.identity_facts(job, template) if own else [],
            "command": shlex.join(view.found["command"]) if own else "",
            "manifest": as_text(job_view.without_managed_fields(job)) if own else "",
            "back": self.pages.prefix + WorkQuery(scope=view.scope.key).address(),
            "back_title": title_of(reader.site, view.scope),
        }
        output = _no_output(gettext("Its output is shown to its user only."))
        if own or reader.site.batch.show_output_of_others:
            output = await read_output(self, view)
        self.send_page(self.render_page("job.html", **values, **output))


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
        "attempts": job_view.attempt_views(found),
        "indexes": job_view.index_page(found, view.page),
        "log_index": view.log_index,
        "xsrf": handler.xsrf(),
    }


def _index_arguments(scope: WorkScope, page: int, index: int | None = None) -> str:
    """Return the arguments of the address of an array's page, for a page of its indexes and the index to read."""
    found = {"of": scope.key, "page": page if page > 1 else "", "index": "" if index is None else index}
    return urlencode({key: value for key, value in found.items() if value != ""})


def _no_output(problem: str) -> dict[str, Any]:
    """Return the values of the template for a job whose output is not shown, because of `problem`."""
    return {"log": "", "log_url": "", "log_note": "", "log_problem": problem}


async def read_output(handler: PageHandler, view: JobView) -> dict[str, Any]:
    """Return the end of a job's output for its page, and what to say if there is none."""
    found, index, user = view.found, view.log_index, handler.hub_user
    if "indexes" in found and index is None:
        return _no_output(gettext("Choose an index to read its output."))
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
        return _no_output(str(refusal))
    text = job_view.plain_text(output)
    note = gettext("The last %(number)s lines.", number=LOG_LINES) if text.count("\n") >= LOG_LINES else ""
    if not text:
        has_ended = found["state"] in work_view.ENDED
        note = gettext("It wrote no output.") if has_ended else gettext("No output yet.")
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
        if action == "again":
            made = await self.service.submit_again(self.hub_user, job_id)
            told = gettext("Submitted as %(new)s, with the request of %(old)s.", new=made["id"], old=job_id)
            self._lead_to(work_view.job_path(self.pages.prefix, made["id"]), " ".join([told, *made["warnings"]]))
        elif action == "remove":
            await self.service.remove(self.hub_user, job_id)
            self._lead_to(self.pages.prefix, gettext("%(job)s was removed.", job=job_id))
        elif (index := parse_index(self.get_argument("index", None))) is None:
            await self._cancel(job_id)
        else:
            await self._cancel_index(job_id, index)

    async def _cancel(self, job_id: str) -> None:
        before = await self.service.cancel(self.hub_user, job_id)
        if before["state"] in work_view.ENDED:
            done = gettext("%(job)s had already ended.", job=job_id)
            self._lead_to(work_view.job_path(self.pages.prefix, job_id), done)
        else:
            self._lead_to(self.pages.prefix, gettext("%(job)s was cancelled.", job=job_id))

    async def _cancel_index(self, job_id: str, index: int) -> None:
        before = await self.service.show(self.hub_user, job_id)
        await self.service.cancel(self.hub_user, job_id, index)
        states = {found["index"]: found["state"] for found in before.get("indexes", ())}
        if states.get(index) in work_view.ENDED:
            done = gettext("Index %(index)s of %(job)s had already ended.", index=index, job=job_id)
        else:
            done = gettext("Index %(index)s of %(job)s was cancelled.", index=index, job=job_id)
        page = urlencode({"page": self.get_argument("page", "1")})
        self._lead_to(f"{work_view.job_path(self.pages.prefix, job_id)}?{page}", done)

    def _lead_to(self, address: str, done: str) -> None:
        """Send the browser to a page, which says what has been done."""
        self.say_done(done)
        self.redirect(address, status=303)

    def _take_form(self) -> None:
        """Make the fields of the form arguments of the request, where the hub's library finds the XSRF token."""
        try:
            fields = parse_qsl(bytes(self._body[:FORM_LIMIT]).decode(), max_num_fields=20)
        except ValueError:
            fields = []
        for name, value in fields:
            self.request.arguments.setdefault(name, []).append(value.encode())
