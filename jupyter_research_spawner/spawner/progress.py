"""Produces the messages for the user and the log while a server starts or stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from ..shape import Json
from ..watch.phase import why_not_gone
from .start import Start

SECONDS_BETWEEN_UPDATES = 1.0
# The rest of the progress bar is for JupyterHub, which then checks the server and adds a route to the proxy.
MAX_PERCENT = 90


class StartingServer(Protocol):
    """The attributes of a spawner that `stream_progress` reads for each update."""

    @property
    def current_start(self) -> Start | None: ...

    @property
    def events(self) -> list[Json]: ...


async def stream_progress(server: StartingServer) -> AsyncIterator[Json]:
    """Yield JupyterHub progress messages until the start is over.

    The messages are plain text, which the page escapes. No update sends a request to the API server.
    """
    reported, percent, events_sent, warned, noted = "", 0.0, 0, False, 0
    while True:
        start = server.current_start
        is_over = start is not None and start.is_over
        if start is not None:
            for warning in start.plan.warnings if not warned else ():
                yield {"message": warning}
            warned = True
            for note in start.notes[noted:]:
                yield {"message": note}
            noted = len(start.notes)
            message = _describe(start)
            if message and message != reported:
                reported = message
                yield {"message": message}
        events = server.events
        if len(events) < events_sent:  # the pod was recreated, and these are the events of the new pod
            events_sent = 0
        for event in events[events_sent:]:
            percent += (MAX_PERCENT - percent) / 3
            yield {"progress": int(percent), "message": _format_event(event), "raw_event": event}
        events_sent = len(events)
        if is_over:
            return
        await asyncio.sleep(SECONDS_BETWEEN_UPDATES)


def _describe(start: Start) -> str:
    """Return a sentence that says what the start waits for, or ""."""
    if ahead := start.slot.starts_ahead:
        return f"Waiting for the hub: {ahead} {'start comes' if ahead == 1 else 'starts come'} before yours."
    if start.wait.is_queued:
        return f"Waiting in queue {start.plan.queue}. {start.wait.status.message}".strip()
    return start.wait.message


def _format_event(event: Json) -> str:
    return f"{event['lastTimestamp'] or event['eventTime']} [{event['type']}] {event['message']}"


async def announce_stop(find_pod: Callable[[], Json | None], report: Callable[[str], None]) -> None:
    """Call `report` once a second with the reason why a deleted pod still exists, or "".

    The coroutine runs until its task is cancelled. JupyterHub itself does not show what a stop waits for.
    """
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_UPDATES)
        pod = find_pod()
        report(why_not_gone(pod) if pod else "")
