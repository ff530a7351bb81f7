"""Label and field selectors, as lists, watches and node affinity use them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .errors import bad_request
from .objects import Json

Match = Callable[[Json], bool]
LabelTest = Callable[[Mapping[str, str]], bool]

_SET = re.compile(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)")
_EQUALITY = re.compile(r"([^=!]+)(==|=|!=)(.*)")
_COMMA_OUTSIDE_PARENTHESES = re.compile(r",(?![^(]*\))")


def requirement(key: str, operator: str, values: list[str]) -> LabelTest:
    """One requirement of a label selector in the API's own words (`In`, `Exists`, ...)."""
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
        return requirement(found[1], "In" if found[2] == "in" else "NotIn", values)
    if found := _EQUALITY.fullmatch(text):
        return requirement(found[1].strip(), "NotIn" if found[2] == "!=" else "In", [found[3].strip()])
    if text.startswith("!"):
        return requirement(text[1:].strip(), "DoesNotExist", [])
    if " " in text or "=" in text:
        raise bad_request(f"unable to parse requirement: {text}")
    return requirement(text, "Exists", [])


def by_labels(selector: str | None) -> Match:
    """`labelSelector` of a list or watch."""
    parts = [part.strip() for part in _COMMA_OUTSIDE_PARENTHESES.split(selector or "") if part.strip()]
    tests = [_label_test(part) for part in parts]
    return lambda obj: all(test(obj["metadata"].get("labels") or {}) for test in tests)


def by_fields(selector: str | None) -> Match:
    """`fieldSelector` of a list or watch; here every field can be selected by."""
    tests: list[tuple[list[str], bool, str]] = []
    for part in (selector or "").split(","):
        if not part.strip():
            continue
        found = _EQUALITY.fullmatch(part.strip())
        if not found:
            raise bad_request(f"unable to parse field selector {selector!r}")
        tests.append((found[1].strip().split("."), found[2] != "!=", found[3]))
    return lambda obj: all((_field(obj, path) == value) is wanted for path, wanted, value in tests)


def _field(obj: Any, path: list[str]) -> str:
    for step in path:
        obj = obj.get(step) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj)


def by_label_selector(selector: Json | None) -> LabelTest:
    """A `LabelSelector` object: matchLabels and matchExpressions."""
    selector = selector or {}
    tests = [requirement(key, "In", [value]) for key, value in (selector.get("matchLabels") or {}).items()]
    tests += expressions(selector.get("matchExpressions") or [])
    return lambda labels: all(test(labels) for test in tests)


def expressions(found: list[Json]) -> list[LabelTest]:
    return [requirement(e["key"], e["operator"], e.get("values") or []) for e in found]
