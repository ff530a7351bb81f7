"""Validate volumes, with the API server's messages (pkg/apis/core/validation, compared with 1.36.3)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..apimachinery.api_errors import Fault
from ..apimachinery.field_rules import LABEL, LABEL_RULE, duplicate, forbidden_field, required, wrong_value
from ..apimachinery.object_fields import Json

_NAMED = {"persistentVolumeClaim": "claimName", "configMap": "name", "secret": "secretName"}
_MODE_RULE = "must be a number between 0 and 0777 (octal), both inclusive"
_FIELD_PATHS = {
    *("metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations"),
    *("spec.nodeName", "spec.serviceAccountName", "spec.schedulerName", "spec.restartPolicy", "spec.hostNetwork"),
    *("status.phase", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"),
}
_SUBSCRIPT = re.compile(r"(metadata\.(?:labels|annotations))\['.*'\]")


def volume_faults(volumes: list[Json], path: str) -> Iterator[Fault]:
    names = [volume.get("name") or "" for volume in volumes]
    for index, volume in enumerate(volumes):
        here, name = f"{path}[{index}]", names[index]
        yield from source_faults(volume, here)
        if not name:
            yield required(f"{here}.name")
        elif not LABEL.fullmatch(name):
            yield wrong_value(f"{here}.name", name, LABEL_RULE)
        elif name in names[:index]:
            yield duplicate(f"{here}.name", name)


def source_faults(volume: Json, path: str) -> Iterator[Fault]:
    kinds = [kind for kind in volume if kind != "name"]
    for kind in kinds[1:]:
        yield forbidden_field(f"{path}.{kind}", "may not specify more than 1 volume type")
    for kind in kinds[:1]:
        source, here = volume[kind], f"{path}.{kind}"
        if kind in _NAMED and not source.get(_NAMED[kind]):
            yield required(f"{here}.{_NAMED[kind]}")
        if not 0 <= source.get("defaultMode", 0) <= 0o777:
            yield wrong_value(f"{here}.defaultMode", source["defaultMode"], _MODE_RULE)
        if kind == "hostPath" and ".." in source.get("path", "").split("/"):
            yield wrong_value(f"{here}.path", source["path"], "must not contain '..'")
        if kind == "nfs" and not source.get("path", "").startswith("/"):
            yield wrong_value(f"{here}.path", source.get("path", ""), "must be an absolute path")
        if kind == "downwardAPI":
            yield from items_faults(source.get("items") or [], here)


def items_faults(items: list[Json], path: str) -> Iterator[Fault]:
    """Yield faults of downward API items.  Each item needs a relative path and a field that pods have."""
    for item in items:
        file = item.get("path") or ""
        if not file:
            yield required(f"{path}.path")
        elif file.startswith("/"):
            yield wrong_value(f"{path}.path", file, "must be a relative path")
        elif ".." in file.split("/"):
            yield wrong_value(f"{path}.path", file, "must not contain '..'")
        if "fieldRef" in item:
            yield from field_path_faults(item["fieldRef"], f"{path}.fieldRef")


def field_path_faults(reference: Json, path: str) -> Iterator[Fault]:
    name = reference.get("fieldPath") or ""
    subscripted = _SUBSCRIPT.fullmatch(name)
    if not name:
        yield required(f"{path}.fieldPath")
    elif (subscripted[1] if subscripted else name) not in _FIELD_PATHS:
        rule = f"error converting fieldPath: field label not supported: {name}"
        yield wrong_value(f"{path}.fieldPath", name, rule)
