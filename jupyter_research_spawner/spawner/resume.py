"""After a hub restart, start again the servers that were still starting when the hub went down.

`ResearchSpawner.poll` reports such a server as stopped and does not delete its pod. An ordinary start with the saved
options then adopts the pod.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from kubespawner import KubeSpawner
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from ..refusal import Refusal
from ..texts import gettext
from ..watch.pod_end import make_end
from .background import run_in_background
from .process_state import ProcessState
from .rights_check import count

# The hub accepts requests only after its first polls, and an identity source can become ready much later than the hub.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
# The codes of refusals that say that the cluster did not answer.
UNANSWERED = frozenset({"cluster-down", "cluster-slow", "webhook-down"})


def schedule_resume(spawner: KubeSpawner, shared: ProcessState) -> None:
    """Request the start from the hub in the background, and retry while the hub or an identity source is down."""
    shared.waiting_since_restart.add(_key(spawner))
    run_in_background(_resume(spawner, shared, FIRST_PAUSE_SECONDS))


def waits_since_restart(spawner: KubeSpawner, shared: ProcessState) -> bool:
    """Return whether a pod from before the restart of the hub waits until a start of this server adopts it."""
    return _key(spawner) in shared.waiting_since_restart


def end_wait_since_restart(spawner: KubeSpawner, shared: ProcessState) -> None:
    """Take note that the pod from before the restart no longer waits to be adopted."""
    shared.waiting_since_restart.discard(_key(spawner))


def schedule_repetition(spawner: KubeSpawner, shared: ProcessState) -> None:
    """Request a start again that has failed because the cluster did not answer, unless it is being requested."""
    if _key(spawner) not in shared.resuming_servers:
        run_in_background(_resume(spawner, shared, LONGEST_PAUSE_SECONDS))


@contextmanager
def resume_ends_with_cancellation(spawner: KubeSpawner, shared: ProcessState) -> Iterator[None]:
    """If the hub cancels the start in this block, do not start the server again: someone has stopped it.

    The hub answers the request that began the start with HTTP 500 then, as after an error that may pass.
    """
    try:
        yield
    except asyncio.CancelledError:
        end_resume(spawner, shared)
        raise


def end_resume(spawner: KubeSpawner, shared: ProcessState) -> bool:
    """Do not start the server again after the restart of the hub: it runs, or someone has stopped it since.

    Returns whether the hub would have started it.
    """
    is_resuming = _key(spawner) in shared.resuming_servers
    shared.resuming_servers.discard(_key(spawner))
    end_wait_since_restart(spawner, shared)
    return is_resuming


def _key(spawner: KubeSpawner) -> tuple[str, str]:
    return (spawner.user.name, spawner.name or "")


async def _resume(spawner: KubeSpawner, shared: ProcessState, pause: float) -> None:
    """Request the start until the hub has accepted or refused it, for at most `hub.queue_limit`.

    pause: the seconds until the first request.
    """
    server = _key(spawner)
    shared.resuming_servers.add(server)
    end = time.monotonic() + shared.site.hub.queue_limit.total_seconds()
    try:
        while time.monotonic() < end:
            await asyncio.sleep(pause)  # The hub first handles the result of poll.
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            async with shared.resuming:
                if server in shared.resuming_servers and await _is_settled(spawner, shared):
                    return
            if server not in shared.resuming_servers:
                spawner.log.info(
                    "%s is not started again after the restart of the hub: it was started or stopped since",
                    spawner._log_name,
                )
                await _delete_pods_if_inactive(spawner)
                return
        spawner.log.error(
            "%s was not started again after the restart of the hub; its next start adopts its pod", spawner._log_name
        )
    finally:
        shared.resuming_servers.discard(server)


async def _is_settled(spawner: KubeSpawner, shared: ProcessState) -> bool:
    """Request the start once. Return whether the hub has accepted or refused it."""
    try:
        # Resolve first, to see a refusal here: the hub can accept the request and refuse the start later.
        await shared.identities(spawner.api.api_client).resolve(spawner.user.name)
        await _request_start(spawner)
    except Refusal as refusal:
        if refusal.status == 503:
            spawner.log.warning("%s cannot be started again yet: %s", spawner._log_name, refusal)
            return False
        await _give_up(spawner, str(refusal))
    except HTTPClientError as error:
        if error.code >= 500 or error.code in (404, 429):
            spawner.log.warning("%s cannot be started again yet: %s", spawner._log_name, _message(error))
            return False
        if error.code != 400 or "already running" not in _message(error):
            await _give_up(spawner, _message(error))
    except OSError:
        spawner.log.debug("The hub does not accept connections yet")
        return False
    return True


async def _request_start(spawner: KubeSpawner) -> None:
    """Ask the hub to start the server."""
    await _send(spawner, "POST", "start again after a restart of the hub")


async def request_stop(spawner: KubeSpawner) -> None:
    """Ask the hub to stop the server as its user would. If the hub does not, delete the pod, as the hub will see."""
    try:
        await _send(spawner, "DELETE", "stop a server for the hub")
    except (HTTPClientError, OSError) as error:
        spawner.log.error("The hub did not stop %s: %s", spawner._log_name, error)
        await spawner.stop()


async def _send(spawner: KubeSpawner, method: str, note: str) -> None:
    """Send a request about the server to the hub's REST API, with a token of the user, which is revoked afterwards."""
    user = spawner.user
    try:
        token = user.new_api_token(note=note, expires_in=600, scopes=[f"servers!user={user.name}"])
    except ValueError as error:
        spawner.log.error("%s is not allowed to start and stop their own server (%s)", user.name, error)
        if method == "DELETE":
            await spawner.stop()
        return
    path = f"users/{user.escaped_name}/" + (f"servers/{quote(spawner.name)}" if spawner.name else "server")
    try:
        await AsyncHTTPClient().fetch(
            HTTPRequest(
                f"{spawner.hub.api_url.rstrip('/')}/{path}",
                method=method,
                headers={"Authorization": f"token {token}"},
                body=b"" if method == "POST" else None,
                request_timeout=60,
            )
        )
    finally:
        _revoke(spawner, token)


def _revoke(spawner: KubeSpawner, token: str) -> None:
    from jupyterhub import orm  # noqa: PLC0415 - the hub's database layer takes a second to import

    found = orm.APIToken.find(spawner.user.db, token)
    if found is not None:
        spawner.user.db.delete(found)
        spawner.user.db.commit()


async def _give_up(spawner: KubeSpawner, why: str) -> None:
    """Delete the pod of a server whose saved options are refused now. The options form later shows the reason."""
    spawner.log.warning("%s is not started again after the restart of the hub: %s", spawner._log_name, why)
    if await _delete_pods_if_inactive(spawner):
        count("waiting-refused")
        told = gettext(
            "It was waiting in its queue when the hub restarted, and was not started again. %(why)s", why=why
        )
        spawner.end_recorder.record(make_end("start-failed", told, hint=""))


async def _delete_pods_if_inactive(spawner: KubeSpawner) -> bool:
    """Delete the pods of the server if the hub neither starts nor runs nor stops it. Return whether that is so."""
    current = spawner.user.spawners.get(spawner.name)
    if current is not None and current.active:
        return False
    await spawner.stop(now=True)
    await spawner.delete_left_pods()
    return True


def _message(error: HTTPClientError) -> str:
    """Return the message of the hub's JSON error."""
    body = error.response.body if error.response is not None else b""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(error)
