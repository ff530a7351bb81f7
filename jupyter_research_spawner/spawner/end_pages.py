"""Shows the recorded ends on the hub's pages and in its REST API.

Written for JupyterHub 5.3 to 6.1. JupyterHub logs that `extra_handlers` is deprecated, but a service cannot read what
the hub's database keeps about a server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from jupyterhub.apihandlers import APIHandler
from jupyterhub.handlers import BaseHandler
from jupyterhub.utils import url_path_join
from tornado import web

from ..shape import Json
from ..texts import gettext
from ..watch.pod_end import End
from .page_times import describe_time
from .recorded_ends import ORDINARY, dismiss, read_ends, save_ends, shown_end

READ_SCOPE = "read:servers"


def ends_to_show(user: Any, time_zone: tzinfo) -> list[Json]:
    """Return what the pages show about the ends of this user's servers. `user` is None if nobody has logged in."""
    if user is None or not hasattr(user, "orm_spawners"):
        return []
    found = ((name, shown_end(read_ends(server.state))) for name, server in sorted(user.orm_spawners.items()))
    return [describe_end(user, name, end, time_zone) for name, end in found if end is not None]


def shown_name(user: Any, server: str) -> str:
    """Return the name of a server as its user has written it.  JupyterHub 5 has only the name in addresses."""
    return str(getattr(user.orm_spawners.get(server), "display_name", None) or server)


def describe_end(user: Any, server: str, end: End, time_zone: tzinfo) -> Json:
    """Return what the templates need to show the end of a server."""
    return {
        "server": server,
        "shown_name": shown_name(user, server),
        "is_ordinary": end.code in ORDINARY,
        "continues": end.continues,
        "message": end.message,
        "hint": end.hint,
        "at": end.at,
        "time": describe_time(end.at, time_zone),
    }


@dataclass(frozen=True)
class TemplateEnds:
    """The value of `research_ends` in the hub's templates. JupyterHub calls it with the user of each page."""

    time_zone: str

    def __call__(self, user: Any) -> list[Json]:
        return ends_to_show(user, ZoneInfo(self.time_zone))


class EndsHandler(APIHandler):  # type: ignore[misc]
    """GET: the ends of a user's servers, oldest first, for a token with the scope read:servers for them."""

    async def get(self, user_name: str) -> None:
        if self.current_user is None:
            raise web.HTTPError(403, "Missing or invalid credentials.")
        may_read, user = self.get_scope_filter(READ_SCOPE), self.find_user(user_name)
        servers: Mapping[str, Any] = {} if user is None else user.orm_spawners
        readable = {name: server for name, server in servers.items() if may_read(server, kind="server")}
        if user is None or not (readable or may_read(user.orm_user, kind="user")):
            # As JupyterHub does, so that the names of users remain unknown.
            raise web.HTTPError(404, "No such user, or the token lacks the scope read:servers for this user's servers.")
        ends = [
            {"server": name, **found.end.as_json(), "dismissed": found.is_dismissed}
            for name, server in readable.items()
            for found in read_ends(server.state)
        ]
        self.set_header("Cache-Control", "no-store")
        self.write(json.dumps({"ends": sorted(ends, key=lambda end: str(end["at"]))}))


class DismissHandler(BaseHandler):  # type: ignore[misc]
    """POST of the form on the pages: do not show the end of one's own server any more."""

    @web.authenticated
    async def post(self) -> None:
        user, name = self.current_user, self.get_body_argument("server", "")
        server = getattr(user, "orm_spawners", {}).get(name)
        if server is None:
            raise web.HTTPError(404, gettext("You have no server with this name."))
        ends = dismiss(read_ends(server.state))
        if (running := user.spawners.get(name)) is not None:
            running.end_recorder.ends = ends
        save_ends(server, ends)
        self.db.commit()
        # JupyterHub checks that the argument `next` is a page of this hub.
        self.redirect(self.get_next_url(user, default=url_path_join(self.hub.base_url, "home")))


HANDLERS = (
    (r"/api/research-spawner/users/([^/]+)/ends", EndsHandler),
    (r"/research-spawner/dismiss-end", DismissHandler),
)
