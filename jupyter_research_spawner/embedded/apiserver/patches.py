"""The four patch types of the Kubernetes API: merge (RFC 7386), JSON (RFC 6902), strategic merge, and apply.

No function here changes its arguments, because all readers share the stored objects.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

from ..apimachinery.api_errors import ApiError
from ..apimachinery.object_fields import Json

log = logging.getLogger(__name__)

# A strategic merge merges these lists by this key of their items, and replaces all other lists.
# Source: patchMergeKey in k8s.io/api.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "conditions": "type",
    "ownerReferences": "uid",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
    "taints": "key",
    "addresses": "type",
    "podIPs": "ip",
}


def merge(target: Any, patch: Any) -> Any:
    """Apply a merge patch (RFC 7386): null removes a key, objects are merged, and other values are replaced."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic(target: Any, patch: Any, field: str = "") -> Any:
    """Apply a strategic merge patch, which is like `merge` but merges some lists by a key of their items."""
    if isinstance(patch, list):
        return _strategic_list(target, patch, field)
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            result.pop(key, None)
        else:
            result[key] = strategic(result.get(key), value, key)
    return result


def _strategic_list(target: Any, patch: list[Any], field: str) -> list[Any]:
    if field == "finalizers":
        return list(dict.fromkeys([*(target or []), *patch]))
    key = _MERGE_KEYS.get(field)
    if field == "ports":
        key = "port" if any("port" in item for item in patch) else "containerPort"
    if not key:
        return patch
    result = list(target or [])
    added: list[Any] = []
    for item in patch:
        same = next((n for n, there in enumerate(result) if there.get(key) == item.get(key)), None)
        if item.get("$patch") == "delete":
            result = [there for there in result if there.get(key) != item.get(key)]
        elif same is None:
            added.append(strategic({}, item))
        else:
            result[same] = strategic(result[same], item)
    return [*added, *result]


def json_patch(target: Any, operations: Any) -> Any:
    """Apply a JSON patch (RFC 6902).  Raises ApiError 422 if an operation fails, 400 if `operations` is not a list."""
    if not isinstance(operations, list):
        raise ApiError(
            400,
            "BadRequest",
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        )
    result = copy.deepcopy(target)
    for operation in operations:
        try:
            result = _operate(result, operation)
        except (KeyError, IndexError, ValueError, TypeError) as reason:  # noqa: PERF203  (names the operation)
            log.info("JSON patch %s: %s", operation, reason)
            raise ApiError(422, "Invalid", "the server rejected our request due to an error in our request") from None
    return result


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _at(document: Any, steps: list[str]) -> Any:
    for step in steps:
        document = document[int(step)] if isinstance(document, list) else document[step]
    return document


def _operate(document: Any, operation: Json) -> Any:
    name = operation["op"]
    steps = _steps(operation["path"])
    if name in {"copy", "move"}:
        source = _steps(operation["from"])
        value = copy.deepcopy(_at(document, source))
        if name == "move":
            document = _operate(document, {"op": "remove", "path": operation["from"]})
        return _operate(document, {"op": "add", "path": operation["path"], "value": value})
    if name == "test":
        if _at(document, steps) != operation["value"]:
            raise ValueError("test failed")
        return document
    if not steps:
        return operation["value"]
    parent, last = _at(document, steps[:-1]), steps[-1]
    if isinstance(parent, list):
        _operate_on_list(parent, len(parent) if last == "-" else int(last), operation)
    elif name == "remove":
        del parent[last]
    elif name == "add" or (name == "replace" and last in parent):
        parent[last] = operation["value"]
    else:
        raise KeyError(last)
    return document


def _operate_on_list(parent: list[Any], index: int, operation: Json) -> None:
    if index < 0 or index > len(parent):
        raise IndexError(index)
    if operation["op"] == "add":
        parent.insert(index, operation["value"])
    elif operation["op"] == "remove":
        del parent[index]
    elif operation["op"] == "replace":
        parent[index] = operation["value"]
    else:
        raise KeyError(operation["op"])


JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"

# Server-side apply is a strategic merge here.  Field ownership is not implemented.
BY_CONTENT_TYPE: dict[str, Callable[[Any, Any], Any]] = {
    "application/merge-patch+json": merge,
    JSON_PATCH: json_patch,
    "application/strategic-merge-patch+json": strategic,
    APPLY: strategic,
}
