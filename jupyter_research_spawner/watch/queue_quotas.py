"""Watches the objects of the scheduler's queues, and knows how much of their quotas is used.

The watches run while users look at a page.  A page reads the objects from memory and sends no request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ..schedulers import SCHEDULERS, QueueUse
from ..settings import ordered
from ..site import Site
from .api_server import ApiServer
from .queue_objects import FollowedPaths, QueueObjects
from .while_read import run_while_read

log = logging.getLogger(__name__)

# Without a reader for this long, the watches end.
IDLE_SECONDS = 600.0
# A page waits this long for the first answer, and is then shown without it.
FIRST_ANSWER_SECONDS = 1.0


@dataclass(frozen=True)
class QuotaReport:
    """How much of the quotas of queues is used, by their names in the settings, and when this was read.

    Two reports are equal if only the time has passed.
    """

    queues: Mapping[str, QueueUse] = field(default_factory=dict)
    as_of: datetime | None = field(default=None, compare=False)


class QueueQuotas:
    """How much of the quotas of the site's queues is used.

    Nothing is known with `availability: none`, with a scheduler without quotas, and of objects that cannot be read.
    """

    def __init__(self, server: ApiServer, site: Site) -> None:
        scheduler = SCHEDULERS[site.scheduler.kind]
        self._server = server
        self._site = site
        self._kinds = scheduler.queue_kinds if site.availability != "none" else ()
        self._queue_uses = scheduler.queue_uses
        self._watching: asyncio.Task[None] | None = None
        self._used = 0.0
        self._has_waited = False
        self._has_failed = False
        self._forget()

    def _forget(self) -> None:
        self._paths = FollowedPaths(self._server)
        self._objects = QueueObjects(self._kinds, self._site.namespaces.name, self._paths)
        self._has_waited = False

    async def report(self, queues: Collection[str]) -> QuotaReport:
        """Return what the objects say about these queues.

        The first call starts the watches and waits at most FIRST_ANSWER_SECONDS for them.
        """
        if not self._kinds or not queues:
            return QuotaReport()
        self._used = time.monotonic()
        if self._watching is None or self._watching.done():
            self._forget()
            watches = self._objects.watches()
            self._watching = asyncio.ensure_future(run_while_read(watches, self._seconds_since_read, IDLE_SECONDS))
        if not self._has_waited:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._all_paths_answer(), FIRST_ANSWER_SECONDS)
            self._has_waited = True  # not granted or slow: later pages do not wait
        return self._report_or_log(queues)

    def close(self) -> None:
        """End the watches."""
        if self._watching is not None:
            self._watching.cancel()

    async def _all_paths_answer(self) -> None:
        paths = self._paths
        while paths.answered < len(self._kinds):
            paths.changed.clear()
            await paths.changed.wait()

    def _seconds_since_read(self) -> float:
        return time.monotonic() - self._used

    def _report_or_log(self, queues: Collection[str]) -> QuotaReport:
        """Return the report.  Objects of an unknown form make it empty, and the log says so once."""
        try:
            find_use = self._queue_uses(self._objects.objects())
            found = {name: find_use(self._site.queue_placement(name)) for name in self._in_order(queues)}
            self._has_failed = False
        except Exception:  # from what other programs write into their objects
            if not self._has_failed:
                log.exception("The use of quotas cannot be computed, so My work does not show it")
            self._has_failed = True
            return QuotaReport()
        uses = {name: use for name, use in found.items() if use is not None and use.quotas}
        return QuotaReport(uses, self._paths.as_of)

    def _in_order(self, queues: Collection[str]) -> list[str]:
        return [name for name, _ in ordered(self._site.queues) if name in queues]
