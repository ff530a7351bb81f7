"""The login of a trial: whoever has the key that the terminal shows chooses a user.  No part of the product uses it."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.handlers.login import LoginHandler
from traitlets import List, Unicode
from traitlets.config import Config

COOKIE = "research-spawner-try"


class ChosenUser(Authenticator):  # type: ignore[misc]
    """Accepts the name of a user of the trial together with the key of the trial."""

    users = List(Unicode(), config=True, help="Names of the users who can be chosen.")
    key = Unicode(config=True, help="The key, without which nobody can log in.")

    async def authenticate(self, handler: Any, data: dict[str, str]) -> str | None:
        """Return the name if it is a user's and the key is right."""
        name = data.get("username", "")
        return name if self.is_key(data.get("password", "")) and name in self.users else None

    def normalize_username(self, username: str) -> str:
        """Return the name as it is in the list."""
        return username

    def is_key(self, text: str) -> bool:
        """Return whether the text is the key.  An empty key is never right."""
        return bool(self.key) and hmac.compare_digest(text.encode(), self.key.encode())

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """Return the handler of the login page."""
        return [("/login", ChoiceHandler)]


class ChoiceHandler(LoginHandler):  # type: ignore[misc]
    """The login page: a list of the users, for a browser that has opened the address with the key once."""

    def _render(self, *args: Any, **kwargs: Any) -> Any:
        return super()._render(*args, **kwargs, trial_key=self._key())

    def _key(self) -> str:
        for text in (self.get_argument("key", ""), self.get_cookie(COOKIE, "")):
            if self.authenticator.is_key(text):
                self.set_cookie(COOKIE, text, path=self.hub.base_url, httponly=True, samesite="Strict")
                return str(text)
        return ""


def configure(c: Config, users: Sequence[dict[str, Any]], key: str) -> None:
    """Let the hub use this login."""
    c.JupyterHub.authenticator_class = ChosenUser
    c.ChosenUser.users = [user["name"] for user in users]
    c.ChosenUser.key = key
    c.ChosenUser.allow_all = True
