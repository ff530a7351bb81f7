"""The table of all objects, with their revisions and the history for watches.

The table is in memory and used by one thread, without an await between a read and a write.  All readers share the
stored objects, so a write never changes an object but replaces it by a changed copy.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from ..apimachinery.api_errors import not_found
from ..apimachinery.api_resources import Kind, Kinds
from ..apimachinery.object_fields import Json
from ..apimachinery.selectors import Match

HISTORY = 10_000  # number of changes that are kept; a watch from an older revision gets 410


@dataclass(frozen=True)
class Change:
    """One write (ADDED, MODIFIED or DELETED), with the object before and after it."""

    revision: int
    kind: Kind
    type: str
    new: Json
    old: Json | None

    @cached_property
    def new_json(self) -> bytes:
        """Return the new object as JSON, which is encoded once for all watchers."""
        return json.dumps(self.new).encode()


class ObjectTable:
    """The objects of the cluster by kind, namespace and name.  It calls all listeners for each change."""

    def __init__(self, history: int = HISTORY) -> None:
        self.kinds = Kinds()
        self.objects: dict[tuple[str, str], dict[tuple[str | None, str], Json]] = defaultdict(dict)
        # Increases with each restart, so that a watch of a client of an earlier run gets 410 and does not hang.
        self.revision = int(time.time()) * 1000
        self.oldest = self.revision
        self.history: deque[Change] = deque(maxlen=history)
        self.listeners: list[Callable[[Change], None]] = []
        self.by_uid: dict[str, tuple[Kind, Json]] = {}
        # The uids of dependents in order of creation, by the owner's uid.
        self.dependents: dict[str, dict[str, None]] = defaultdict(dict)

    def get(self, kind: Kind, namespace: str | None, name: str) -> Json:
        """Return the object.  Raises ApiError 404 if it does not exist."""
        found = self.find(kind, namespace, name)
        if found is None:
            raise not_found(kind.plural, kind.group, name)
        return found

    def find(self, kind: Kind, namespace: str | None, name: str) -> Json | None:
        return self.objects[kind.key].get((namespace if kind.namespaced else None, name))

    def list(self, kind: Kind, namespace: str | None = None, match: Match | None = None) -> list[Json]:
        """Return the objects, sorted by namespace and name as in etcd."""
        found = self.objects[kind.key]
        keys = sorted(found, key=lambda key: (key[0] or "", key[1]))
        if namespace is not None:
            keys = [key for key in keys if key[0] == namespace]
        return [found[key] for key in keys if match is None or match(found[key])]

    def commit(self, kind: Kind, type_: str, new: Json, old: Json | None) -> Json:
        """Store or remove an object with a new revision, and call the listeners."""
        self.revision += 1
        new["metadata"]["resourceVersion"] = str(self.revision)
        key = (new["metadata"].get("namespace"), new["metadata"]["name"])
        if type_ == "DELETED":
            self.objects[kind.key].pop(key, None)
        else:
            self.objects[kind.key][key] = new
        self._index(kind, type_, new, old)
        change = Change(self.revision, kind, type_, new, old)
        if len(self.history) == self.history.maxlen:
            self.oldest = self.history[0].revision
        self.history.append(change)
        for listener in list(self.listeners):
            listener(change)
        return new

    def _index(self, kind: Kind, type_: str, new: Json, old: Json | None) -> None:
        uid = new["metadata"]["uid"]
        for owner in (old or {"metadata": {}})["metadata"].get("ownerReferences") or []:
            self.dependents[owner["uid"]].pop(uid, None)
        if type_ == "DELETED":
            self.by_uid.pop(uid, None)
            return
        self.by_uid[uid] = (kind, new)
        for owner in new["metadata"].get("ownerReferences") or []:
            self.dependents[owner["uid"]][uid] = None

    @contextmanager
    def changes(self) -> Iterator[asyncio.Queue[Change]]:
        """Return a queue that receives all changes from now on."""
        queue: asyncio.Queue[Change] = asyncio.Queue()
        self.listeners.append(queue.put_nowait)
        try:
            yield queue
        finally:
            self.listeners.remove(queue.put_nowait)
