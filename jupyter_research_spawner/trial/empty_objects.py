"""Create the Secrets and ConfigMaps that the pods of a site name, with empty values.

Without them the kubelet would not start the containers, and the hub refuses a start that needs an absent Secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

from ..demo.demo_cluster import Say
from ..embedded.apimachinery.api_resources import CONFIG_MAP, POD, SECRET, Kind
from ..embedded.objectstore.object_store import Change, Store
from ..pod.containers import all_containers
from ..shape import Json


class EmptyObjects:
    """Creates what each new pod names.  Objects that others have created stay as they are."""

    def __init__(self, store: Store, say: Say) -> None:
        self._store, self._say = store, say
        self._created: set[tuple[str, str, str]] = set()
        store.listeners.append(self._seen)

    def create(self, kind: Kind, namespace: str, name: str) -> None:
        """Create the object without keys if it does not exist."""
        if self._store.find(kind, namespace, name) is None:
            self._store.create(kind, namespace, {"metadata": {"name": name}})
            self._created.add((kind.kind, namespace, name))

    def _seen(self, change: Change) -> None:
        if change.kind == POD and change.type == "ADDED":
            # Not at once, so that all listeners see the changes in their order.
            asyncio.get_running_loop().call_soon(self._create_for, change.new)

    def _create_for(self, pod: Json) -> None:
        namespace = pod["metadata"]["namespace"]
        for kind, name, key in needed_keys(pod):
            if self._store.find(kind, namespace, name) is None:
                self.create(kind, namespace, name)
                self._say(f"A pod names the {kind.kind} {name}, which is empty here.")
            if key and (kind.kind, namespace, name) in self._created:
                self._store.modify(kind, self._store.get(kind, namespace, name), partial(_add, key))


def _add(key: str, found: Json) -> None:
    found["data"] = {key: "", **(found.get("data") or {})}


def needed_keys(pod: Json) -> Iterator[tuple[Kind, str, str]]:
    """Yield (kind, name, key) of what a pod needs to start.  The key is empty if an object without keys is enough."""
    mounted_whole: dict[str, tuple[Kind, str]] = {}
    for volume in pod["spec"].get("volumes") or ():
        for kind, name, source in _sources(volume):
            if source.get("optional"):
                continue
            yield kind, name, ""
            for item in source.get("items") or ():
                yield kind, name, item["key"]
            if not source.get("items"):
                mounted_whole[volume["name"]] = kind, name
    for _, container in all_containers(pod):
        for variable in container.get("env") or ():
            for field, kind in (("secretKeyRef", SECRET), ("configMapKeyRef", CONFIG_MAP)):
                reference = (variable.get("valueFrom") or {}).get(field)
                if reference and not reference.get("optional"):
                    yield kind, reference["name"], reference["key"]
        for mount in container.get("volumeMounts") or ():
            # For an absent key, the kubelet would mount a directory.
            if mount["name"] in mounted_whole and mount.get("subPath"):
                yield *mounted_whole[mount["name"]], mount["subPath"]


def _sources(volume: Json) -> Iterator[tuple[Kind, str, dict[str, Any]]]:
    if source := volume.get("configMap"):
        yield CONFIG_MAP, source["name"], source
    if source := volume.get("secret"):
        yield SECRET, source["secretName"], source
    for part in (volume.get("projected") or {}).get("sources") or ():
        for field, kind in (("configMap", CONFIG_MAP), ("secret", SECRET)):
            if source := part.get(field):
                yield kind, source["name"], source
