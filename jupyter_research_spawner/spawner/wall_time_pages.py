"""The page and the REST API with which users see and extend the wall time of their running servers.

Written for JupyterHub 5.3 to 6.1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from jupyterhub.apihandlers import APIHandler
from jupyterhub.handlers import BaseHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from ..api_object import format_time, parse_time
from ..pod.deadline import Deadline, deadline_of
from ..refusal import Refusal
from ..settings import format_duration
from ..shape import Json
from ..texts import gettext
from .page_times import describe_time, sentence_parts
from .wall_time_extension import PAGE, extend, read_deadline


def deadlines_to_show(user: Any, time_zone: str) -> list[Json]:
    """Return when the user's running servers end, for the hub's pages. `user` is None if nobody has logged in."""
    return list(_deadlines(user, time_zone)) if hasattr(user, "spawners") else []


def _deadlines(user: Any, time_zone: str) -> Iterator[Json]:
    for name, spawner in sorted(user.spawners.items()):
        pod = spawner.find_own_pod() if spawner.active and hasattr(spawner, "find_own_pod") else None
        deadline = None if pod is None else deadline_of(pod)
        if deadline is not None:
            yield {
                "server": name,
                "ends_at": format_time(deadline.ends),
                "time": shown_time(deadline.ends, time_zone),
                "extend_path": spawner.extend_path if deadline.choices() else "",
            }


def shown_time(time: datetime, time_zone: str) -> str:
    """Return a time as the pages show it."""
    return describe_time(format_time(time), ZoneInfo(time_zone))


@dataclass(frozen=True)
class TemplateDeadlines:
    """The value of `research_deadlines` in the hub's templates. JupyterHub calls it with the user of each page."""

    time_zone: str

    def __call__(self, user: Any) -> list[Json]:
        return deadlines_to_show(user, self.time_zone)


class WallTimeHandler(BaseHandler):  # type: ignore[misc]
    """GET: when one's own server ends, and buttons to extend it. POST: extend it. It needs no JavaScript."""

    @web.authenticated
    async def get(self) -> None:
        spawner = self._own_spawner()
        try:
            deadline, choices = await read_deadline(spawner, spawner.deadlines)
        except Refusal as refusal:
            await self._show(spawner, refusal=refusal)
        else:
            await self._show(spawner, deadline, choices)

    @web.authenticated
    async def post(self) -> None:
        spawner = self._own_spawner()
        try:
            ends = _parse_end(self.get_body_argument("ends_at", ""))
            deadline, choices = await extend(spawner, spawner.deadlines, ends, self.current_user.name)
        except Refusal as refusal:
            await self._show(spawner, refusal=refusal)
        else:
            await self._show(spawner, deadline, choices, is_extended=True)

    def _own_spawner(self) -> Any:
        user, name = self.current_user, self.get_argument("server", "")
        if name not in getattr(user, "orm_spawners", {}):
            raise web.HTTPError(404, gettext("You have no server with this name."))
        return user.spawners[name]

    async def _show(
        self,
        spawner: Any,
        deadline: Deadline | None = None,
        choices: tuple[datetime, ...] = (),
        *,
        refusal: Refusal | None = None,
        is_extended: bool = False,
    ) -> None:
        zone = spawner.shared.site.time_zone
        if refusal is not None:
            self.set_status(refusal.status)
        self.set_header("Cache-Control", "no-store")
        self.finish(
            await self.render_template(
                "research_wall_time.html",
                extend_path=spawner.extend_path,
                server=spawner.name,
                refusal=refusal,
                refusal_parts=[] if refusal is None else sentence_parts(refusal.message),
                is_extended=is_extended,
                ends_at=deadline and format_time(deadline.ends),
                ends=deadline and shown_time(deadline.ends, zone),
                hard_ends_at=deadline and format_time(deadline.hard_ends),
                hard_ends=deadline and shown_time(deadline.hard_ends, zone),
                choices=[
                    {
                        "ends_at": format_time(choice),
                        "time": shown_time(choice, zone),
                        "more": format_duration(choice - deadline.ends),
                    }
                    for choice in choices
                    if deadline is not None
                ],
            )
        )


class WallTimeApiHandler(APIHandler):  # type: ignore[misc]
    """GET: when a server ends (scope read:servers). POST: extend it (scope servers). Both only for a running server."""

    @needs_scope("read:servers")  # type: ignore[untyped-decorator]
    async def get(self, user_name: str, server_name: str = "") -> None:
        spawner = self._spawner(user_name, server_name)
        try:
            deadline, choices = await read_deadline(spawner, spawner.deadlines)
        except Refusal as refusal:
            self._refuse(refusal)
        else:
            self._answer(deadline, choices)

    @needs_scope("servers")  # type: ignore[untyped-decorator]
    async def post(self, user_name: str, server_name: str = "") -> None:
        spawner = self._spawner(user_name, server_name)
        try:
            ends = _asked_end(self.request.body)
            deadline, choices = await extend(spawner, spawner.deadlines, ends, self.current_user.name)
        except Refusal as refusal:
            self._refuse(refusal)
        else:
            self._answer(deadline, choices)

    def _spawner(self, user_name: str, server_name: str) -> Any:
        user = self.find_user(user_name)
        if user is None or server_name not in user.orm_spawners:
            raise web.HTTPError(404, "No such server, or the token lacks the scope for it.")
        return user.spawners[server_name]

    def _answer(self, deadline: Deadline, choices: tuple[datetime, ...]) -> None:
        self.set_header("Cache-Control", "no-store")
        self.write(
            json.dumps(
                {
                    "started_at": format_time(deadline.started),
                    "ends_at": format_time(deadline.ends),
                    "hard_ends_at": format_time(deadline.hard_ends),
                    "can_extend_to": [format_time(choice) for choice in choices],
                }
            )
        )

    def _refuse(self, refusal: Refusal) -> None:
        self.set_status(refusal.status)
        if refusal.retry_after is not None:
            self.set_header("Retry-After", str(refusal.retry_after))
        self.write(json.dumps({"status": refusal.status, "message": str(refusal), "error": refusal.as_dict()}))


def _asked_end(body: bytes) -> datetime | None:
    """Return `ends_at` of the JSON body; None if the body is empty or has no such key. Raises Refusal."""
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        found = None
    if not isinstance(found, dict) or set(found) - {"ends_at"}:
        raise Refusal(
            "invalid",
            "The body must be empty, or a JSON object with the key ends_at.",
            field="ends_at",
            hint='Write it as in {"ends_at": "2026-11-29T16:00:00Z"}.',
        )
    return None if found.get("ends_at") is None else _parse_end(found["ends_at"])


def _parse_end(written: object) -> datetime:
    """Return a time that a user has sent. Raises Refusal."""
    try:
        found = parse_time(written) if isinstance(written, str) and len(written) <= 40 else None
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Refusal(
            "invalid",
            gettext("The new end is not a valid time."),
            field="ends_at",
            hint=gettext("Write it with its offset from UTC, as in 2026-11-29T16:00:00Z."),
        )
    return found


HANDLERS = (
    (rf"/{PAGE}", WallTimeHandler),
    (r"/api/research-spawner/users/([^/]+)/server/wall-time", WallTimeApiHandler),
    (r"/api/research-spawner/users/([^/]+)/servers/([^/]+)/wall-time", WallTimeApiHandler),
)
