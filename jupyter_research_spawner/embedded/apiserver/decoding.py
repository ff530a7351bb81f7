"""Decode a request body as an object of its kind, with the API server's messages about invalid fields.

Follows KEP-2885 (fieldValidation), compared with 1.36.3.  fields.json contains the fields and types of the served
kinds, from the OpenAPI document of a real API server.  Its types use [] for a list, `map` for a map, and ! for a
field that is stored even if it is empty.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from ..apimachinery.api_errors import bad_request
from ..apimachinery.api_resources import BUILT_IN, Kind
from ..apimachinery.object_fields import Json
from ..apimachinery.quantities import canonical

_WHOLE_NUMBERS = {"int32": 2**31, "int64": 2**63}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\r\n]*")


class Mismatch(Exception):
    """A value has the wrong type.  The message is that of Go's JSON decoder."""


@dataclass
class Decoded:
    """A decoded object without its unknown fields, and a message about each unknown or duplicate field."""

    obj: Json
    complaints: list[str] = field(default_factory=list)


class _Doubled(dict[str, Any]):
    """A JSON object with duplicate keys.  It has the last value of each key; `doubled` lists the duplicate keys."""

    doubled: list[str]


@dataclass(frozen=True)
class _At:
    """The position of a value in an object.

    `path` is its path, such as `spec.containers[0].image`.  `go` is the same path without list indices, as Go's decoder
    writes it.  `struct` is the Go type that contains the value.
    """

    path: str = ""
    go: str = ""
    struct: str = ""

    def key(self, name: str, struct: str) -> _At:
        return _At(f"{self.path}.{name}".lstrip("."), f"{self.go}.{name}".lstrip("."), struct)

    def item(self, step: str) -> _At:
        return replace(self, path=self.path + step)


@cache
def types() -> dict[str, dict[str, str]]:
    """Return a map from each kind and struct to its fields, and from each field to the field's type."""
    found: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "fields.json").read_text())
    return found


def parse(kind: Kind, text: str) -> Json:
    """Return the JSON object in a body.  Raises ApiError 400 if the body is not a JSON object."""
    reason = "json: cannot unmarshal the body into an object"
    try:
        found = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        found, reason = None, str(error)
    if not isinstance(found, dict):
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind.kind}): couldn't get version/kind; "
            f"json parse error: {reason}"
        )
    return found


def _object(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    with_doubles = _Doubled(found)
    names = [name for name, _ in pairs]
    with_doubles.doubled = [name for index, name in enumerate(names) if name in names[:index]]
    return with_doubles


def decode(kind: Kind, body: Json) -> Decoded:
    """Return the decoded object.  Raises Mismatch if a value has the wrong type.

    Of a custom resource only the metadata is decoded; the other fields are returned unchanged.
    """
    _check_kind(kind, body)
    decoded = Decoded({})
    decoder = _Decoder(decoded.complaints)
    if kind in BUILT_IN and kind.kind in types():
        decoded.obj = decoder.struct(kind.kind, body, _At())
    else:
        decoded.obj = dict(body)
        if body.get("metadata") is not None:
            decoded.obj["metadata"] = decoder.value("ObjectMeta", body["metadata"], _At().key("metadata", kind.kind))
    (decoded.obj.get("metadata") or {}).pop("managedFields", None)
    return decoded


def cannot_be_handled(kind: Kind, body: Json, why: object) -> str:
    """Return the API server's error message for a body that cannot be decoded as this kind."""
    given = str(body.get("kind") or kind.kind)
    version = str(body.get("apiVersion") or kind.api_version).rpartition("/")[2]
    return f'{given} in version "{version}" cannot be handled as a {kind.kind}: {why}'


def _check_kind(kind: Kind, body: Json) -> None:
    for key in ("apiVersion", "kind"):
        if not isinstance(body.get(key, ""), str):
            raise Mismatch(f"json: cannot unmarshal {_found(body[key])} into Go struct field .{key} of type string")
    given = (body.get("apiVersion") or kind.api_version, body.get("kind") or kind.kind)
    if given != (kind.api_version, kind.kind):
        raise Mismatch(f'no kind "{given[1]}" is registered for version "{given[0]}" here')


class _Decoder:
    """Decodes a value according to its type, drops unknown fields, and adds a complaint about each of them."""

    def __init__(self, complaints: list[str]) -> None:
        self.complaints = complaints

    def struct(self, name: str, value: Json, at: _At) -> Json:
        fields = types()[name]
        kept: Json = {}
        for key, item in value.items():
            here = at.key(key, name)
            if key not in fields:
                self.complaints.append(f'unknown field "{here.path}"')
            elif item is not None:
                found = self.value(fields[key], item, here)
                if found not in ({}, []) or _stays(fields[key]):
                    kept[key] = found
        self._doubled(value, at)
        return kept

    def value(self, type_: str, value: Any, at: _At) -> Any:
        type_ = type_.removesuffix("!")
        if type_.startswith("[]"):
            return self._list(type_, value, at)
        if type_.startswith("map "):
            return self._map(type_, value, at)
        if type_ in types():
            if value is None:
                return {}
            _expect(isinstance(value, dict), value, at, f"v1.{type_}")
            return self.struct(type_, value, at)
        return _scalar(type_, value, at)

    def _list(self, type_: str, value: Any, at: _At) -> Any:
        item_type = type_[2:]
        _expect(isinstance(value, list), value, at, f"[]{_go_type(item_type)}")
        return [self.value(item_type, item, at.item(f"[{index}]")) for index, item in enumerate(value)]

    def _map(self, type_: str, value: Any, at: _At) -> Any:
        item_type = type_.removeprefix("map ")
        _expect(isinstance(value, dict), value, at, f"map[string]{_go_type(item_type)}")
        self._doubled(value, at)
        return {key: self.value(item_type, item, at.item(f".{key}")) for key, item in value.items()}

    def _doubled(self, value: Json, at: _At) -> None:
        if isinstance(value, _Doubled):
            self.complaints += [f'duplicate field "{at.key(name, "").path}"' for name in value.doubled]


def _stays(type_: str) -> bool:
    """Return whether an empty value is stored.  An empty struct (`emptyDir: {}`) is; an empty list or map is not."""
    return type_.endswith("!") or not type_.startswith(("[]", "map "))


def _scalar(type_: str, value: Any, at: _At) -> Any:
    if type_ in _WHOLE_NUMBERS:
        limit = _WHOLE_NUMBERS[type_]
        whole = isinstance(value, int) and not isinstance(value, bool)
        _expect(whole and -limit <= value < limit, value, at, type_)
    elif type_ == "boolean":
        _expect(isinstance(value, bool), value, at, "bool")
    elif type_ == "Quantity":
        return _quantity(value)
    elif type_ == "IntOrString":
        _expect(isinstance(value, str | int) and not isinstance(value, bool), value, at, "intstr.IntOrString")
    elif type_ in ("string", "bytes", "Time", "MicroTime"):
        value = "" if value is None else value
        _expect(isinstance(value, str), value, at, "string")
        _FORMATS.get(type_, _any_text)(value)
    return value


def _expect(fits: bool, value: Any, at: _At, wanted: str) -> None:
    if not fits:
        shown = f"number {value}" if wanted in _WHOLE_NUMBERS and _found(value) == "number" else _found(value)
        raise Mismatch(f"json: cannot unmarshal {shown} into Go struct field {at.struct}.{at.go} of type {wanted}")


def _found(value: Any) -> str:
    """Return the type of a JSON value as Go's decoder names it."""
    if isinstance(value, bool):
        return "bool"
    names = ((str, "string"), (int | float, "number"), (list, "array"), (dict, "object"))
    return next((name for kinds, name in names if isinstance(value, kinds)), "null")


def _go_type(type_: str) -> str:
    if type_ in types():
        return f"v1.{type_}"
    return {"boolean": "bool", "Quantity": "resource.Quantity", "bytes": "[]uint8"}.get(type_, type_)


def _quantity(value: Any) -> str:
    try:
        return canonical(value)
    except ValueError as reason:
        raise Mismatch(str(reason)) from None


def _any_text(value: str) -> None:
    pass


def _check_time(value: str) -> None:
    if not _TIME.fullmatch(value):
        raise Mismatch(f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"')


def _check_base64(value: str) -> None:
    try:
        base64.b64decode(value, validate=True)
    except binascii.Error:
        begins_well = _BASE64.match(value)
        raise Mismatch(f"illegal base64 data at input byte {begins_well.end() if begins_well else 0}") from None


_FORMATS = {"Time": _check_time, "MicroTime": _check_time, "bytes": _check_base64}
