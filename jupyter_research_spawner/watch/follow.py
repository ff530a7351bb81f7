"""Lists and watches objects without end, as an informer does. No failure ends it.

Source: Kubernetes, Efficient detection of changes (resourceVersion, bookmarks, 410 Gone).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ..metrics import count_watch_restart, show_watch_up
from ..refusal import Refusal
from ..shape import Json
from .api_server import ApiError, ApiServer, explain

log = logging.getLogger(__name__)

# The API server ends a watch after this time.
WATCH_SECONDS = 240
# The API server sends a bookmark about once a minute (Kubernetes, cacher.go), so a connection that is silent for longer
# may be lost without an error. The watch then continues on a new connection, which also suits a server that sends no
# bookmarks.
SILENCE_SECONDS = 75.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
# A watch that ends sooner without an event counts as failed, because a proxy has probably ended it.
SHORTEST_WATCH_SECONDS = 1.0


@dataclass(frozen=True)
class Change:
    """A change of the followed objects.

    A change of kind `listed` has all existing objects. An object that is not among them was deleted. A change of kind
    `lost` has no objects: they cannot be read, and what was known about them can be old until the next `listed`.
    A change of kind `confirmed` has no objects either: the watch works, and nothing has changed.
    A change of another kind has one object.
    """

    kind: Literal["listed", "added", "modified", "deleted", "lost", "confirmed"]
    objects: tuple[Json, ...] = ()


async def follow(
    server: ApiServer,
    path: str,
    query: Mapping[str, str],
    *,
    page: int | None = None,
    keep: Callable[[Json], bool] = lambda obj: True,
    slim: Callable[[Json], Json] = lambda obj: obj,
    confirms: bool = False,
) -> AsyncIterator[Change]:
    """Yield the changes of the objects at `path` without end. After a failure, pause and list the objects again.

    page: list this many objects at a time, for objects that together can be larger than the memory. A list then has
    only the objects for which `keep` is true.
    slim: returns what is needed of an object. The rest of the object is not kept.
    confirms: whether to yield also that nothing has changed.
    """
    pause, state, server = FIRST_PAUSE_SECONDS, _State(path), server.for_repeated_requests()
    while True:
        begun = time.monotonic()
        try:
            listed, version = await _listed(server, path, query, page, keep, slim)
            state.is_known()
            show_watch_up(path)
            yield Change("listed", listed)
            async for change in _watched(server, path, query, version):
                state.works()
                if change is not None:
                    yield Change(change.kind, tuple(map(slim, change.objects)))
                elif confirms:
                    yield Change("confirmed")
        except Exception as error:  # also an answer that is not what Kubernetes sends: nothing may end the watch
            if state.fails(error):
                yield Change("lost")
        count_watch_restart(path)
        # A successful list alone does not reset the pause. Otherwise a client that may list but not watch would list
        # without a pause.
        if time.monotonic() - begun > LONGEST_PAUSE_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        # The pause is random, so that clients do not all list at the same time after the API server was down.
        await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 - not a secret
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


class _State:
    """Whether the objects at a path are known, and what the log says about it: each failure once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._is_known = False
        self._is_lost = False
        self._logged = ""

    def is_known(self) -> None:
        """Take note of a successful list."""
        self._is_known, self._is_lost = True, False

    def works(self) -> None:
        """Take note of a successful watch."""
        if self._logged:
            log.warning("The watch of %s works again", self._path)
        self._logged = ""

    def fails(self, error: Exception) -> bool:
        """Log the error if it is another one than before. Return whether the objects have just become unknown.

        A watch whose connection broke is not lost yet, because the objects are listed again at once.
        """
        why = _why(error)
        if why != self._logged:
            expected = isinstance(error, (ApiError, Refusal))
            log.warning("The watch of %s failed: %s", self._path, why, exc_info=None if expected else error)
        self._logged = why
        was_known, was_lost = self._is_known, self._is_lost
        self._is_known, self._is_lost = False, not was_known
        return not was_known and not was_lost


def _why(error: Exception) -> str:
    """Return a sentence for the log. For a missing right, the API server's message names verb, resource and account."""
    again = f"It is tried again every {LONGEST_PAUSE_SECONDS:.0f} s"
    if isinstance(error, ApiError) and error.status == 403:
        role = "ClusterRole" if "at the cluster scope" in error.message else "Role"
        return f"{error.message}. Add this right to a {role} of the account. {again}"
    if isinstance(error, ApiError) and error.status == 404:
        return f"the API server does not have this resource (yet): {error.message}. {again}"
    if isinstance(error, Refusal) and error.__cause__ is not None:
        return f"the API server does not answer: {explain(error.__cause__)}. {again}"
    return str(error) if isinstance(error, (ApiError, Refusal)) else repr(error)


async def _listed(
    server: ApiServer,
    path: str,
    query: Mapping[str, str],
    page: int | None,
    keep: Callable[[Json], bool],
    slim: Callable[[Json], Json],
) -> tuple[tuple[Json, ...], str]:
    """Return the objects and the resourceVersion of the list, which is the same on all pages."""
    kept: list[Json] = []
    asked = {**query, "limit": str(page)} if page else dict(query)
    while True:
        found = await server.ask("GET", path, query=asked)
        kept += map(slim, filter(keep, found.get("items") or ()))
        if not (token := found["metadata"].get("continue")):
            return tuple(kept), str(found["metadata"]["resourceVersion"])
        asked["continue"] = str(token)


async def _watched(
    server: ApiServer, path: str, query: Mapping[str, str], version: str
) -> AsyncIterator[Change | None]:
    """Yield the changes since `version` from consecutive watches, until a new list is needed.

    None says that a watch has worked without a change of an object.
    """
    while True:
        asked = {
            **query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        begun, has_event = time.monotonic(), False
        async for event in server.watch_events(path, asked, silence_seconds=SILENCE_SECONDS):
            kind, found = str(event.get("type", "")).lower(), event.get("object") or {}
            if kind == "error":
                log.info("The watch of %s restarts with a new list: %s", path, found.get("message"))
                return
            version = str(found["metadata"]["resourceVersion"])
            if kind in ("added", "modified", "deleted"):
                has_event = True
                yield Change(kind, (found,))  # type: ignore[arg-type]
            else:
                yield None
        if not has_event and time.monotonic() - begun < SHORTEST_WATCH_SECONDS:
            log.warning("The watch of %s ended early without an event", path)
            return
        yield None
