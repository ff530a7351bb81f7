"""Authenticate requests: ask the hub which user a token or cookie belongs to.

Written for jupyterhub.services.auth of JupyterHub 5.3 to 6."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import math
import time
from collections.abc import Awaitable, Iterable
from typing import Any

from jupyterhub.services.auth import HubOAuth
from jupyterhub.utils import make_ssl_context
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.web import HTTPError, RequestHandler

from ..refusal import Refusal

log = logging.getLogger(__name__)

HUB_SECONDS = 10.0
# A revoked token can still be used for this long.
CACHE_SECONDS = 10
METRICS_SCOPE = "read:metrics"
# The hub is asked again after this time whether it serves its metrics to everybody.
METRICS_RULE_SECONDS = 60.0


class HubAuth:
    """Accepts users' tokens that have one of `scopes`.  Refuses services' tokens and tokens without such a scope."""

    def __init__(self, hub_auth: HubOAuth, scopes: Iterable[str]) -> None:
        """Raises ValueError if `scopes` is empty, because HubOAuth would then accept every token of the hub."""
        self.scopes = frozenset(scopes)
        if not self.scopes:
            raise ValueError("the batch service has no access scopes, so it would accept any token of the hub")
        self.hub_auth = hub_auth
        self._are_metrics_public = False
        self._asked_about_metrics = -math.inf
        # HubOAuth requests these scopes when a browser logs in.
        hub_auth.access_scopes = set(self.scopes)

    async def hub_user(self, handler: RequestHandler) -> str:
        """Return the user's name in the hub.  Raises Refusal: 401, 403, 503 (the hub does not answer).

        A cookie without an _xsrf token is accepted only for reading, because a browser also sends cookies with requests
        that another site triggers.
        """
        return str((await self.user_model(handler))["name"])

    async def user_model(self, handler: RequestHandler) -> dict[str, Any]:
        """Return what the hub says about the user, with the scopes of the request's token.  Raises as `hub_user`."""
        return self._checked(await self._model(handler))

    def _checked(self, model: dict[str, Any]) -> dict[str, Any]:
        """Return what the hub says about a user.  Raises Refusal (403) for a service, or without the scope."""
        if model.get("kind", "user") != "user":
            raise _forbidden(
                "This is the token of a service, but only users can submit jobs.", "Use the token of a user."
            )
        # A hub that sends no scopes is older than JupyterHub 2 and is not supported.
        if not self.hub_auth.check_scopes(set(self.scopes), {"scopes": model.get("scopes") or ()}):
            log.warning("The token of %r has none of %s", model["name"], sorted(self.scopes))
            raise _forbidden(
                "This token does not give access to the batch service.",
                "Use the token of a running notebook. Restart your server to get a new token.",
            )
        return model

    async def renewed_model(self, handler: RequestHandler) -> dict[str, Any]:
        """Return what the hub says now about the user of a request that lasts long.  Raises as `hub_user`."""
        auth = self.hub_auth
        token, session = auth.get_token(handler), auth.get_session_id(handler)
        return self._checked(await self._ask(auth.user_for_token(token or "", session_id=session, sync=False)))

    async def require_metrics_scope(self, handler: RequestHandler) -> None:
        """Raise Refusal unless the request may read the hub's own metrics.

        It needs a token of a user or service with the scope of /hub/metrics.  If the hub serves its metrics to
        everybody (`c.JupyterHub.authenticate_prometheus = False`), the service does too.
        """
        try:
            model = await self._model(handler)
            if not self.hub_auth.check_scopes({METRICS_SCOPE}, {"scopes": model.get("scopes") or ()}):
                raise _forbidden(
                    f"This token does not have the scope {METRICS_SCOPE}.",
                    "Use a token that can read the hub's metrics.",
                )
        except Refusal as refusal:
            if refusal.status not in (401, 403) or not await self._serves_metrics_to_everybody():
                raise

    async def _serves_metrics_to_everybody(self) -> bool:
        """Return whether the hub answers a request for its metrics that has no token."""
        if time.monotonic() >= self._asked_about_metrics + METRICS_RULE_SECONDS:
            auth = self.hub_auth
            tls = make_ssl_context(auth.keyfile, auth.certfile, cafile=auth.client_ca) if auth.certfile else None
            url = f"{auth.api_url.rstrip('/')}/metrics"
            try:
                answer = await AsyncHTTPClient().fetch(
                    url, raise_error=False, follow_redirects=False, request_timeout=HUB_SECONDS, ssl_options=tls
                )
            except (HTTPError, HTTPClientError, OSError) as error:
                log.error("The hub does not say who may read its metrics: %r", error)
                raise _hub_down() from error
            if answer.code >= 500:
                raise _hub_down()
            self._are_metrics_public, self._asked_about_metrics = answer.code == 200, time.monotonic()
        return self._are_metrics_public

    async def _model(self, handler: RequestHandler) -> dict[str, Any]:
        """Return what the hub says about the token or cookie of a request.  Raises Refusal."""
        if _comes_from_a_script(handler):
            raise _unauthorized()
        return await self._ask(self.hub_auth.get_user(handler, sync=False))

    async def _ask(self, question: Awaitable[Any]) -> dict[str, Any]:
        """Return the hub's answer about the owner of a token.  Raises Refusal."""
        try:
            model: Any = await asyncio.wait_for(question, HUB_SECONDS)
        except (HTTPError, asyncio.TimeoutError, OSError, ValueError) as error:
            log.error("The hub did not authenticate the request: %r", error)
            raise _hub_down() from error
        if not isinstance(model, dict) or not model.get("name"):
            raise _unauthorized()
        return model


def _comes_from_a_script(handler: RequestHandler) -> bool:
    """Return whether a page's script sent the request in the mode no-cors, without a token.

    JupyterHub does not ask for the XSRF token in this mode (_needs_check_xsrf), but a page of the same origin can read
    the response (Fetch, section 3.2), and a page of another user's notebook can have the same origin.
    """
    headers = handler.request.headers
    return headers.get("Sec-Fetch-Mode") == "no-cors" and "Authorization" not in headers


def open_hub_auth(service: str, api_url: str, api_token: str, prefix: str) -> HubAuth:
    """Return the authentication of the service with this name in the hub.

    Users need the scope access:services!service=NAME."""
    hub_auth = HubOAuth(
        api_url=api_url,
        api_token=api_token,
        base_url=prefix,
        cache_max_age=CACHE_SECONDS,
        oauth_client_id=f"service-{service}",
        # URLs are logged.
        allow_token_in_url=False,
    )
    return HubAuth(hub_auth, {f"access:services!service={service}"} if service else ())


def cookie_secret(api_token: str) -> bytes:
    """Return a secret that is derived from the service's token, so that it is the same after a restart."""
    return hmac.new(api_token.encode(), b"cookies of the batch service", hashlib.sha256).digest()


def _forbidden(message: str, hint: str) -> Refusal:
    return Refusal("forbidden", message, hint=hint, status=403)


# These functions create a new exception each time, because a raised exception keeps references to the request.


def _unauthorized() -> Refusal:
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
