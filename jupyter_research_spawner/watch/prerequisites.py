"""Checks that the prerequisites of a pod exist in the cluster, and caches those that do."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from ..prerequisite import Prerequisite
from ..refusal import Refusal
from .api_server import JSON, ApiError, ApiServer

# Kubernetes API concepts, metadata-only fetches.
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Found:
    """The API server's response about a prerequisite: whether it exists, and its `status.state`."""

    exists: bool
    state: str = ""


class Prerequisites:
    """A cache of the prerequisites that exist, filled by GET requests for single objects.

    An object that exists is not requested again for `cache_time`. A missing object and a closed queue are requested
    again for each start, because an administrator may be repairing them.
    If RBAC does not allow reading an object (403), the object counts as existing, and the log says once which right is
    missing. So a hub that must not read PriorityClasses can still start notebooks.
    """

    def __init__(self, server: ApiServer, cache_time: timedelta) -> None:
        self._server = server
        self._cache_seconds = cache_time.total_seconds()
        self._seen: dict[Prerequisite, float] = {}
        self._requests: dict[Prerequisite, asyncio.Task[_Found]] = {}
        self._unreadable: set[tuple[str, str]] = set()

    async def require(self, prerequisites: Iterable[Prerequisite]) -> None:
        """Raise Refusal (503) if an object is missing or closed, or if the API server does not answer."""
        found = await self._find(prerequisites)
        if missing := [prerequisite for prerequisite, answer in found.items() if not answer.exists]:
            raise _missing(missing)
        for prerequisite, answer in found.items():
            if answer.state in prerequisite.shut:
                raise _shut(prerequisite, answer.state)

    async def _find(self, prerequisites: Iterable[Prerequisite]) -> dict[Prerequisite, _Found]:
        """Request the prerequisites that are not in the cache. Cache those that exist and accept pods."""
        now = time.monotonic()
        unknown = [one for one in prerequisites if now - self._seen.get(one, -1e9) > self._cache_seconds]
        answers = await asyncio.gather(*(asyncio.shield(self._shared_request(one)) for one in unknown))
        found = dict(zip(unknown, answers, strict=True))
        for prerequisite, answer in found.items():
            if answer.exists and answer.state not in prerequisite.shut:
                self._seen[prerequisite] = time.monotonic()
            else:
                self._seen.pop(prerequisite, None)
        return found

    def _shared_request(self, prerequisite: Prerequisite) -> asyncio.Task[_Found]:
        """Return the running request for this object, or send one, so that simultaneous starts share a request."""
        request = self._requests.get(prerequisite)
        if request is None:
            request = self._requests[prerequisite] = asyncio.ensure_future(self._get(prerequisite))
            request.add_done_callback(lambda _: self._requests.pop(prerequisite))
        return request

    async def _get(self, prerequisite: Prerequisite) -> _Found:
        try:
            # Only a queue's status is read. The data of a secret is not even requested.
            answer = await self._server.ask("GET", prerequisite.path, accept=JSON if prerequisite.shut else _METADATA)
        except ApiError as error:
            if error.status in (401, 403) and not prerequisite.is_reported:
                self._warn_unreadable(prerequisite, error.status)
            return _Found(exists=error.status != 404)
        return _Found(exists=True, state=(answer.get("status") or {}).get("state") or "")

    def _warn_unreadable(self, prerequisite: Prerequisite, status: int) -> None:
        kind = (prerequisite.api_version, prerequisite.kind)
        if kind in self._unreadable:
            return
        self._unreadable.add(kind)
        log.warning(
            "%s cannot be read (HTTP %s) and is assumed to exist. Grant the right to get %s: "
            "`research-spawner manifests` prints the roles.",
            prerequisite,
            status,
            prerequisite.resource,
        )


def _missing(prerequisites: Sequence[Prerequisite]) -> Refusal:
    return Refusal(
        "missing-in-cluster",
        f"The cluster has no {', '.join(map(str, prerequisites))}, so the pod would never start.",
        field=prerequisites[0].selected_by,
        hint="Ask your administrators: `research-spawner manifests` prints the objects that a site needs.",
        status=503,
    )


def _shut(prerequisite: Prerequisite, state: str) -> Refusal:
    return Refusal(
        "shut-in-cluster",
        f"{prerequisite} is {state.lower()} and accepts no new pods.",
        field=prerequisite.selected_by,
        hint="Select another queue, or try again when your administrators have opened this one.",
        status=503,
    )
