"""Produces the messages for the user and the log while a server starts or stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Protocol

from ..api_object import parse_time
from ..schedulers import Place
from ..shape import Json
from ..texts import gettext, gettext_noop, ngettext
from ..watch.container_reasons import event_time
from ..watch.phase import why_not_gone
from ..wording import format_moment
from .page_times import times_in
from .start import Start
from .start_phases import Stage, find_phases, find_stage

SECONDS_BETWEEN_UPDATES = 1.0
# A start that waits for a slot moves up without a change of its own.
LONGEST_PAUSE_SECONDS = 5.0


class StartingServer(Protocol):
    """The attributes of a spawner that `stream_progress` reads for each update."""

    @property
    def current_start(self) -> Start | None: ...

    @property
    def events(self) -> list[Json]: ...

    @property
    def lost_since(self) -> datetime | None: ...

    async def find_place(self) -> Place | None: ...


async def stream_progress(server: StartingServer) -> AsyncIterator[Json]:
    """Yield JupyterHub progress messages until the start is over.

    The messages are plain text, which the page escapes. A message with `note` stays on the page. A message with
    `log_only` is a raw event of Kubernetes, for the log of the page. The sentence above the log follows it again with
    `repeats`, for pages that do not know `log_only`. The sentence has the phases of the start as `phases`, and the
    times in it as `times`.
    """
    headline, events_sent, warned, noted = "", 0, False, 0
    shown: Json = {}
    while True:
        start = server.current_start
        seen = start.progress.count if start is not None else 0
        is_over = start is not None and start.is_over
        if start is not None:
            for told in (*(() if warned else start.plan.warnings), *start.notes[noted:]):
                yield {"message": told, "note": True}
            warned, noted = True, len(start.notes)
        events = server.events
        if len(events) < events_sent:  # the pod was recreated, and these are the events of the new pod
            events_sent = 0
        for event in events[events_sent:]:
            yield {"message": format_event(event), "raw_event": event, "log_only": True, "at": event_time(event)}
        has_new_events, events_sent = len(events) > events_sent, len(events)
        if start is not None and not (is_over and start.wait.last_pod is None):  # there is no pod to describe
            if start.wait.is_queued:
                start.wait.set_place(await server.find_place())
            before, headline = headline, describe_start(start, events, server.lost_since)
            last, shown = shown, _describe_stage(start, events) | {"times": times_in(headline)}
            if headline != before:
                yield {"message": headline, **shown}
            elif has_new_events or shown != last:
                yield {"message": headline, **shown, "repeats": True}
        if is_over:
            return
        await _wait_for_change(start, seen)


async def _wait_for_change(start: Start | None, seen: int) -> None:
    if start is None:
        await asyncio.sleep(SECONDS_BETWEEN_UPDATES)
    else:
        await start.progress.wait(seen, LONGEST_PAUSE_SECONDS)


def _describe_stage(start: Start, events: list[Json]) -> Json:
    stage = find_stage(start, events)
    phases = [phase.as_json() for phase in find_phases(start, events)]
    return {"progress": _PERCENT[stage], "stage": stage, "phases": phases}


def describe_start(start: Start, events: list[Json], lost_since: datetime | None) -> str:
    """Return sentences that say what the start waits for, and whether that can be old."""
    if ahead := start.slot.starts_ahead:
        return ngettext(
            "Waiting for the hub: %(count)s start comes before yours.",
            "Waiting for the hub: %(count)s starts come before yours.",
            ahead,
        )
    told = start.wait.message or gettext(_ORDINARY[find_stage(start, events)])
    if lost_since is not None:
        since = format_moment(lost_since)
        old = gettext(
            "This can be out of date: the Kubernetes API server has not answered the hub since %(time)s.", time=since
        )
        return f"{told} {old}"
    return told


# What happens in a stage when nothing goes wrong.
_ORDINARY: dict[Stage, str] = {
    "created": gettext_noop("Waiting for a node with room for it."),
    "queued": gettext_noop("Waiting in its queue."),
    "admitted": gettext_noop("A node was found, and it prepares the container."),
    "pulling": gettext_noop("The node pulls the image. This takes longer when the image is new on the node."),
    "pulled": gettext_noop("The node has the image, and starts the container."),
    "running": gettext_noop("The container runs, and its server starts."),
    "ready": gettext_noop("The server has started, and the hub connects to it."),
}
# The rest of the progress bar is for JupyterHub, which then checks the server and adds a route to the proxy.
_PERCENT: dict[Stage, int] = {
    "created": 5,
    "queued": 10,
    "admitted": 30,
    "pulling": 45,
    "pulled": 60,
    "running": 75,
    "ready": 90,
}


def format_event(event: Json) -> str:
    """Return a raw event as one line for the log: its time of day in UTC, its type and its message."""
    with suppress(ValueError):
        at = parse_time(event_time(event)).astimezone(timezone.utc)
        return f"{at:%H:%M:%S} UTC [{event['type']}] {event['message']}"
    return f"[{event['type']}] {event['message']}"


async def announce_stop(find_pod: Callable[[], Json | None], report: Callable[[str], None]) -> None:
    """Call `report` once a second with the reason why a deleted pod still exists, or "".

    The coroutine runs until its task is cancelled. JupyterHub itself does not show what a stop waits for.
    """
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_UPDATES)
        pod = find_pod()
        report(why_not_gone(pod) if pod else "")
