"""Find out who has asked the hub to stop a server, and say so. JupyterHub does not tell a spawner.

Written for JupyterHub 5.3 to 6.1 (handlers/base.py, stop_single_user): the handler of the request keeps the task of the
stop as `_stop_future`, whose coroutine is a function inside of the handler's method and so has the handler as `self`.
If that changes, the requester is unknown.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from ..settings import format_duration
from ..texts import gettext
from ..watch.pod_end import End, make_end
from ..wording import quote

# A notebook reports its activity every 5 minutes, so an active one can look idle for this time.
ACTIVE = timedelta(minutes=6)


@dataclass(frozen=True)
class Requester:
    """Who asked for a stop: the server's own user, another user of the hub, or a service with this name."""

    kind: Literal["owner", "user", "service"]
    name: str


def find_requester(spawner: Any) -> Requester | None:
    """Return who asked the hub to stop this server; None if the hub stops it by itself, or if that is not known."""
    task = getattr(spawner, "_stop_future", None)
    frame = getattr(task.get_coro(), "cr_frame", None) if isinstance(task, asyncio.Task) else None
    handler = frame.f_locals.get("self") if frame is not None else None
    found = getattr(handler, "_jupyterhub_user", None)
    kind, name = getattr(found, "kind", None), str(getattr(found, "name", ""))
    if kind == "user":
        return Requester("owner" if name == spawner.user.name else "user", name)
    return Requester("service", name) if kind == "service" else None


def describe_stop(requester: Requester | None, last_activity: datetime | None, now: datetime) -> End:
    """Return the end of a server that the hub stops. last_activity: that of the server, without a time zone in UTC."""
    if requester is not None and requester.kind == "owner":
        return make_end("stopped", gettext("You stopped it."), now)
    if requester is not None and requester.kind == "user":
        return make_end("stopped-by-hub", gettext("An administrator stopped it through the hub."), now)
    if requester is None:
        return make_end("stopped-by-hub", gettext("The hub stopped it, for example because it did not answer."), now)
    service = quote(requester.name)
    idle = now - last_activity.replace(tzinfo=timezone.utc) if last_activity is not None else timedelta(0)
    if idle < ACTIVE:
        return make_end("stopped-by-hub", gettext("The hub's service %(service)s stopped it.", service=service), now)
    minutes = timedelta(minutes=idle // timedelta(minutes=1))
    told = gettext(
        "The hub's service %(service)s stopped it after %(duration)s without activity.",
        service=service,
        duration=format_duration(minutes),
    )
    return make_end("idle", told, now)


def describe_cancellation(requester: Requester | None) -> End:
    """Return the end of a start that the hub cancels."""
    if requester is None:
        return make_end("stopped-by-hub", gettext("The hub cancelled its start."))
    if requester.kind == "owner":
        return make_end("stopped", gettext("You cancelled its start."))
    if requester.kind == "user":
        return make_end("stopped-by-hub", gettext("An administrator cancelled its start."))
    told = gettext("The hub's service %(service)s cancelled its start.", service=quote(requester.name))
    return make_end("stopped-by-hub", told)
