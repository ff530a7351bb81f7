"""Create the volumes of pods as directories of this machine, and compute the mounts of each container.

Files from ConfigMaps and Secrets are written when the pod starts, and are not updated later.  Those of downwardAPI
volumes are updated when the pod changes, except mounts with a subPath of an isolated pod, as with a kubelet.
An emptyDir with medium Memory is a directory on disk.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..apimachinery.api_resources import CLAIM, CONFIG_MAP, SECRET
from ..apimachinery.object_fields import Json
from ..objectstore.object_store import Change, Store
from .container_environment import ConfigError, Surroundings, expand, field_value, referenced, resource_value, values_of
from .container_process import Mount


class VolumeError(Exception):
    """A volume cannot be mounted.  The pod stays in ContainerCreating; the message is that of its event FailedMount."""


@dataclass(frozen=True)
class Storage:
    """The directories of volumes.  `claims` has the directories outside of `state`, by namespace and claim."""

    state: Path
    claims: Mapping[tuple[str, str], Path]
    host_paths: bool

    def claim(self, namespace: str, name: str) -> Path:
        if (namespace, name) in self.claims:
            return self.claims[namespace, name]
        return self.state / "pv" / f"{namespace}-{name}"

    def is_own(self, namespace: str, name: str) -> bool:
        return (namespace, name) not in self.claims

    def pod(self, uid: str) -> Path:
        return self.state / "pods" / uid


def prepare(store: Store, storage: Storage, around: Surroundings) -> dict[str, Path]:
    """Create the volumes that the pod's containers mount, and return their directories by name.  Raises VolumeError."""
    directories = {}
    spec = around.pod["spec"]
    containers = [*(spec.get("initContainers") or []), *spec["containers"]]
    mounted = {mount["name"] for container in containers for mount in container.get("volumeMounts") or []}
    for volume in spec.get("volumes") or []:
        if volume["name"] not in mounted:
            continue
        try:
            directories[volume["name"]] = _prepare_one(store, storage, around, volume)
        except (ConfigError, OSError) as reason:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {reason}') from None
    return directories


def _prepare_one(store: Store, storage: Storage, around: Surroundings, volume: Json) -> Path:
    metadata = around.pod["metadata"]
    group = (around.pod["spec"].get("securityContext") or {}).get("fsGroup")
    if claim := volume.get("persistentVolumeClaim"):
        directory = storage.claim(metadata["namespace"], claim["claimName"])
        if storage.is_own(metadata["namespace"], claim["claimName"]):
            _make(directory, 0o777, group)
        elif not directory.is_dir():
            raise ConfigError(f"{directory} is not a directory")
        return directory
    if host := volume.get("hostPath"):
        if not storage.host_paths:
            raise ConfigError("hostPath volumes are switched off in this cluster")
        return Path(str(host["path"]))
    path = storage.pod(metadata["uid"]) / "volumes" / str(volume["name"])
    _make(path, 0o777 if "emptyDir" in volume else 0o755, group)
    for name, (content, mode) in _files(store, around, volume).items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
        _give(target, group)
    return path


def update_downward_files(store: Store, storage: Storage, around: Surroundings) -> None:
    """Write the files of the pod's downwardAPI volumes again.  Each file is replaced as a whole."""
    for volume in around.pod["spec"].get("volumes") or []:
        path = storage.pod(around.pod["metadata"]["uid"]) / "volumes" / str(volume["name"])
        if "downwardAPI" not in volume or not path.is_dir():
            continue
        for name, (content, mode) in _files(store, around, volume).items():
            target = path / name
            if target.read_bytes() != content:
                new = target.with_name(f".{target.name}.new")
                new.write_bytes(content)
                new.chmod(mode)
                new.replace(target)


def _make(path: Path, mode: int, group: int | None) -> None:
    if not path.is_dir():
        path.mkdir(parents=True)
        path.chmod(mode)
        _give(path, group)


def _give(path: Path, group: int | None) -> None:
    """Apply fsGroup, so that the group owns the directory, can write to it, and owns new files in it."""
    if group is None or os.geteuid() != 0:
        return
    os.chown(path, -1, group)
    path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o060))


Files = dict[str, tuple[bytes, int]]


def _files(store: Store, around: Surroundings, volume: Json) -> Files:
    """Return the content and mode of each file in a volume, by relative path."""
    if "projected" in volume:
        files: Files = {}
        mode = volume["projected"].get("defaultMode", 0o644)
        for source in volume["projected"].get("sources") or []:
            files |= _source_files(store, around, source, mode)
        return files
    source = {name: volume[name] for name in ("configMap", "secret", "downwardAPI") if name in volume}
    if "secret" in source:
        source["secret"] = {**source["secret"], "name": source["secret"].get("secretName", "")}
    mode = next((part.get("defaultMode", 0o644) for part in source.values()), 0o644)
    return _source_files(store, around, source, mode)


def _source_files(store: Store, around: Surroundings, source: Json, mode: int) -> Files:
    for name, kind in (("configMap", CONFIG_MAP), ("secret", SECRET)):
        if name in source:
            values = values_of(referenced(store, kind, around.pod["metadata"]["namespace"], source[name]))
            return _chosen(values, source[name], mode)
    if "downwardAPI" in source:
        return {
            _relative(item["path"]): (_downward(around, item).encode(), item.get("mode", mode))
            for item in source["downwardAPI"].get("items") or []
        }
    if "serviceAccountToken" in source:
        raise ConfigError("this cluster does not create projected service account tokens")
    return {}


def _chosen(values: Mapping[str, bytes], source: Json, mode: int) -> Files:
    items = source.get("items")
    if items is None:
        return {_relative(key): (content, mode) for key, content in values.items()}
    missing = next((item["key"] for item in items if item["key"] not in values), None)
    if missing is not None and not source.get("optional"):
        raise ConfigError(f"references non-existent config key: {missing}")
    return {
        _relative(item["path"]): (values[item["key"]], item.get("mode", mode))
        for item in items
        if item["key"] in values
    }


def _downward(around: Surroundings, item: Json) -> str:
    if "fieldRef" in item:
        return field_value(around, item["fieldRef"]["fieldPath"])
    return resource_value(around, item["resourceFieldRef"], None)


def _relative(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ConfigError(f"invalid path {path!r}: must be relative and must not contain '..'")
    return path


def mounts(
    container: Json, directories: Mapping[str, Path], env: Mapping[str, str], read_only_claims: set[str]
) -> list[Mount]:
    """Return the container's mounts with `subPath` and `subPathExpr` resolved.  Raises ConfigError."""
    found = []
    for mount in container.get("volumeMounts") or []:
        directory = directories[mount["name"]].resolve()
        sub_path = mount.get("subPath") or expand(mount.get("subPathExpr") or "", env)
        source = (directory / sub_path).resolve()
        if source != directory and directory not in source.parents:
            raise ConfigError(f"subPath {sub_path!r} leads out of the volume {mount['name']!r}")
        if not source.exists():  # like a kubelet, create a directory, even for a missing key of an optional ConfigMap
            source.mkdir(parents=True)
            source.chmod(directory.stat().st_mode & 0o7777)
        read_only = bool(mount.get("readOnly")) or mount["name"] in read_only_claims
        found.append(Mount(source, mount["mountPath"], read_only))
    return found


def read_only_volumes(pod: Json) -> set[str]:
    """Return the volumes that are read-only in all containers, such as ConfigMaps, Secrets and claims with readOnly."""
    return {
        volume["name"]
        for volume in pod["spec"].get("volumes") or []
        if {"configMap", "secret", "downwardAPI", "projected"} & volume.keys()
        or (volume.get("persistentVolumeClaim") or {}).get("readOnly")
    }


class ClaimBinder:
    """Binds each PersistentVolumeClaim to a directory when the claim is created.

    When the claim is deleted, the directory is deleted.
    """

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
