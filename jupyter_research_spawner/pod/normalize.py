"""A manifest as plain JSON: whatever a hook left in it, compose and check read it without surprises."""

from __future__ import annotations

import json
from typing import Any

from ..shape import Json, Slots
from .overlay import manifest_refusal

# What is read here: a map has these keys' shapes, a list has items of its one shape, a type is itself and no subclass.
# A map whose shape has `name` must have one.
_PROFILE: Json = {"type": str}
_HANDLER: Json = {"httpGet": {}, "tcpSocket": {}}
_CONTAINER: Json = {
    "name": str,
    "resources": {"requests": {}, "limits": {}, "claims": [{"name": str}]},
    "securityContext": {
        "capabilities": {"add": [str], "drop": [str]},
        "seccompProfile": _PROFILE,
        "appArmorProfile": _PROFILE,
    },
    "env": [{"name": str, "valueFrom": {"secretKeyRef": {}}}],
    "volumeMounts": [{"name": str, "mountPath": str}],
    "ports": [{}],
    "lifecycle": {"postStart": _HANDLER, "preStop": _HANDLER},
    "livenessProbe": _HANDLER,
    "readinessProbe": _HANDLER,
    "startupProbe": _HANDLER,
    "terminationMessagePath": str,
    "workingDir": str,
}
_VOLUME: Json = {
    "name": str,
    "persistentVolumeClaim": {"claimName": str},
    "hostPath": {"path": str},
    "secret": {"secretName": str},
    "projected": {"sources": [{"secret": {"name": str}}]},
}
_SPEC: Json = {
    "securityContext": {"supplementalGroups": [int], "seccompProfile": _PROFILE, "appArmorProfile": _PROFILE},
    "containers": [_CONTAINER],
    "initContainers": [_CONTAINER],
    "ephemeralContainers": [_CONTAINER],
    "volumes": [_VOLUME],
    "schedulingGates": [{"name": str}],
    "resourceClaims": [{"name": str}],
}
_METADATA: Json = {"labels": {}, "annotations": {}}


def normalize(manifest: Any, slots: Slots) -> Json:
    """A deep copy, as the API server would read it: null in a map is absent, and what is read here has its type.

    Each template has `metadata` with labels and annotations, and `spec`.  Raises Refusal with the path of what is
    something else than Kubernetes' API says.
    """
    found: Any = _as_sent(manifest)
    if not isinstance(found, dict):
        raise manifest_refusal("manifest", f"is {_kind(found)}, not a map")
    _metadata(found)
    for template in slots.templates:
        pod: Any = found
        for key in template.path:
            pod = pod.get(key)
            if not isinstance(pod, dict):
                raise manifest_refusal(".".join(template.path), f"is {_kind(pod)}, not a map")
        _metadata(pod)
        spec = pod.setdefault("spec", {})
        _shaped(spec, _SPEC, "spec")
        _named_once(spec, ("volumes",))
        _named_once(spec, ("initContainers", "containers", "ephemeralContainers"))
    return found


def _as_sent(manifest: Any) -> Any:
    """Through JSON and back: what is an object of Python, with its own ideas of equality, is none afterwards."""
    try:
        text = json.dumps(manifest, allow_nan=False, ensure_ascii=False).encode()
        return json.loads(text, object_hook=_without_nulls)
    except (TypeError, ValueError, RecursionError) as error:
        raise manifest_refusal("manifest", f"is no JSON: {error}") from None


def _without_nulls(found: Json) -> Json:
    return {key: value for key, value in found.items() if value is not None}


def _metadata(owner: Json) -> None:
    metadata = owner.setdefault("metadata", {})
    _shaped(metadata, _METADATA, "metadata")
    for key in ("labels", "annotations"):
        for name, value in metadata.setdefault(key, {}).items():
            if not isinstance(value, str):
                raise manifest_refusal(f"metadata.{key}.{name}", f"is {_kind(value)}, not text")


def _shaped(value: Any, shape: Any, path: str) -> None:
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise manifest_refusal(path, f"is {_kind(value)}, not a map")
        if "name" in shape and "name" not in value:
            raise manifest_refusal(f"{path}.name", "is missing")
        for key, below in shape.items():
            if key in value and type(value[key]) is not below:
                _shaped(value[key], below, f"{path}.{key}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise manifest_refusal(path, f"is {_kind(value)}, not a list")
        for index, item in enumerate(value):
            _shaped(item, shape[0], f"{path}[{index}]")
    elif type(value) is not shape:
        raise manifest_refusal(path, f"is {_kind(value)}, not {'text' if shape is str else 'a whole number'}")


def _named_once(spec: Json, sorts: tuple[str, ...]) -> None:
    seen = set()
    for sort in sorts:
        for index, item in enumerate(spec.get(sort, [])):
            if item["name"] in seen:
                raise manifest_refusal(f"spec.{sort}[{index}].name", f"is {item['name']!r} for the second time")
            seen.add(item["name"])


def _kind(value: Any) -> str:
    known = {type(None): "not there", dict: "a map", list: "a list", str: "text", bool: "a truth value"}
    return known.get(type(value), f"a {type(value).__name__}")
