"""Extend the wall time of a running notebook for its user, up to the hard wall time."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Protocol

from ..api_object import format_time
from ..plan import Plan
from ..pod.deadline import Deadline, deadline_of
from ..refusal import Refusal
from ..settings import format_duration
from ..shape import Json
from ..texts import gettext
from ..watch.api_server import ApiError
from ..wording import format_moment
from .deadline_writer import DeadlineWriter

log = logging.getLogger(__name__)

# The page of `wall_time_pages`, below the path of the hub.
PAGE = "research-spawner/wall-time"


class ExtendableServer(Protocol):
    """What this module needs from a spawner."""

    wall_time_lock: asyncio.Lock
    log: logging.Logger

    @property
    def extend_path(self) -> str: ...

    def find_own_pod(self) -> Json | None:
        """Return this server's pod if it runs and is not being deleted."""

    async def decide_as_accepted(self) -> Plan: ...


async def read_deadline(server: ExtendableServer, deadlines: DeadlineWriter) -> tuple[Deadline, tuple[datetime, ...]]:
    """Return the deadline of a running notebook, and the times to which its user can extend it now; () if none.

    Raises Refusal if the notebook does not run, or its user may no longer run it.
    """
    _, deadline, choices = await _look(server, deadlines)
    return deadline, choices


async def extend(
    server: ExtendableServer, deadlines: DeadlineWriter, ends: datetime | None, requester: str
) -> tuple[Deadline, tuple[datetime, ...]]:
    """Extend the wall time to `ends`, or as far as possible if it is None.

    Returns the new deadline, and the times to which the user can extend it further.

    Raises Refusal if the user may no longer run the notebook, if nothing is left, or if `ends` is not possible.
    requester: the name of the user or service in the audit log.
    """
    async with server.wall_time_lock:
        pod, deadline, choices = await _look(server, deadlines)
        if not choices:
            raise _nothing_left(deadline)
        target = choices[-1] if ends is None else ends
        if target > choices[-1]:
            raise Refusal(
                "wall-time-too-long",
                gettext(
                    "Your server cannot run until %(time)s, but only until %(latest)s.",
                    time=format_moment(target),
                    latest=format_moment(choices[-1]),
                ),
                field="ends_at",
                hint=gettext("Choose an earlier time."),
            )
        if target <= deadline.ends:
            raise Refusal(
                "not-later",
                gettext("Your server already runs until %(time)s.", time=format_moment(deadline.ends)),
                field="ends_at",
                hint=gettext("Choose a later time."),
                status=409,
            )
        extended = deadline.extended(target)
        try:
            await deadlines.write(pod, extended, server.extend_path)
        except ApiError as error:
            log.warning("The wall time of pod %s could not be extended: %s", pod["metadata"]["name"], error)
            raise _changed() from None
        # The hub's logger, because other loggers of the hub's process drop messages of level INFO.
        server.log.info(
            "Audit: %s extended the wall time of pod %s/%s from %s to %s; its hard wall time ends at %s",
            *(requester, pod["metadata"]["namespace"], pod["metadata"]["name"]),
            *map(format_time, (deadline.ends, extended.ends, extended.hard_ends)),
        )
        return extended, extended.choices(choices[-1])


async def _look(server: ExtendableServer, deadlines: DeadlineWriter) -> tuple[Json, Deadline, tuple[datetime, ...]]:
    """Return the pod as the API server has it, its deadline, and the times to which it can be extended."""
    seen = server.find_own_pod()
    if seen is None:
        raise _not_running()
    decided = await server.decide_as_accepted()
    try:
        pod = await deadlines.read(seen)
    except ApiError as error:
        log.warning("The pod %s could not be read: %s", seen["metadata"]["name"], error)
        raise _changed() from None
    deadline, now = deadline_of(pod or {}), await deadlines.now()
    if pod is None or "deletionTimestamp" in pod["metadata"] or deadline is None:
        raise _not_running()
    if now is None:
        raise _changed()
    if now >= deadline.ends:
        raise Refusal(
            "wall-time-over",
            gettext("The wall time of your server is over, so it is being stopped."),
            hint=gettext("You can start it again."),
            status=409,
        )
    # The settings can have changed since the start; the pod's own limit stays what it was.
    return pod, deadline, deadline.choices(deadline.started + decided.wall_time.hard)


def _nothing_left(deadline: Deadline) -> Refusal:
    whole = format_duration(deadline.hard_ends - deadline.started)
    return Refusal(
        "no-extension-left",
        gettext(
            "Your server runs until %(time)s, and cannot run longer than %(duration)s in all.",
            time=format_moment(deadline.ends),
            duration=whole,
        ),
        hint=gettext("Save your work, and start the server again after it has ended."),
        status=409,
    )


def _not_running() -> Refusal:
    return Refusal("not-running", gettext("Your server is not running."), hint=gettext("Start it first."), status=409)


def _changed() -> Refusal:
    return Refusal(
        "cluster-down",
        gettext("The cluster has not accepted the extension."),
        hint=gettext("Try again in a minute."),
        status=503,
        retry_after=30,
    )
