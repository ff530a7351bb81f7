"""Configure the hub for the batch service: the entry in `services`, the service's role, and the scopes of users.

Written for the RBAC of JupyterHub 5.3 to 6.1.  The service may only read user names, and with the token of
a user who has logged in, this user's servers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jupyterhub
from traitlets.config import Config

from ..settings import SettingsError
from ..site import Site
from .traits import SECTIONS, add_items, items, plain, section_of

SERVICE = "batch"
ACCESS = f"access:services!service={SERVICE}"
ROLE = "research-batch"
SERVICE_SCOPES = ["list:users", "read:users:name", "read:users:groups"]
# What the service may do with the token that a browser gets when its user logs in, besides access to the service.
PAGE_SCOPES = ["read:servers!user"]
# The default scopes of a server's token (JupyterHub's role `server`).  A list in server_token_scopes replaces them.
SERVER_SCOPES = ["users:activity!user", "access:servers!server"]
MANAGED_URL = "http://127.0.0.1:8090"


def configure(c: Config, site: Site, managed_entry: dict[str, Any] | None, sections: Sequence[str] = SECTIONS) -> None:
    """Configure the role and scopes of the batch service, if the hub has one.

    Raises SettingsError if `batch.url` is set but the hub has no such service.
    """
    entry = next((found for found in items(c.JupyterHub, "services") if found.get("name") == SERVICE), None)
    if entry is None and managed_entry is not None:
        entry = managed_entry
        c.JupyterHub.services.append(entry)
    if entry is None:
        if site.batch.url is not None:
            raise SettingsError.single(
                "c.JupyterHub.services",
                f"has no service named {SERVICE!r}, but batch.url in the settings is {site.batch.url}. Add the service "
                f"(in the chart: hub.services.{SERVICE}: {{url: ..., apiToken: ...}}), or remove batch.url",
            )
        return
    entry.setdefault("oauth_no_confirm", True)
    # The page "My work" shows users their own servers.
    entry.setdefault("oauth_client_allowed_scopes", list(PAGE_SCOPES))
    _let_service_read(c)
    _let_people_in(c)
    _let_notebooks_in(c, sections)


def managed(parts: object, base: Path, more: bool | Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry in `services` for a batch service that the hub starts as a separate process.

    Raises SettingsError if the settings are not files, because the process could not read them.
    """
    files = list(parts) if isinstance(parts, tuple) else []
    if not files or not all(isinstance(part, (str, Path)) for part in files):
        raise SettingsError.single(
            "managed_batch",
            "requires settings in YAML files, because the batch service is a separate process that reads them",
        )
    sites = [word for file in files for word in ("--site", str(Path(file).absolute()))]
    # The hub does not pass its own environment to a managed service.
    environment = {name: os.environ[name] for name in ("KUBECONFIG",) if name in os.environ}
    entry = {
        "name": SERVICE,
        "url": MANAGED_URL,
        "command": [sys.executable, "-m", "jupyter_research_spawner.batch", *sites],
        "cwd": str(base.absolute()),
        "environment": environment,
        "oauth_no_confirm": True,
    }
    if not isinstance(more, Mapping):
        return entry
    return {**entry, **more, "environment": {**environment, **more.get("environment", {})}}


def _role(c: Config, name: str) -> dict[str, Any] | None:
    """Return the entry of a role in load_roles, or None.  The hub allows one entry per role."""
    return next((role for role in items(c.JupyterHub, "load_roles") if role.get("name") == name), None)


def _let_service_read(c: Config) -> None:
    if _role(c, ROLE) is None:
        role = {"name": ROLE, "description": "The batch service", "services": [SERVICE], "scopes": SERVICE_SCOPES}
        add_items(c.JupyterHub, "load_roles", [role])


def _let_people_in(c: Config) -> None:
    """Give users the scope that allows access to the service.

    JupyterHub 6 has the option extra_user_scopes, but ignores it if load_roles defines the role `user`.
    """
    role = _role(c, "user")
    if role is None and int(jupyterhub.__version__.split(".")[0]) >= 6:
        c.JupyterHub.extra_user_scopes.update({ACCESS})
        return
    if role is None:
        role = {"name": "user", "scopes": ["self"]}
        add_items(c.JupyterHub, "load_roles", [role])
    scopes = role.setdefault("scopes", ["self"])
    if ACCESS not in scopes:
        role["scopes"] = [*scopes, ACCESS]


def _let_notebooks_in(c: Config, sections: Sequence[str]) -> None:
    section = section_of(c, "server_token_scopes", sections)
    before = plain(c[section].server_token_scopes) if section else None
    if callable(before):
        c[sections[0]].server_token_scopes = _WithAccess.over(before)
        return
    present = list(before or SERVER_SCOPES)
    c[sections[0]].server_token_scopes = [*present, *({ACCESS} - set(present))]


class _WithAccess:
    """Wraps the function that is set as server_token_scopes, and adds the scope of the batch service to its result.

    A function is not wrapped twice, although `configure` can be called twice.
    """

    def __init__(self, function: Any) -> None:
        self.function = function

    @classmethod
    def over(cls, function: Any) -> Any:
        return function if isinstance(function, cls) else cls(function)

    def __call__(self, spawner: Any) -> Any:
        scopes = self.function(spawner)
        if hasattr(scopes, "__await__"):
            return self._later(scopes)
        return [*(scopes or SERVER_SCOPES), ACCESS]

    @staticmethod
    async def _later(scopes: Any) -> list[str]:
        return [*((await scopes) or SERVER_SCOPES), ACCESS]
