"""The buttons of the hub's pages: cancel a start, stop a server, start it again, delete it, and add one.

JupyterHub's own buttons need JavaScript.  These are posts of forms, which JupyterHub protects with its XSRF token.
Written for JupyterHub 5.3 to 6.1; `stop_single_user` and `spawn_single_user` are those of its own handlers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import jupyterhub
from jupyterhub.handlers import BaseHandler
from jupyterhub.handlers.pages import SpawnHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import maybe_future, url_escape_path, url_path_join
from tornado import web
from tornado.httputil import url_concat

from ..texts import gettext, gettext_noop
from .end_pages import shown_name
from .hub_errors import HubRefusal
from .page_messages import keep_message
from .resume import end_resume
from .server_rows import name_of_other

PREFIX = "research-spawner/servers"
# How long a cancelled start can take until it ends, and how long a start can take until the next page is shown.
CANCEL_SECONDS, START_SECONDS = 10.0, 1.0
MAX_NAME = 100


class _ServerHandler(BaseHandler):  # type: ignore[misc]
    """A post about one server: `/research-spawner/servers/USER/ACTION/SERVER`; the default server has no name there."""

    @web.authenticated
    async def post(self, user_name: str, server_name: str = "") -> None:
        message = await self._act(user_name=user_name, server_name=server_name or "")
        if not self.get_argument("next", ""):  # only the home page shows it
            keep_message(self.current_user, message)
        # JupyterHub checks that the argument `next` is a page of this hub.
        home = url_path_join(self.hub.base_url, "home")
        self.redirect(self.get_next_url(self.current_user, default=home), status=303)

    async def _act(self, user_name: str, server_name: str) -> str:
        """Do what the button says, and return a sentence for the user."""
        raise NotImplementedError

    def _find_user(self, user_name: str, server_name: str) -> Any:
        user = self.find_user(user_name)
        if user is None or server_name not in ("", *user.orm_spawners):
            raise web.HTTPError(404, gettext("There is no server with this name."))
        return user

    def _about(self, user: Any, server_name: str, named: str, default: str, theirs: str) -> str:
        """Return a text about a server in the site's language.

        named: about one's own server with a name.  default: about one's own default server.  theirs: about a server of
        another user.
        """
        if other := name_of_other(self.current_user, user, server_name):
            return gettext(theirs, server=other)
        return gettext(named, name=shown_name(user, server_name)) if server_name else gettext(default)


class CancelHandler(_ServerHandler):
    """Cancel a start.  A server that has become ready meanwhile goes on."""

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]
    async def _act(self, user_name: str, server_name: str) -> str:
        user = self._find_user(user_name, server_name)
        spawner = user.spawners[server_name]
        is_resuming = end_resume(spawner, spawner.shared)
        if spawner.pending == "spawn":
            spawner.is_cancelled = True
            if (starting := spawner._spawn_future) is not None:
                starting.cancel()
                await asyncio.wait([starting], timeout=CANCEL_SECONDS)
            if spawner.pending == "spawn":
                spawner.is_cancelled = False
                return self._about(
                    user,
                    server_name,
                    gettext_noop(
                        "The start of your server %(name)s could not be cancelled yet. Try again in a minute."
                    ),
                    gettext_noop("The start of your server could not be cancelled yet. Try again in a minute."),
                    gettext_noop("The start of %(server)s could not be cancelled yet. Try again in a minute."),
                )
            if not spawner.pending:
                await self.stop_single_user(user, server_name)
            if spawner._stop_pending:
                return self._about(
                    user,
                    server_name,
                    gettext_noop("The start of your server %(name)s is being cancelled."),
                    gettext_noop("The start of your server is being cancelled."),
                    gettext_noop("The start of %(server)s is being cancelled."),
                )
            return self._was_cancelled(user, server_name)
        if spawner.ready:
            return self._about(
                user,
                server_name,
                gettext_noop("The start was not cancelled, because your server %(name)s is already running."),
                gettext_noop("The start was not cancelled, because your server is already running."),
                gettext_noop("The start was not cancelled, because %(server)s is already running."),
            )
        if is_resuming:
            return self._was_cancelled(user, server_name)
        return self._about(
            user,
            server_name,
            gettext_noop("The start of your server %(name)s is over already."),
            gettext_noop("The start of your server is over already."),
            gettext_noop("The start of %(server)s is over already."),
        )

    def _was_cancelled(self, user: Any, server_name: str) -> str:
        return self._about(
            user,
            server_name,
            gettext_noop("The start of your server %(name)s was cancelled."),
            gettext_noop("The start of your server was cancelled."),
            gettext_noop("The start of %(server)s was cancelled."),
        )


class StopHandler(_ServerHandler):
    """Stop a running server."""

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]
    async def _act(self, user_name: str, server_name: str) -> str:
        user = self._find_user(user_name, server_name)
        spawner = user.spawners[server_name]
        if spawner.ready and await spawner.poll_and_notify() is None and not spawner.pending:
            await self.stop_single_user(user, server_name)
            if spawner._stop_pending:
                return self._about(
                    user,
                    server_name,
                    gettext_noop("Your server %(name)s is being stopped."),
                    gettext_noop("Your server is being stopped."),
                    gettext_noop("%(server)s is being stopped."),
                )
            return self._about(
                user,
                server_name,
                gettext_noop("Your server %(name)s was stopped."),
                gettext_noop("Your server was stopped."),
                gettext_noop("%(server)s was stopped."),
            )
        return self._about(
            user,
            server_name,
            gettext_noop("Your server %(name)s is not running."),
            gettext_noop("Your server is not running."),
            gettext_noop("%(server)s is not running."),
        )


class DeleteHandler(_ServerHandler):
    """Delete a named server that does not run, with the options that the hub has kept."""

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]
    async def _act(self, user_name: str, server_name: str) -> str:
        user = self._find_user(user_name, server_name)
        if not server_name:
            raise web.HTTPError(400, gettext("The default server cannot be deleted."))
        spawner = user.spawners[server_name]
        if spawner.active:
            return self._about(
                user,
                server_name,
                gettext_noop("Your server %(name)s was not deleted, because it is active. Stop it first."),
                "",
                gettext_noop("%(server)s was not deleted, because it is active. Stop it first."),
            )
        # As the DELETE request of JupyterHub's REST API does it.
        await maybe_future(user._delete_spawner(spawner))
        self.db.delete(spawner.orm_spawner)
        user.spawners.pop(server_name, None)
        self.db.commit()
        return self._about(
            user,
            server_name,
            gettext_noop("Your server %(name)s was deleted."),
            "",
            gettext_noop("%(server)s was deleted."),
        )


class StartAgainHandler(SpawnHandler):  # type: ignore[misc]
    """Start a server with the options of its last start, also if they were refused."""

    @web.authenticated
    async def post(self, user_name: str, server_name: str = "") -> None:
        await self._start_again(user_name=user_name, server_name=server_name or "")

    @needs_scope("servers")  # type: ignore[untyped-decorator]
    async def _start_again(self, user_name: str, server_name: str) -> None:
        user = self.find_user(user_name)
        if user is None or server_name not in user.orm_spawners:
            raise web.HTTPError(404, gettext("There is no server with this name."))
        await self._check_name(user, server_name)
        spawner = user.spawners[server_name]
        if spawner.active:
            self.redirect(self._get_pending_url(user, server_name), status=303)
            return
        # The hub does not keep the options of a refused start.
        options = spawner.asked_options or spawner.orm_spawner.user_options
        if not isinstance(options, dict) or not options:
            form = url_path_join(self.hub.base_url, "spawn", user.escaped_name, url_escape_path(server_name))
            next_url = self.get_argument("next", "")
            self.redirect(url_concat(form, {"next": next_url}) if next_url else form, status=303)
            return
        if spawner._spawn_future is not None and spawner._spawn_future.done():
            spawner._spawn_future = None  # as JupyterHub's own handler does for an explicit start
        start = asyncio.ensure_future(self.spawn_single_user(user, server_name, options=options))
        await asyncio.wait([start], timeout=START_SECONDS)
        if start.done() and (error := start.exception()) is not None and not isinstance(error, HubRefusal):
            raise error
        # The page of the start says why it was refused or has failed.
        self.redirect(self._get_pending_url(user, server_name), status=303)

    async def _check_name(self, user: Any, server_name: str) -> None:
        if server_name and not self.allow_named_servers:
            raise web.HTTPError(400, gettext("Named servers are not enabled."))
        check: Callable[..., Any] | None = getattr(self, "_check_named_server_request", None)  # JupyterHub 6
        if server_name and check is not None:
            await check(user, server_name, server_name)


class NewServerHandler(BaseHandler):  # type: ignore[misc]
    """GET with a name: show the options form of a named server.  It exists when its first start is posted."""

    @web.authenticated
    async def get(self) -> None:
        user, shown = self.current_user, " ".join(self.get_argument("name", "").split())
        if not shown or len(shown) > MAX_NAME or "/" in shown or not shown.isprintable():
            told = gettext("A server's name must have 1 to %(limit)s characters, and no slash.", limit=MAX_NAME)
            keep_message(user, told)
            self.redirect(url_path_join(self.hub.base_url, "home"))
            return
        name = server_name_of(shown)
        form = url_path_join(self.hub.base_url, "spawn", user.escaped_name, url_escape_path(name))
        self.redirect(form if name == shown else url_concat(form, {"display_name": shown}))


def server_name_of(shown: str) -> str:
    """Return the name of the server that is shown with this name.  JupyterHub 6 accepts only slugs."""
    if jupyterhub.version_info[0] < 6:
        return shown
    from jupyterhub.slugs import safe_slug  # noqa: PLC0415 - JupyterHub 5 does not have it

    return str(safe_slug(shown, avoid_collisions=False))


def _both(action: str, handler: type[BaseHandler]) -> tuple[tuple[str, type[BaseHandler]], ...]:
    return (
        (rf"/{PREFIX}/([^/]+)/{action}", handler),
        (rf"/{PREFIX}/([^/]+)/{action}/([^/]+)", handler),
    )


HANDLERS = (
    *_both("cancel", CancelHandler),
    *_both("stop", StopHandler),
    *_both("delete", DeleteHandler),
    *_both("start-again", StartAgainHandler),
    (r"/research-spawner/new-server", NewServerHandler),
)
