"""After a hub restart: start the servers again that were starting before, so that their pods are adopted.

The hub let go of their rows (ResearchSpawner.poll); an ordinary start with the saved options finds the pod.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from ..refusal import Refusal

if TYPE_CHECKING:
    from .research import ResearchSpawner

# The hub listens only after its first polls, and a source of identities may come up later than the hub.
TRIES, SECONDS_BETWEEN = 60, 2.0
_running: set[asyncio.Task[None]] = set()


def in_background(work: Coroutine[Any, Any, None]) -> None:
    """The event loop itself holds tasks only weakly."""
    task = asyncio.ensure_future(work)
    _running.add(task)
    task.add_done_callback(_running.discard)


def soon(spawner: ResearchSpawner) -> None:
    in_background(_resume(spawner))


async def _resume(spawner: ResearchSpawner) -> None:
    async with spawner.research.resuming:
        await asyncio.sleep(0.5)  # the hub is still letting go
        for _ in range(TRIES):
            try:
                # Beforehand, so that the start itself can be refused at once and not after the hub said "started".
                await spawner.research.resolver.resolve(spawner.user.name)
                await _start(spawner)
                return
            except Refusal as refusal:
                if refusal.status != 503:
                    await _give_up(spawner, str(refusal))
                    return
                spawner.log.warning("%s cannot go on yet: %s", spawner._log_name, refusal)
            except HTTPClientError as error:
                if error.code < 500 and error.code not in (404, 429):
                    if error.code != 400 or "already running" not in _message(error):
                        await _give_up(spawner, _message(error))
                    return
                spawner.log.warning("%s cannot go on yet: %s", spawner._log_name, _message(error))
            except OSError:
                spawner.log.debug("The hub does not listen yet")
            await asyncio.sleep(SECONDS_BETWEEN)
        spawner.log.error("%s was not started again; its next start finds its pod", spawner._log_name)


async def _start(spawner: ResearchSpawner) -> None:
    user = spawner.user
    try:
        token = user.new_api_token(
            note="going on after a restart of the hub", expires_in=600, scopes=[f"servers!user={user.name}"]
        )
    except ValueError as error:
        spawner.log.error("%s may not start its own server again (%s)", user.name, error)
        return
    path = f"users/{user.escaped_name}/" + (f"servers/{quote(spawner.name)}" if spawner.name else "server")
    try:
        await AsyncHTTPClient().fetch(
            HTTPRequest(
                f"{spawner.hub.api_url.rstrip('/')}/{path}",
                method="POST",
                headers={"Authorization": f"token {token}"},
                body=b"",
                request_timeout=60,
            )
        )
    finally:
        _revoke(spawner, token)


def _revoke(spawner: ResearchSpawner, token: str) -> None:
    from jupyterhub import orm  # noqa: PLC0415 - the hub's database layer takes a second to import

    found = orm.APIToken.find(spawner.db, token)
    if found is not None:
        spawner.db.delete(found)
        spawner.db.commit()


async def _give_up(spawner: ResearchSpawner, why: str) -> None:
    """What was chosen then may not be had now.  The form will say so; the pod must not run unseen meanwhile."""
    spawner.log.warning("%s does not go on after the restart: %s", spawner._log_name, why)
    current = spawner.user.spawners.get(spawner.name)
    if current is None or not current.active:
        await spawner.stop(now=True)


def _message(error: HTTPClientError) -> str:
    body = error.response.body if error.response is not None else b""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(error)
