"""Writes the deadline of running notebooks into the annotation of their pods, which the deadline file contains."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from ..api_object import annotations_of
from ..pod.deadline import DEADLINE, Deadline
from ..refusal import Refusal
from ..shape import Json
from ..texts import gettext
from ..watch.api_server import MERGE_PATCH, ApiError, ApiServer
from ..watch.cluster_clock import ClusterClock

log = logging.getLogger(__name__)

# So that the patches of many notebooks that became ready together do not delay the starts of others.
CONCURRENT_PATCHES = 4
# After a patch that was forbidden, the next one is sent after this time: the right may have been given.
SECONDS_AFTER_FORBIDDEN = 300.0


class DeadlineWriter:
    """Reads and patches pods for the wall time of notebooks.  All spawners of a client share it.

    notices: the times before the end at which users are told.
    """

    def __init__(self, server: ApiServer, notices: Sequence[timedelta]) -> None:
        self._server = server
        self._notices = notices
        self._clock = ClusterClock(server.time)
        self._slots = asyncio.Semaphore(CONCURRENT_PATCHES)
        # Until when no deadline is announced, in seconds of time.monotonic, because a right is missing.
        self._forbidden_until = 0.0
        self._last_failure = ""

    async def now(self) -> datetime | None:
        """Return the time at the API server; None if it has not answered yet."""
        return await self._clock.now()

    async def read(self, pod: Json) -> Json | None:
        """Return the pod as it is now; None if it is gone or was replaced.  Raises Refusal (503) or ApiError."""
        try:
            found = await self._server.ask("GET", _path(pod))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found if found["metadata"]["uid"] == pod["metadata"]["uid"] else None

    async def announce(self, pod: Json, deadline: Deadline, extend_path: str = "") -> bool:
        """Write the deadline if the pod does not have it yet; return False if the pod in memory is out of date.

        Another failure is logged once: the notebook ends all the same, and each notebook tries it again every 30 s.
        """
        if self._is_forbidden or annotations_of(pod).get(DEADLINE) == deadline.annotation(self._notices, extend_path):
            return True
        try:
            async with self._slots:
                await self.write(pod, deadline, extend_path)
        except (Refusal, ApiError) as error:
            if isinstance(error, ApiError) and error.status in (404, 409):
                return False
            why = str(error)
            if not self._is_forbidden and why != self._last_failure:
                name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
                log.warning("The deadline of pod %s could not be written: %s", name, why)
            self._last_failure = why
            return True
        self._last_failure = ""
        return True

    async def write(self, pod: Json, deadline: Deadline, extend_path: str = "") -> None:
        """Write the deadline into the pod's annotation.  Raises Refusal (503), or ApiError if the pod has changed.

        With the resource version, the API server refuses (409) a patch of a pod that has changed, so that a hub whose
        watch is late never overwrites an extension.  A missing right is logged once.
        """
        metadata = pod["metadata"]
        same = {key: metadata[key] for key in ("uid", "resourceVersion")}
        body = {"metadata": {**same, "annotations": {DEADLINE: deadline.annotation(self._notices, extend_path)}}}
        try:
            await self._server.ask("PATCH", _path(pod), body=body, content_type=MERGE_PATCH)
        except ApiError as error:
            if error.status != 403:
                raise
            was_forbidden, self._forbidden_until = self._forbidden_until, time.monotonic() + SECONDS_AFTER_FORBIDDEN
            if not was_forbidden:
                log.error(
                    "The hub has no right to patch pods in namespace %s, so deadline files are empty and users cannot "
                    "extend the wall time. Notebooks end after their soft wall time. Apply the role "
                    "research-deadlines, which `research-spawner manifests` prints: %s",
                    *(metadata["namespace"], error),
                )
            raise Refusal(
                "no-extension",
                gettext("The wall time cannot be extended here, because the hub has no right to change pods."),
                hint=gettext("Ask your administrators to give the hub the right to patch pods."),
                status=503,
            ) from None
        self._forbidden_until = 0.0

    @property
    def _is_forbidden(self) -> bool:
        return time.monotonic() < self._forbidden_until


def _path(pod: Json) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
