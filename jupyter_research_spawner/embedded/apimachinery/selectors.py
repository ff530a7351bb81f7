"""Parse and match label and field selectors of lists, watches and node affinity."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .api_errors import ApiError, bad_request
from .api_resources import EVENT, JOB, NAMESPACE, NODE, POD, SECRET, Kind
from .field_rules import key_faults, value_faults
from .object_fields import Json

Match = Callable[[Json], bool]
LabelTest = Callable[[Mapping[str, str]], bool]

_EVERYWHERE = ("metadata.name", "metadata.namespace")
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
# Fields that field selectors support (AddFieldLabelConversionFunc).
_FIELDS: dict[Kind, tuple[str, ...]] = {
    POD: (
        *("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork"),
        *("status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName"),
    ),
    EVENT: (
        *(f"involvedObject.{part}" for part in _INVOLVED),
        *("reason", "reportingComponent", "source", "type"),
    ),
    NODE: ("spec.unschedulable",),
    NAMESPACE: ("status.phase",),
    SECRET: ("type",),
    JOB: ("status.successful",),
}
_SET = re.compile(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)")
_EQUALITY = re.compile(r"([^=!]+)(==|=|!=)(.*)")
_ORDER = re.compile(r"([^<>]+)([<>])\s*(-?\d+)")
_COMMA_OUTSIDE_PARENTHESES = re.compile(r",(?![^(]*\))")


def requirement(key: str, operator: str, values: list[str]) -> LabelTest:
    """Return a matcher for one requirement of a label selector.  `operator` is as in the API: `In`, `Exists`, ..."""
    tests: dict[str, LabelTest] = {
        "In": lambda labels: labels.get(key) in values,
        "NotIn": lambda labels: labels.get(key) not in values,
        "Exists": lambda labels: key in labels,
        "DoesNotExist": lambda labels: key not in labels,
        "Gt": lambda labels: labels.get(key, "").isdigit() and int(labels[key]) > int(values[0]),
        "Lt": lambda labels: labels.get(key, "").isdigit() and int(labels[key]) < int(values[0]),
    }
    if operator not in tests:
        raise bad_request(f'"{operator}" is not a valid label selector operator')
    return tests[operator]


def _label_test(text: str) -> LabelTest:
    if found := _SET.fullmatch(text):
        values = [value.strip() for value in found[3].split(",")]
        return _checked(found[1], "In" if found[2] == "in" else "NotIn", values)
    if found := _EQUALITY.fullmatch(text):
        value = found[3].strip()
        if " " in value:
            raise bad_request(f"found '{value.split()[1]}', expected: ',' or 'end of string'")
        return _checked(found[1].strip(), "NotIn" if found[2] == "!=" else "In", [value])
    if found := _ORDER.fullmatch(text):
        return _checked(found[1].strip(), "Gt" if found[2] == ">" else "Lt", [found[3]])
    if text.startswith("!"):
        return _checked(text[1:].strip(), "DoesNotExist", [])
    key, *rest = text.split()
    if rest:
        expected = "in, notin, =, ==, !=, gt, lt"
        raise bad_request(f"unable to parse requirement: found '{rest[0]}', expected: {expected}")
    return _checked(key, "Exists", [])


def _checked(key: str, operator: str, values: list[str]) -> LabelTest:
    faults = [*key_faults(key, "<nil>"), *(fault for value in values for fault in value_faults(value, "<nil>"))]
    for fault in faults:
        raise bad_request(f"unable to parse requirement: {fault}")
    return requirement(key, operator, values)


def by_labels(selector: str | None) -> Match:
    """Return a matcher for the `labelSelector` of a list or watch request."""
    parts = [part.strip() for part in _COMMA_OUTSIDE_PARENTHESES.split(selector or "") if part.strip()]
    tests = [_label_test(part) for part in parts]
    return lambda obj: all(test(obj["metadata"].get("labels") or {}) for test in tests)


def by_fields(selector: str | None, kind: Kind) -> Match:
    """Return a matcher for a `fieldSelector`.  Raises ApiError 400 for a field that this kind does not support."""
    tests: list[tuple[list[str], bool, str]] = []
    for part in (selector or "").split(","):
        if not part.strip():
            continue
        found = _EQUALITY.fullmatch(part.strip())
        if not found:
            raise bad_request(f"invalid selector: '{selector}'; can't understand '{part}'")
        name = found[1].strip()
        if name not in (*_EVERYWHERE, *_FIELDS.get(kind, ())):
            raise _not_selectable(name, kind)
        tests.append((name.split("."), found[2] != "!=", found[3]))
    return lambda obj: all((_field(obj, path) == value) is wanted for path, wanted, value in tests)


def _not_selectable(name: str, kind: Kind) -> ApiError:
    if kind not in _FIELDS:
        only = ", ".join(f'"{field}"' for field in _EVERYWHERE)
        return bad_request(f'"{name}" is not a known field selector: only {only}')
    if kind.group:
        return bad_request(f'field label "{name}" not supported for {kind.kind}')
    return bad_request(f"field label not supported: {name}")


def _field(obj: Any, path: list[str]) -> str:
    if path == ["status", "successful"]:  # in field selectors of Jobs, status.succeeded has this name
        return str(obj["status"].get("succeeded", 0))
    for step in path:
        obj = obj.get(step) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj).lower() if isinstance(obj, bool) else str(obj)


def expressions(found: list[Json]) -> list[LabelTest]:
    return [requirement(e["key"], e["operator"], e.get("values") or []) for e in found]
