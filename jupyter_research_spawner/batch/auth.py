"""Who asks: the hub says so, for a token or a browser's cookie.  Contract: jupyterhub.services.auth, 5.3 to 6."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Iterable
from typing import Any

from jupyterhub.services.auth import HubOAuth
from tornado.web import HTTPError, RequestHandler

from ..refusal import Refusal

log = logging.getLogger(__name__)

HUB_SECONDS = 10.0
# A revoked token works as long as this.
CACHE_SECONDS = 30


class HubAuth:
    """Lets in people whose token has one of `scopes`: no service, and no token that only says whose it is."""

    def __init__(self, hub_auth: HubOAuth, scopes: Iterable[str]) -> None:
        """Raises ValueError without scopes: the hub's own default would then let in every token there is."""
        self.scopes = frozenset(scopes)
        if not self.scopes:
            raise ValueError("the batch service has no access scopes, so any token of the hub would open it")
        self.hub_auth = hub_auth
        # The hub's login page asks for these.
        hub_auth.access_scopes = set(self.scopes)

    async def hub_user(self, handler: RequestHandler) -> str:
        """The hub's name of the person.  Raises Refusal: 401, 403, 503 (the hub does not answer).

        A cookie without the page's _xsrf token is nobody's, but for reading: a browser sends cookies along with what
        another site made it send.
        """
        try:
            model: Any = await asyncio.wait_for(self.hub_auth.get_user(handler, sync=False), HUB_SECONDS)
        except (HTTPError, asyncio.TimeoutError, OSError, ValueError) as error:
            log.error("The hub was asked who it is and did not say: %r", error)
            raise _hub_down() from error
        if not isinstance(model, dict) or not model.get("name"):
            raise _nobody()
        if model.get("kind", "user") != "user":
            raise _no("Jobs are submitted by people, and this token is a service's.", "Use the token of a person.")
        # A hub that names no scopes is none that we know.
        if not self.hub_auth.check_scopes(set(self.scopes), {"scopes": model.get("scopes") or ()}):
            log.warning("The token of %r has none of %s", model["name"], sorted(self.scopes))
            raise _no(
                "This token does not open the batch service.",
                "The token of a running notebook does; restart your server to get a new one.",
            )
        return str(model["name"])


def open_hub_auth(service: str, api_url: str, api_token: str, prefix: str) -> HubAuth:
    """`service` is the hub's name for this service; people need the right to it: access:services!service=NAME."""
    hub_auth = HubOAuth(
        api_url=api_url,
        api_token=api_token,
        base_url=prefix,
        cache_max_age=CACHE_SECONDS,
        oauth_client_id=f"service-{service}",
        # Addresses are logged.
        allow_token_in_url=False,
    )
    return HubAuth(hub_auth, {f"access:services!service={service}"} if service else ())


def cookie_secret(api_token: str) -> bytes:
    """The same after a restart and in a second service, and known to the hub's own administrators only."""
    return hmac.new(api_token.encode(), b"cookies of the batch service", hashlib.sha256).digest()


def _no(message: str, hint: str) -> Refusal:
    return Refusal("forbidden", message, hint=hint, status=403)


# New ones each time: an exception that is raised once more keeps the frames of every time before, and their requests.


def _nobody() -> Refusal:
    return Refusal(
        "unauthorized",
        "The hub does not know who you are.",
        hint="Send the header `Authorization: token ...` with the token of your notebook ($JUPYTERHUB_API_TOKEN).",
        status=401,
    )


def _hub_down() -> Refusal:
    return Refusal(
        "hub-down",
        "The hub does not answer at the moment.",
        hint="Try again in a minute.",
        status=503,
        retry_after=10,
    )
