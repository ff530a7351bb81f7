"""A cache of the objects that a scheduler creates for pods and jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..schedulers import NO_OBJECTS, Kind, Objects
from ..shape import Json
from .api_server import ApiServer
from .follow import Change, follow


class OwnedObjectCache:
    """Watches objects of the given kinds, and returns the objects that belong to a pod or a job.

    `run` must be started once as a task. `of` reads from memory and sends no request. If RBAC does not allow listing
    and watching a kind, the cache has no objects of this kind, and the log names the missing right.

    on_change: called with the namespace and the name of each owner of an object that was created, changed or deleted.
    """

    def __init__(
        self,
        server: ApiServer,
        namespace: str,
        kinds: Iterable[Kind],
        on_change: Callable[[str, str], None] = lambda namespace, owner: None,
    ) -> None:
        self._server = server
        self._namespace = namespace
        self._on_change = on_change
        self._kinds = tuple(kinds)
        self._found: dict[str, dict[str, Json]] = {kind.kind: {} for kind in self._kinds}
        self._by_owner: dict[str, dict[str, tuple[str, Json]]] = {}

    async def run(self) -> None:
        """Watch all kinds until the task is cancelled."""
        await asyncio.gather(*(self._follow(kind) for kind in self._kinds))

    def of(self, obj: Json) -> Objects:
        """Return the cached objects that are owned by `obj` (a pod or a job) or by an owner of `obj`."""
        metadata = obj.get("metadata") or {}
        owners = [metadata.get("uid"), *(owner["uid"] for owner in metadata.get("ownerReferences") or [])]
        by_kind: dict[str, list[Json]] = {}
        for owner in owners:
            for kind, found in self._by_owner.get(owner, {}).values():
                by_kind.setdefault(kind, []).append(found)
        return Objects(by_kind) if by_kind else NO_OBJECTS

    async def _follow(self, kind: Kind) -> None:
        path = f"/apis/{kind.api_version}/namespaces/{self._namespace}/{kind.resource}"
        async for change in follow(self._server, path, {}):
            self._take(kind.kind, change)

    def _take(self, kind: str, change: Change) -> None:
        known = self._found[kind]
        if change.kind == "listed":
            for uid in known.keys() - {found["metadata"]["uid"] for found in change.objects}:
                gone = known[uid]
                self._forget(kind, uid)
                self._announce(gone)
        for found in change.objects:
            uid = found["metadata"]["uid"]
            self._forget(kind, uid)
            if change.kind != "deleted":
                known[uid] = kept = _without_pods(found)
                for owner in _owners(kept):
                    self._by_owner.setdefault(owner, {})[uid] = (kind, kept)
            self._announce(found)

    def _announce(self, found: Json) -> None:
        for reference in found["metadata"].get("ownerReferences") or []:
            self._on_change(self._namespace, str(reference.get("name")))

    def _forget(self, kind: str, uid: str) -> None:
        found = self._found[kind].pop(uid, None)
        for owner in _owners(found or {}):
            owned = self._by_owner[owner]
            del owned[uid]
            if not owned:
                del self._by_owner[owner]


def _owners(found: Mapping[str, Any]) -> list[str]:
    references = (found.get("metadata") or {}).get("ownerReferences") or []
    return [reference["uid"] for reference in references]


def _without_pods(found: Json) -> Json:
    """Return the object without the lists and maps of its spec.

    The spec of a Workload contains the specs of its pods, which contain tokens.
    """
    plain = {key: value for key, value in (found.get("spec") or {}).items() if not isinstance(value, (list, dict))}
    metadata = found["metadata"]
    kept = ("name", "namespace", "uid", "creationTimestamp", "ownerReferences")
    return {
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": plain,
        "status": found.get("status") or {},
    }
