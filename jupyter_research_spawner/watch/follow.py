"""Lists and watches objects without end, as an informer does.

Source: Kubernetes, Efficient detection of changes (resourceVersion, 410 Gone).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ..refusal import Refusal
from ..shape import Json
from .api_server import ApiError, ApiServer

log = logging.getLogger(__name__)

# The API server ends a watch after this time. If a connection is lost without an error, the client notices it later.
WATCH_SECONDS = 240
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
# A watch that ends sooner without an event counts as failed, because a proxy has probably ended it.
SHORTEST_WATCH_SECONDS = 1.0


@dataclass(frozen=True)
class Change:
    """A change of the followed objects.

    A change of kind `listed` has all existing objects. An object that is not among them was deleted. A change of
    another kind has one object.
    """

    kind: Literal["listed", "added", "modified", "deleted"]
    objects: tuple[Json, ...]


async def follow(
    server: ApiServer,
    path: str,
    query: Mapping[str, str],
    *,
    page: int | None = None,
    keep: Callable[[Json], bool] = lambda obj: True,
) -> AsyncIterator[Change]:
    """Yield the changes of the objects at `path` without end. After a failure, pause and list the objects again.

    page: list this many objects at a time, for objects that together can be larger than the memory. A list then has
    only the objects for which `keep` is true.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        begun = time.monotonic()
        try:
            listed, version = await _listed(server, path, query, page, keep)
            yield Change("listed", listed)
            async for change in _watched(server, path, query, version):
                yield change
        except (ApiError, Refusal, KeyError, ValueError) as error:
            log.warning("The watch of %s failed: %s", path, error)
        # A successful list alone does not reset the pause. Otherwise a client that may list but not watch would list
        # without a pause.
        if time.monotonic() - begun > LONGEST_PAUSE_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        # The pause is random, so that clients do not all list at the same time after the API server was down.
        await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 - not a secret
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def _listed(
    server: ApiServer, path: str, query: Mapping[str, str], page: int | None, keep: Callable[[Json], bool]
) -> tuple[tuple[Json, ...], str]:
    """Return the objects and the resourceVersion of the list, which is the same on all pages."""
    kept: list[Json] = []
    asked = {**query, "limit": str(page)} if page else dict(query)
    while True:
        found = await server.ask("GET", path, query=asked)
        kept += filter(keep, found.get("items") or ())
        if not (token := found["metadata"].get("continue")):
            return tuple(kept), str(found["metadata"]["resourceVersion"])
        asked["continue"] = str(token)


async def _watched(server: ApiServer, path: str, query: Mapping[str, str], version: str) -> AsyncIterator[Change]:
    """Yield the changes since `version` from consecutive watches, until a new list is needed."""
    while True:
        asked = {
            **query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        begun, has_event = time.monotonic(), False
        async for event in server.watch_events(path, asked, silence_seconds=WATCH_SECONDS + 30):
            has_event = True
            kind, found = str(event.get("type", "")).lower(), event.get("object") or {}
            if kind == "error":
                log.info("The watch of %s restarts with a new list: %s", path, found.get("message"))
                return
            version = str(found["metadata"]["resourceVersion"])
            if kind in ("added", "modified", "deleted"):
                yield Change(kind, (found,))  # type: ignore[arg-type]
        if not has_event and time.monotonic() - begun < SHORTEST_WATCH_SECONDS:
            log.warning("The watch of %s ended early without an event", path)
            return
