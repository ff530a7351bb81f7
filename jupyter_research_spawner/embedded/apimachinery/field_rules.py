"""The API server's messages about fields, and the formats of names, labels and keys.

Follows apimachinery's pkg/util/validation, compared with Kubernetes 1.36.3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .api_errors import Fault

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
QUALIFIED_RULE = (
    f"a valid label key must consist of {KEY_RULE.removeprefix('name part must consist of ')} "
    "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
)
CONFIG_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
    "(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
POD_UPDATE_RULE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
MAX_ID = 2**31 - 1
LABEL = re.compile(_LABEL)
SUBDOMAIN = re.compile(_SUBDOMAIN)


def wrong_value(field: str, value: Any, rule: str) -> Fault:
    shown = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Fault(field, f"Invalid value: {shown}: {rule}")


def required(field: str, detail: str = "") -> Fault:
    return Fault(field, f"Required value: {detail}" if detail else "Required value", "FieldValueRequired")


def unsupported(field: str, value: Any, supported: list[str]) -> Fault:
    names = ", ".join(f'"{name}"' for name in supported)
    return Fault(field, f'Unsupported value: "{value}": supported values: {names}', "FieldValueNotSupported")


def duplicate(field: str, value: Any) -> Fault:
    return Fault(field, f"Duplicate value: {json.dumps(value)}", "FieldValueDuplicate")


def forbidden_field(field: str, why: str) -> Fault:
    return Fault(field, f"Forbidden: {why}", "FieldValueForbidden")


def immutable(field: str, value: Any) -> Fault:
    return wrong_value(field, value, "field is immutable")


def number_fault(field: str, value: Any, low: int, high: int) -> Iterator[Fault]:
    if value is not None and not low <= value <= high:
        yield wrong_value(field, value, f"must be between {low} and {high}, inclusive")


def labels_faults(labels: Mapping[str, str] | None, path: str) -> Iterator[Fault]:
    for key, value in (labels or {}).items():
        yield from key_faults(key, path)
        yield from value_faults(value, path)


def value_faults(value: str, path: str) -> Iterator[Fault]:
    if len(value) > 63:
        yield wrong_value(path, value, "must be no more than 63 bytes")
    elif not re.fullmatch(_VALUE, value):
        yield wrong_value(path, value, VALUE_RULE)


def key_faults(key: str, path: str) -> Iterator[Fault]:
    """Yield the faults of a label key, or of another qualified name."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        yield wrong_value(path, key, QUALIFIED_RULE)
        return
    if slash and not prefix:
        yield wrong_value(path, key, "prefix part must be non-empty")
    elif slash and not SUBDOMAIN.fullmatch(prefix):
        yield wrong_value(path, key, f"prefix part {SUBDOMAIN_RULE}")
    if not re.fullmatch(_QUALIFIED, name):
        yield wrong_value(path, key, KEY_RULE)
    elif len(name) > 63:
        yield wrong_value(path, key, "name part must be no more than 63 bytes")
