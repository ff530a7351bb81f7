"""What the page of a pending server says, one line after another.  Text only: the page escapes it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from kubernetes_asyncio.client import ApiException

from ..shape import Json

if TYPE_CHECKING:
    from .research import ResearchSpawner

SECONDS_BETWEEN = 1.0
# The rest of the bar is for what comes after the pod: the hub's own check and the proxy.
MOST_PERCENT = 90


async def of(spawner: ResearchSpawner) -> AsyncIterator[Json]:
    """Ends with the start.  Looks once a second at what is in memory already: no page costs an API call."""
    if spawner.events_enabled:
        await spawner._start_watching_events()
    for warning in spawner._plan.warnings if spawner._plan is not None else ():
        yield {"message": warning}
    told, percent, shown = "", 0.0, 0
    while True:
        over = spawner._start_future is not None and spawner._start_future.done()
        now = _standing(spawner)
        if now and now != told:
            told = now
            yield {"message": now}
        events = spawner.events
        for event in events[shown:]:
            percent += (MOST_PERCENT - percent) / 3
            yield {"progress": int(percent), "message": _line(event), "raw_event": event}
        shown = len(events)
        if over:
            return
        await asyncio.sleep(SECONDS_BETWEEN)


def _standing(spawner: ResearchSpawner) -> str:
    """Where the start stands, in a sentence."""
    if ahead := spawner._turn.ahead:
        return f"Waiting for the hub: {ahead} {'start comes' if ahead == 1 else 'starts come'} before yours."
    wait = spawner._wait
    if wait is None:
        return ""
    if wait.is_queued:
        return f"Waiting in queue {wait.plan.queue}. {wait.status.message}".strip()
    return wait.message


def _line(event: Json) -> str:
    return f"{event['lastTimestamp'] or event['eventTime']} [{event['type']}] {event['message']}"


def message_of(error: ApiException) -> str:
    """The API server's own sentence, from its Status object."""
    try:
        message = str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {error.status} {error.reason}"
    return message if len(message) <= 500 else f"{message[:497]}..."
