"""Storage: every PersistentVolumeClaim is bound at once to a directory; the cluster's own ones go with their claim."""

from __future__ import annotations

import asyncio
import shutil

from .kinds import CLAIM
from .objects import Json
from .store import Change, Store
from .volumes import Storage


class ClaimBinder:
    def __init__(self, store: Store, storage: Storage) -> None:
        self.store = store
        self.storage = storage

    def start(self) -> None:
        self.store.listeners.append(self._seen)

    def stop(self) -> None:
        self.store.listeners.remove(self._seen)

    def _seen(self, change: Change) -> None:
        if change.kind != CLAIM:
            return
        metadata = change.new["metadata"]
        if change.type == "ADDED":
            asyncio.get_running_loop().call_soon(self._bind, metadata["namespace"], metadata["name"])
        elif change.type == "DELETED" and self.storage.is_own(metadata["namespace"], metadata["name"]):
            shutil.rmtree(self.storage.claim(metadata["namespace"], metadata["name"]), ignore_errors=True)

    def _bind(self, namespace: str, name: str) -> None:
        claim = self.store.find(CLAIM, namespace, name)
        if claim is None:
            return

        def change(new: Json) -> None:
            new["spec"]["volumeName"] = f"pvc-{new['metadata']['uid']}"
            capacity = {"storage": new["spec"]["resources"]["requests"]["storage"]}
            new["status"] = {
                "phase": "Bound",
                "accessModes": new["spec"].get("accessModes") or [],
                "capacity": capacity,
            }

        self.store.modify(CLAIM, claim, change)
