"""A user of JupyterHub without a hub: the hub's own User, in a database in memory.

Hooks can read the same attributes as in the hub: `admin`, `groups`, `get_auth_state()`, `userdict` and others.  The
user has the groups and the admin right of the hub's configuration.  There is no auth state, because there was no login.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jupyterhub import orm
from jupyterhub.auth import Authenticator
from jupyterhub.objects import Hub, Server
from jupyterhub.user import User
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import Application, RequestHandler
from traitlets.config import Config

from .research import ResearchSpawner


class OfflineUser(User):  # type: ignore[misc]
    """The hub's User, which remembers whether a hook has asked for the auth state."""

    asked_for_auth_state = False

    async def get_auth_state(self) -> Any:
        self.asked_for_auth_state = True
        return await super().get_auth_state()


class _Connection:
    """What tornado's RequestHandler requires of a connection."""

    def set_close_callback(self, _: Any) -> None:
        return


def offline_user(name: str, config: Config) -> OfflineUser:
    """Return a user with this name, as a hub with this configuration has it after the first login."""
    # The hub's own function for this also runs alembic, which takes seconds.
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    orm.Base.metadata.create_all(engine)
    db = Session(engine, expire_on_commit=False)
    record = orm.User(name=name, admin=name in _admins(config))
    db.add(record)
    for group in _groups_of(name, config):
        record.groups.append(orm.Group(name=group))
    db.commit()
    section = config.JupyterHub if "JupyterHub" in config else {}
    # The hub's addresses, as the Zero to JupyterHub chart sets them.
    base_url = section.get("base_url", "/") if isinstance(section.get("base_url", "/"), str) else "/"
    base_url = f"/{base_url.strip('/')}/".replace("//", "/")
    hub = Hub(ip="hub", port=8081, base_url=f"{base_url}hub/")
    settings = {
        "authenticator": Authenticator(config=config),
        "base_url": base_url,
        "config": config,
        "domain": "",
        "hub": hub,
        "spawner_class": ResearchSpawner,
    }
    return OfflineUser(record, settings, db)


def offline_spawner(
    user: OfflineUser, server: str, spawner_class: type[ResearchSpawner], **traits: Any
) -> ResearchSpawner:
    """Return the spawner of one of the user's servers, in the state that it has when the hub starts the server."""
    if server not in user.orm_spawners:
        record = orm.Spawner(name=server)
        user.db.add(record)
        record.user = user.orm_user
        user.db.commit()
    spawner: ResearchSpawner = user._new_spawner(server, spawner_class, **traits)
    user.spawners[server] = spawner
    orm_server = orm.Server(base_url=user.server_url(server))
    user.db.add(orm_server)
    user.db.commit()
    spawner.server = Server(orm_server=orm_server)
    spawner.handler = _handler(user)
    spawner.clear_state()
    return spawner


def _handler(user: OfflineUser) -> RequestHandler:
    """Return the handler of a request without arguments."""
    line = RequestStartLine("POST", f"/hub/api/users/{user.escaped_name}/server", "HTTP/1.1")
    request = HTTPServerRequest(start_line=line, headers=HTTPHeaders({"Host": "hub"}))
    request.connection = _Connection()  # type: ignore[assignment]
    handler = RequestHandler(Application(), request)
    handler.current_user = user
    return handler


def _admins(config: Config) -> set[str]:
    """Return the names in `admin_users` of all authenticators in the configuration."""
    found: set[str] = set()
    for section in config.values():
        names = section.get("admin_users") if isinstance(section, Config) else None
        if isinstance(names, (set, list, tuple, frozenset)):
            found |= {str(name) for name in names}
    return found


def _groups_of(name: str, config: Config) -> Iterable[str]:
    """Return the groups of `c.JupyterHub.load_groups` that have this user."""
    groups = config.JupyterHub.get("load_groups") if "JupyterHub" in config else None
    if not isinstance(groups, Mapping):
        return []
    return [
        str(group)
        for group, members in groups.items()
        if name in (members.get("users", ()) if isinstance(members, Mapping) else members or ())
    ]
