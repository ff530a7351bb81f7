"""End running notebooks after their soft wall time, unless their user has extended it.

The hub ends a notebook at its deadline; the kubelet ends it at the hard end, also while the hub is down.  All times are
compared with the time at the API server.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from ..pod.deadline import Deadline, deadline_of
from ..refusal import Refusal
from ..settings import format_duration
from ..shape import Json
from ..texts import gettext
from ..watch.api_server import ApiError
from ..watch.pod_end import End, make_end
from .deadline_writer import DeadlineWriter

log = logging.getLogger(__name__)

# The longest time until a change of the pod is seen, and until an API server that did not answer is asked again.
LONGEST_PAUSE_SECONDS = 30.0
SHORTEST_PAUSE_SECONDS = 0.5


class TimedServer(Protocol):
    """What this module needs from a spawner."""

    wall_time_lock: asyncio.Lock

    @property
    def extend_path(self) -> str:
        """The path of the page that extends this server."""

    def find_running_pod(self) -> Json | None: ...

    async def end_with(self, end: End) -> None: ...


async def enforce_wall_time(server: TimedServer, deadlines: DeadlineWriter) -> None:
    """Write the deadline of a running notebook, and end the notebook then.  Returns when its pod is gone."""
    while (pod := server.find_running_pod()) is not None:
        deadline, now = deadline_of(pod), await deadlines.now()
        pause = LONGEST_PAUSE_SECONDS
        if deadline is not None and not await deadlines.announce(pod, deadline, server.extend_path):
            pause = SHORTEST_PAUSE_SECONDS
        if deadline is not None and now is not None:
            if now >= deadline.ends and await _end_if_over(server, deadlines, pod):
                return
            pause = min(pause, (deadline.ends - now).total_seconds())
        await asyncio.sleep(max(pause, SHORTEST_PAUSE_SECONDS))


async def _end_if_over(server: TimedServer, deadlines: DeadlineWriter, pod: Json) -> bool:
    """End the notebook unless the API server's pod has a later deadline.  Returns whether it has ended.

    The hub's watch can be late, so the pod in its memory can lack an extension.
    """
    async with server.wall_time_lock:
        try:
            current = await deadlines.read(pod)
        except (Refusal, ApiError) as error:
            log.warning("The end of %s must wait: %s", pod["metadata"]["name"], error)
            return False
        deadline, now = deadline_of(current or {}), await deadlines.now()
        if current is None:
            return True
        if deadline is None or now is None or now < deadline.ends:
            return False
        await server.end_with(make_end("wall-time", over(deadline)))
        return True


def over(deadline: Deadline) -> str:
    """Return the sentence for the user of a notebook that has reached its deadline."""
    lasted = format_duration(deadline.ends - deadline.started)
    return gettext("It was stopped, because its wall time of %(duration)s was over.", duration=lasted)


# The default of terminationGracePeriodSeconds (Kubernetes, Pod API).
GRACE_SECONDS = 30


def grace_seconds(pod: Json | None) -> int:
    """Return the seconds between SIGTERM and SIGKILL when a notebook is stopped: those of its pod."""
    written = ((pod or {}).get("spec") or {}).get("terminationGracePeriodSeconds")
    return written if isinstance(written, int) else GRACE_SECONDS
