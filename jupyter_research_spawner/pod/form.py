"""A manifest that may have come from a hook, brought into the one form that compose and check read."""

from __future__ import annotations

import copy
from typing import Any

from ..shape import Json, Slots
from .ours import broken

_MAPS = ("securityContext", "nodeSelector", "affinity")
_LISTS = ("containers", "initContainers", "ephemeralContainers", "volumes", "tolerations", "imagePullSecrets")
_LISTS_OF_CONTAINER = ("volumeMounts", "env", "envFrom", "ports", "volumeDevices")


def in_form(manifest: Any, slots: Slots) -> Json:
    """A deep copy without nulls (null is absent in Kubernetes), whose lists and maps are lists and maps.

    Raises Refusal with the path of what is something else.
    """
    if not isinstance(manifest, dict):
        raise broken("manifest", f"is {type(manifest).__name__}, not a map")
    found: Json = _without_nulls(copy.deepcopy(manifest))
    _metadata(found, "")
    for template in slots.templates:
        at: Any = found
        for key in template.path:
            if not isinstance(at.get(key), dict):
                raise broken(".".join(template.path), "is not there or not a map")
            at = at[key]
        _metadata(at, ".".join(template.path))
        _spec(at)
    return found


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(below) for key, below in value.items() if below is not None}
    if isinstance(value, (list, tuple)):
        return [_without_nulls(below) for below in value if below is not None]
    return value


def _metadata(owner: Json, path: str) -> None:
    metadata = _a(dict, owner.setdefault("metadata", {}), f"{path}.metadata".lstrip("."))
    for key in ("labels", "annotations"):
        texts = _a(dict, metadata.setdefault(key, {}), f"{path}.metadata.{key}".lstrip("."))
        for name, value in texts.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise broken(f"metadata.{key}.{name}", "is not text")


def _spec(pod: Json) -> None:
    spec = _a(dict, pod.setdefault("spec", {}), "spec")
    for key in _MAPS:
        if key in spec:
            _a(dict, spec[key], f"spec.{key}")
    for key in _LISTS:
        if key in spec:
            for index, item in enumerate(_a(list, spec[key], f"spec.{key}")):
                _a(dict, item, f"spec.{key}[{index}]")
    for key in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(key, [])):
            _container(container, f"spec.{key}[{index}]")
    names = [volume.get("name") for volume in spec.get("volumes", [])]
    if len(set(map(str, names))) != len(names):
        raise broken("spec.volumes", "has two volumes of one name")


def _container(container: Json, path: str) -> None:
    for key in ("securityContext", "resources"):
        if key in container:
            _a(dict, container[key], f"{path}.{key}")
    for key in ("requests", "limits"):
        if key in container.get("resources", {}):
            _a(dict, container["resources"][key], f"{path}.resources.{key}")
    if "capabilities" in container.get("securityContext", {}):
        _a(dict, container["securityContext"]["capabilities"], f"{path}.securityContext.capabilities")
    for key in _LISTS_OF_CONTAINER:
        for index, item in enumerate(_a(list, container.get(key, []), f"{path}.{key}")):
            _a(dict, item, f"{path}.{key}[{index}]")
    for key in ("volumeMounts", "env"):
        for index, item in enumerate(container.get(key, [])):
            if not isinstance(item.get("name"), str):
                raise broken(f"{path}.{key}[{index}].name", "is missing or not text")


def _a(kind: type, value: Any, path: str) -> Any:
    if not isinstance(value, kind):
        wanted = "a map" if kind is dict else "a list"
        raise broken(path, f"is {type(value).__name__}, not {wanted}")
    return value
