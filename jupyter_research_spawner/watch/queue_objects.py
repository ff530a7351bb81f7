"""Follows the objects of a scheduler's queues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from ..schedulers import Objects, QueueKind
from ..shape import Json
from .api_server import ApiServer
from .follow import Change, follow


class FollowedPaths:
    """Follows paths of the API server, and records when something was last heard of each.

    changed: set after each change.  heard: by path, without those that cannot be read.  lost: the paths that cannot be
    read, for example because RBAC does not allow it; `follow` logs the reason once.
    """

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.changed = asyncio.Event()
        self.heard: dict[str, datetime] = {}
        self.lost: set[str] = set()

    @property
    def answered(self) -> int:
        """Return for how many paths it is known whether they can be read."""
        return len(self.heard) + len(self.lost)

    @property
    def as_of(self) -> datetime:
        """Return when all of them were known to be up to date."""
        return min(self.heard.values(), default=datetime.now(timezone.utc))

    async def follow(self, path: str, query: Mapping[str, str], **options: Any) -> AsyncIterator[Change]:
        """Yield the changes of `follow`."""
        async for change in follow(self._server, path, query, confirms=True, **options):
            yield change
            if change.kind == "lost":
                self.heard.pop(path, None)
                self.lost.add(path)
            else:
                self.heard[path] = datetime.now(timezone.utc)
                self.lost.discard(path)
            self.changed.set()


class QueueObjects:
    """The objects of these kinds, with their names, specs and statuses.  `watches` keeps them up to date."""

    def __init__(self, kinds: Iterable[QueueKind], namespace: str, paths: FollowedPaths) -> None:
        self._kinds = tuple(kinds)
        self._namespace = namespace
        self._paths = paths
        self._objects: dict[str, dict[str, Json] | None] = {kind.kind: None for kind in self._kinds}

    def watches(self) -> list[Coroutine[Any, Any, None]]:
        """Return one watch for each kind."""
        return [self._follow(kind) for kind in self._kinds]

    def objects(self) -> Objects:
        """Return all objects, without the kinds that cannot be read."""
        return Objects({kind: tuple(found.values()) for kind, found in self._objects.items() if found is not None})

    async def _follow(self, kind: QueueKind) -> None:
        where = f"/namespaces/{self._namespace}" if kind.namespaced else ""
        path = f"/apis/{kind.api_version}{where}/{kind.resource}"
        async for change in self._paths.follow(path, {}, slim=_queue_object):
            if change.kind == "lost":
                self._objects[kind.kind] = None
            elif change.kind != "confirmed":
                known = {} if change.kind == "listed" else self._objects[kind.kind] or {}
                for found in change.objects:
                    if change.kind == "deleted":
                        known.pop(found["metadata"]["name"], None)
                    else:
                        known[found["metadata"]["name"]] = found
                self._objects[kind.kind] = known


def _queue_object(found: Json) -> Json:
    """Return the name, spec and status of an object of a queue."""
    return {
        "metadata": {"name": found["metadata"]["name"]},
        "spec": found.get("spec") or {},
        **({"status": found["status"]} if "status" in found else {}),
    }
