"""List, then watch, for ever.  Contract: Kubernetes, Efficient detection of changes (resourceVersion, 410 Gone)."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..refusal import Refusal
from ..shape import Json
from .api_server import ApiError, ApiServer

log = logging.getLogger(__name__)

# The server ends a watch by itself after this; a connection that died in silence is noticed a little later.
WATCH_SECONDS = 240
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
# A watch that ends sooner, without a word, is none: a proxy cut it off, and would cut off the next.
SHORTEST_WATCH_SECONDS = 1.0


@dataclass(frozen=True)
class Change:
    """`listed`: all that there is now, and whatever is not in it went while nobody looked."""

    kind: Literal["listed", "added", "modified", "deleted"]
    objects: tuple[Json, ...]


async def follow(server: ApiServer, path: str, query: Mapping[str, str]) -> AsyncIterator[Change]:
    """What happens to the objects at `path`, through every failure of the API server.  Never ends."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        begun = time.monotonic()
        try:
            found = await server.ask("GET", path, query=query)
            version = str(found["metadata"]["resourceVersion"])
            yield Change("listed", tuple(found.get("items") or ()))
            async for change in _watched(server, path, query, version):
                yield change
        except (ApiError, Refusal, KeyError, ValueError) as error:
            log.warning("Watching %s broke off: %s", path, error)
        # Not after a list that went well: who may list and not watch would list without end.
        if time.monotonic() - begun > LONGEST_PAUSE_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        # Not all services at one moment, when the API server is back.
        await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 - not a secret
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


async def _watched(server: ApiServer, path: str, query: Mapping[str, str], version: str) -> AsyncIterator[Change]:
    """One watch after the other from `version` on, until the server wants a new list."""
    while True:
        asked = {
            **query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        begun, said = time.monotonic(), False
        async for event in server.lines(path, asked, silence_seconds=WATCH_SECONDS + 30):
            said = True
            kind, found = str(event.get("type", "")).lower(), event.get("object") or {}
            if kind == "error":
                log.info("The watch of %s starts anew: %s", path, found.get("message"))
                return
            version = str(found["metadata"]["resourceVersion"])
            if kind in ("added", "modified", "deleted"):
                yield Change(kind, (found,))  # type: ignore[arg-type]
        if not said and time.monotonic() - begun < SHORTEST_WATCH_SECONDS:
            log.warning("The watch of %s ended at once", path)
            return
