"""check's rules for volumes and mounts: what a pod may see, at which path, and whether it may write there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..plan import Plan
from ..shape import Json, Slots
from ..storage import within
from . import ours

Found = Iterator[tuple[str, str]]

HARMLESS = frozenset(("emptyDir", "configMap", "downwardAPI"))


def volume_rules(plan: Plan, slots: Slots, volumes: list[Json]) -> Found:
    by_name = {volume.get("name"): volume for volume in volumes}
    for own in ours.volumes(plan, slots):
        if by_name.get(own["name"]) != own:
            yield f"spec.volumes[{own['name']}]", "is not as the plan made it"
    for volume in volumes:
        name = str(volume.get("name"))
        kinds = set(volume) - {"name"}
        if len(kinds) != 1:
            yield f"spec.volumes[{name}]", f"must be of exactly one kind, not {sorted(kinds)}"
            continue
        kind = kinds.pop()
        source = volume[kind] if isinstance(volume[kind], dict) else {}
        if why := _refused(plan, kind, source):
            yield f"spec.volumes[{name}].{kind}", why


def _refused(plan: Plan, kind: str, source: Json) -> str | None:
    allowed = plan.allowed
    if kind in HARMLESS:
        return None
    if kind == "persistentVolumeClaim":
        claim = source.get("claimName")
        if claim in allowed.claims or claim in {mount.claim for mount in plan.mounts}:
            return None
        return f"is the claim {claim!r}, not one of the person's. If everybody may: pods.allow.claims: {{{claim}: ro}}"
    if kind == "hostPath":
        path = source.get("path")
        return (
            None if path in allowed.host_paths else f"is {path!r} on the node. If everybody may: pods.allow.host_paths"
        )
    if kind == "secret":
        secret = source.get("secretName")
        return (
            None
            if allowed.secrets.get(str(secret))
            else f"is the secret {secret!r}, which pods.allow.secrets does not name"
        )
    if kind == "projected":
        return _projected(plan, source)
    return "is a kind of volume that is not known to be harmless"


def _projected(plan: Plan, source: Json) -> str | None:
    for part in source.get("sources") or []:
        for kind, content in part.items():
            if kind == "secret" and plan.allowed.secrets.get(str((content or {}).get("name"))):
                continue
            if kind not in ("configMap", "downwardAPI"):
                return f"has a {kind}, which would hand the person a credential"
    return None


def mount_rules(plan: Plan, slots: Slots, pod: Json, main: Json) -> Found:
    volumes = {volume.get("name"): volume for volume in pod["spec"].get("volumes", [])}
    own = ours.volume_mounts(plan, slots)
    present = main.get("volumeMounts", [])
    for mount in own:
        if present.count(mount) != 1:
            yield f"the mount {mount['mountPath']}", "is not as the plan made it"
    for where, container in ours.containers(pod):
        if container.get("volumeDevices"):
            yield f"{where}.volumeDevices", "may not be set: a raw device knows no owner"
        for index, mount in enumerate(container.get("volumeMounts", [])):
            path = f"{where}.volumeMounts[{index}]"
            if container is main and mount in own:
                continue
            if container is main:
                yield from _on_ours(path, mount, own)
            yield from _access(plan, path, mount, volumes.get(mount["name"]), own)


def _on_ours(path: str, mount: Json, own: list[Json]) -> Found:
    at = str(mount.get("mountPath", ""))
    if not at.startswith("/") or "/../" in at + "/" or "//" in at:
        yield f"{path}.mountPath", f"is {at!r}, not a plain absolute path"
        return
    at = at.rstrip("/") or "/"
    for planned in own:
        taken = planned["mountPath"]
        if at == "/" or within(at, taken) or within(taken, at):
            yield f"{path}.mountPath", f"({at}) lies on the plan's {taken}: one would hide the other"
            return


def _access(plan: Plan, path: str, mount: Json, volume: Json | None, own: list[Json]) -> Found:
    if volume is None:
        yield f"{path}.name", f"names no volume: {mount['name']!r}"
        return
    claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
    host_path = (volume.get("hostPath") or {}).get("path")
    access: Any = None
    if claim is not None:
        granted = {point.claim for point in plan.mounts}
        access = plan.allowed.claims.get(claim)
        if claim in granted and access is None and not any(_equivalent(mount, planned, volume) for planned in own):
            yield (
                path,
                f"mounts the person's claim {claim!r} in another way than the plan: other path, subPath or access",
            )
            return
    elif host_path is not None:
        access = plan.allowed.host_paths.get(host_path)
    if access == "ro" and mount.get("readOnly") is not True:
        yield f"{path}.readOnly", f"must be true: {claim or host_path} is allowed for reading only"


def _equivalent(mount: Json, planned: Json, volume: Json) -> bool:
    return {**mount, "name": ""} == {**planned, "name": ""} and planned["name"] == volume.get("name")
