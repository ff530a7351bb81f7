"""Turn a manifest, which a hook may have changed, into plain JSON with the field types of Kubernetes' API."""

from __future__ import annotations

import json
from typing import Any

from ..shape import Json, Slots, TemplateMissing
from .containers import manifest_refusal

# The types of the fields that compose and check read.  A dict gives the type of each key, and a list gives the type of
# its items.  If a dict here has the key `name`, the field must have a name too.
_PROFILE: Json = {"type": str}
_HANDLER: Json = {"exec": {"command": [str]}, "httpGet": {}, "tcpSocket": {}}
_CONTAINER: Json = {
    "name": str,
    "command": [str],
    "args": [str],
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
    "csi": {"driver": str, "nodePublishSecretRef": {"name": str}},
    "nfs": {"server": str, "path": str},
    "image": {"reference": str},
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
    """Return a deep copy of the manifest as plain JSON, without the fields whose value is null.

    Missing labels, annotations and pod specs become empty maps.  Raises Refusal if a field has another type than in
    Kubernetes' API, or if two volumes or containers of a pod have the same name.
    """
    try:
        copied = _copy(manifest)
    except (TypeError, ValueError, RecursionError) as error:
        raise manifest_refusal("manifest", f"is not valid JSON: {error}") from None
    if not isinstance(copied, dict):
        raise manifest_refusal("manifest", f"is {_type_name(copied)}, not a map")
    if not slots.is_pod:
        _normalize_metadata(copied)
    try:
        pods = slots.pods(copied)
    except TemplateMissing as missing:
        raise manifest_refusal(missing.path, f"is {_type_name(missing.value)}, not a map") from None
    for _, pod in pods:
        _normalize_metadata(pod)
        spec = pod.setdefault("spec", {})
        _check_type(spec, _SPEC, ("", "spec"))
        _check_unique_names(spec, ("volumes",))
        _check_unique_names(spec, ("initContainers", "containers", "ephemeralContainers"))
    return copied


_INT64 = range(-(2**63), 2**63)


def _copy(value: Any) -> Any:
    """Return a deep copy of JSON data without null fields.  Raises TypeError, ValueError or RecursionError.

    Ordinary values are copied here, which takes half the time of a JSON round trip.  All others go through JSON.
    """
    kind = type(value)
    if kind is dict:
        copied = {}
        for key, below in value.items():
            if type(key) is not str or not key.isascii():
                return _through_json(value)
            if type(below) is str and below.isascii():  # most fields: a call for each would take a quarter longer
                copied[key] = below
            elif below is not None:
                copied[key] = _copy(below)
        return copied
    if kind is list:
        return [_copy(item) for item in value]
    if value is None or kind is bool or (kind is int and value in _INT64) or (kind is str and value.isascii()):
        return value
    return _through_json(value)


# A manifest that contains itself raises RecursionError, so check_circular is not needed.
_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False, check_circular=False)


def _through_json(value: Any) -> Any:
    """Encode the value as JSON and decode it, so that tuples, subclasses and other keys become plain data."""
    text = _ENCODER.encode(value)
    text.encode()  # raises UnicodeEncodeError for an unpaired surrogate
    return json.loads(text, object_hook=_without_nulls)


def _without_nulls(read: Json) -> Json:
    return {key: value for key, value in read.items() if value is not None}


def _normalize_metadata(owner: Json) -> None:
    metadata = owner.setdefault("metadata", {})
    _check_type(metadata, _METADATA, ("", "metadata"))
    for key in ("labels", "annotations"):
        for name, value in metadata.setdefault(key, {}).items():
            if not isinstance(value, str):
                raise manifest_refusal(f"metadata.{key}.{name}", f"is {_type_name(value)}, not text")


# The path of a field as a linked list (parent, key or index), because text is needed only for a refusal.
_Place = tuple[Any, str | int]


def _path(place: _Place) -> str:
    before, part = place
    written = f"[{part}]" if isinstance(part, int) else part
    if not before:
        return written
    return _path(before) + (written if isinstance(part, int) else f".{written}")


def _check_type(value: Any, wanted: Any, place: _Place) -> None:
    if type(wanted) is dict:
        if type(value) is not dict:
            raise manifest_refusal(_path(place), f"is {_type_name(value)}, not a map")
        for key, below in wanted.items():
            if key in value:
                if type(value[key]) is not below:  # text, for most fields
                    _check_type(value[key], below, (place, key))
            elif key == "name":
                raise manifest_refusal(f"{_path(place)}.name", "is missing")
    elif type(wanted) is list:
        if type(value) is not list:
            raise manifest_refusal(_path(place), f"is {_type_name(value)}, not a list")
        (of_items,) = wanted
        for index, item in enumerate(value):
            _check_type(item, of_items, (place, index))
    elif type(value) is not wanted:
        expected = "text" if wanted is str else "a whole number"
        raise manifest_refusal(_path(place), f"is {_type_name(value)}, not {expected}")


def _check_unique_names(spec: Json, sorts: tuple[str, ...]) -> None:
    seen = set()
    for sort in sorts:
        for index, item in enumerate(spec.get(sort, [])):
            if item["name"] in seen:
                raise manifest_refusal(f"spec.{sort}[{index}].name", f"is {item['name']!r}, which is used twice")
            seen.add(item["name"])


def _type_name(value: Any) -> str:
    known = {type(None): "not there", dict: "a map", list: "a list", str: "text", bool: "a boolean"}
    return known.get(type(value), "a number")
