"""Reads the order of waiting work from a scheduler's API, at most once in five seconds for each queue.

A request is sent only when a caller asks, which is while a user looks at a page or a list of jobs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from ..refusal import Refusal
from ..schedulers import Objects, OrderApi
from ..shape import Json
from .api_server import ApiError, ApiServer

log = logging.getLogger(__name__)

MAX_AGE = timedelta(seconds=5)
# After HTTP 403 or 404, the next request. An administrator may be installing the API.
RETRY = timedelta(minutes=5)
# A page is shown without a place if the API does not answer in this time.
ANSWER_SECONDS = 3.0


@dataclass(frozen=True)
class _Listed:
    """The items of one queue, and the time (of time.monotonic) until which they are used."""

    items: tuple[Json, ...]
    until: float


class QueuePlaces:
    """The waiting work of each queue in its order, for schedulers that have an API for it.

    If the API does not exist (404) or RBAC does not allow it (403), there are no places, and the log says so once.
    """

    def __init__(self, server: ApiServer, api: OrderApi | None, namespace: str) -> None:
        self._server = server
        self._api = api
        self._namespace = namespace
        self._found: dict[str, _Listed] = {}
        self._requests: dict[str, asyncio.Task[tuple[Json, ...]]] = {}
        self._has_warned = False

    async def added(self, objects: Iterable[Objects]) -> list[Objects]:
        """Return the scheduler's objects of each pod or job, with the waiting work of its queue in its order."""
        if (api := self._api) is None:
            return list(objects)
        all_objects = list(objects)
        paths = [api.path(self._namespace, found) for found in all_objects]
        listed = dict.fromkeys(path for path in paths if path)
        answers = await asyncio.gather(*map(self._items, listed))
        by_path = dict(zip(listed, answers, strict=True))
        return [
            found.plus(api.kind, by_path[path]) if path else found
            for path, found in zip(paths, all_objects, strict=True)
        ]

    async def _items(self, path: str) -> tuple[Json, ...]:
        known = self._found.get(path)
        if known is not None and time.monotonic() < known.until:
            return known.items
        if (request := self._requests.get(path)) is None:
            request = self._requests[path] = asyncio.ensure_future(self._request(path))
            request.add_done_callback(lambda _: self._requests.pop(path))
        return await asyncio.shield(request)

    async def _request(self, path: str) -> tuple[Json, ...]:
        items: tuple[Json, ...] = ()
        age = MAX_AGE
        try:
            answer = await asyncio.wait_for(self._server.ask("GET", path), ANSWER_SECONDS)
            items = tuple(answer.get("items") or ())
        except ApiError as error:
            if error.status in (401, 403, 404):
                age = RETRY
                self._warn(error.status)
        except (Refusal, asyncio.TimeoutError):
            pass  # ApiServer logs it
        self._forget_old()
        self._found[path] = _Listed(items, time.monotonic() + age.total_seconds())
        return items

    def _forget_old(self) -> None:
        now = time.monotonic()
        self._found = {path: listed for path, listed in self._found.items() if listed.until > now}

    def _warn(self, status: int) -> None:
        assert self._api is not None
        if self._has_warned:
            return
        self._has_warned = True
        log.warning(
            "Places in queues are not shown, because %s.%s cannot be read (HTTP %s). Install this API, and grant the "
            "right to get %s in %s: `research-spawner manifests` prints the role.",
            *(self._api.resource, self._api.group, status, self._api.resource, self._api.group),
        )
