"""What the API server refuses, in its own words (k8s.io/kubernetes pkg/apis/*/validation, seen with 1.36)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .errors import ApiError, Fault
from .kinds import Kind
from .objects import Json
from .quantities import quantity

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"

SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'example.com', "
    f"regex used for validation is '{_SUBDOMAIN}')"
)
LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    f"and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', "
    f"regex used for validation is '{_VALUE}')"
)
KEY_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    f"with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', "
    f"regex used for validation is '{_QUALIFIED}')"
)
POD_UPDATE_RULE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
MAX_ANNOTATIONS_BYTES = 256 * 1024
MAX_ID = 2**31 - 1
_PATH_SEGMENT_GROUPS = {"rbac.authorization.k8s.io"}  # names such as system:node are allowed there
_DNS_LABEL_KINDS = {"Namespace", "Service"}


def wrong_value(field: str, value: Any, rule: str) -> Fault:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return Fault(field, f"Invalid value: {shown}: {rule}")


def required(field: str, detail: str = "") -> Fault:
    return Fault(field, f"Required value: {detail}" if detail else "Required value", "FieldValueRequired")


def unsupported(field: str, value: Any, supported: list[str]) -> Fault:
    names = ", ".join(f'"{name}"' for name in supported)
    return Fault(field, f'Unsupported value: "{value}": supported values: {names}', "FieldValueNotSupported")


def duplicate(field: str, value: str) -> Fault:
    return Fault(field, f'Duplicate value: "{value}"', "FieldValueDuplicate")


def immutable(field: str) -> Fault:
    return Fault(field, "Invalid value: field is immutable")


def cannot_be(kind: Kind, found: str, field: str, wanted: str) -> ApiError:
    """A field of the wrong type never reaches validation: the server cannot decode the object."""
    message = (
        f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
        f"json: cannot unmarshal {found} into Go struct field {field} of type {wanted}"
    )
    return ApiError(400, "BadRequest", message)


def validate(kind: Kind, new: Json, old: Json | None) -> list[Fault]:
    """Every fault of an object that is about to be stored."""
    faults = list(metadata_faults(kind, new["metadata"], "metadata"))
    if kind.kind == "Event":
        faults += event_faults(new)
    elif kind.kind == "PersistentVolumeClaim":
        requests = ((new.get("spec") or {}).get("resources") or {}).get("requests") or {}
        faults += [] if requests.get("storage") else [required("spec.resources[storage]")]
    elif kind.kind == "PriorityClass" and old and old.get("value") != new.get("value"):
        faults.append(Fault("value", "Forbidden: may not be changed in an update.", "FieldValueForbidden"))
    return faults


def metadata_faults(kind: Kind, metadata: Json, path: str) -> Iterator[Fault]:
    name = metadata.get("name") or ""
    if not name:
        yield required(f"{path}.name", "name or generateName is required")
    elif kind.group in _PATH_SEGMENT_GROUPS:
        if "/" in name or "%" in name:
            yield wrong_value(f"{path}.name", name, "may not contain '/'")
    elif kind.kind in _DNS_LABEL_KINDS:
        if not re.fullmatch(_LABEL, name) or len(name) > 63:
            yield wrong_value(f"{path}.name", name, LABEL_RULE)
    elif not re.fullmatch(_SUBDOMAIN, name):
        yield wrong_value(f"{path}.name", name, SUBDOMAIN_RULE)
    elif len(name) > 253:
        yield wrong_value(f"{path}.name", name, "must be no more than 253 bytes")
    yield from labels_faults(kind, metadata.get("labels"), f"{path}.labels")
    yield from annotation_faults(kind, metadata.get("annotations"), f"{path}.annotations")


def labels_faults(kind: Kind, labels: Any, path: str) -> Iterator[Fault]:
    for key, value in _strings(kind, labels, path).items():
        yield from key_faults(key, path)
        if len(value) > 63:
            yield wrong_value(path, value, "must be no more than 63 bytes")
        elif not re.fullmatch(_VALUE, value):
            yield wrong_value(path, value, VALUE_RULE)


def annotation_faults(kind: Kind, annotations: Any, path: str) -> Iterator[Fault]:
    given = _strings(kind, annotations, path)
    for key in given:
        yield from key_faults(key.lower(), path)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in given.items())
    if size > MAX_ANNOTATIONS_BYTES:
        message = f"Too long: may not be more than {MAX_ANNOTATIONS_BYTES} bytes"
        yield Fault(path, message, "FieldValueTooLong")


def key_faults(key: str, path: str) -> Iterator[Fault]:
    prefix, slash, name = key.rpartition("/")
    if slash and not re.fullmatch(_SUBDOMAIN, prefix):
        yield wrong_value(path, key, f"prefix part {SUBDOMAIN_RULE}")
    if not re.fullmatch(_QUALIFIED, name):
        yield wrong_value(path, key, KEY_RULE)
    elif len(name) > 63:
        yield wrong_value(path, key, "name part must be no more than 63 bytes")


def _strings(kind: Kind, value: Any, field: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise cannot_be(kind, json_type(value), f"ObjectMeta.{field}", "map[string]string")
    for text in value.values():
        if not isinstance(text, str):
            raise cannot_be(kind, json_type(text), f"ObjectMeta.{field}", "string")
    return value


def json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    names = ((str, "string"), (int | float, "number"), (list, "array"), (dict, "object"))
    return next((name for types, name in names if isinstance(value, types)), "null")


def event_faults(event: Json) -> Iterator[Fault]:
    involved = event.get("involvedObject") or {}
    namespace = event["metadata"]["namespace"]
    if involved.get("namespace", "") != namespace and not (namespace == "default" and not involved.get("namespace")):
        yield wrong_value("involvedObject.namespace", involved.get("namespace", ""), "does not match event.namespace")


def number_fault(field: str, value: Any, low: int, high: int) -> Iterator[Fault]:
    if value is not None and not low <= value <= high:
        yield wrong_value(field, value, f"must be between {low} and {high}, inclusive")


def resource_faults(resources: Json, path: str) -> Iterator[Fault]:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    amounts = {}
    for part, given in (("limits", limits), ("requests", requests)):
        for name, text in given.items():
            try:
                amounts[part, name] = quantity(text)
            except ValueError as reason:
                yield wrong_value(f"{path}.{part}[{name}]", text, str(reason))
                return
            if amounts[part, name] < 0:
                yield wrong_value(f"{path}.{part}[{name}]", text, "must be greater than or equal to 0")
    for name, text in requests.items():
        extended = "/" in name
        if extended and name not in limits:
            yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif name in limits and amounts["requests", name] > amounts["limits", name]:
            rule = f"must be less than or equal to {name} limit of {limits[name]}"
            yield wrong_value(f"{path}.requests", text, rule)
        elif extended and amounts["requests", name] != amounts["limits", name]:
            yield wrong_value(f"{path}.requests", text, f"must be equal to {name} limit of {limits[name]}")
