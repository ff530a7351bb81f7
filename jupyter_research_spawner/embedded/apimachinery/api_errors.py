"""Errors of the API server: the `Status` object that every Kubernetes client reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .object_fields import Json


@dataclass(frozen=True)
class Fault:
    """An invalid field: the field's path, the API server's message, and the type of the fault."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class ApiError(Exception):
    """An error response: HTTP status `code` and a `Status` body.  Some errors have no `reason`."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            **({"reason": reason} if reason else {}),
            **({"details": details} if details else {}),
            "code": code,
        }


def named(plural: str, group: str) -> str:
    """Return the resource's name in the format of error messages, such as `pods` or `jobs.batch`."""
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> ApiError:
    details = {"name": name, "kind": plural} | ({"group": group} if group else {})
    return ApiError(404, "NotFound", f'{named(plural, group)} "{name}" not found', **details)


def already_exists(plural: str, group: str, name: str) -> ApiError:
    details = {"name": name, "kind": plural} | ({"group": group} if group else {})
    return ApiError(409, "AlreadyExists", f'{named(plural, group)} "{name}" already exists', **details)


def conflict(plural: str, group: str, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {named(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, name=name, kind=plural)


def forbidden(plural: str, group: str, name: str, why: str) -> ApiError:
    return ApiError(403, "Forbidden", f'{named(plural, group)} "{name}" is forbidden: {why}', name=name, kind=plural)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def invalid(kind: str, group: str, name: str, faults: Sequence[Fault]) -> ApiError:
    """Return the 422 error for these faults, of which there must be at least one."""
    said = str(faults[0]) if len(faults) == 1 else "[" + ", ".join(map(str, faults)) + "]"
    causes = [{"reason": fault.reason, "message": fault.message, "field": fault.field} for fault in faults]
    named_ones = {"name": name, "group": group, "kind": kind}
    details = {key: value for key, value in named_ones.items() if value} | {"causes": causes}
    return ApiError(422, "Invalid", f'{named(kind, group)} "{name}" is invalid: {said}', **details)


def unsupported_media_type() -> ApiError:
    accepted = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return ApiError(415, "UnsupportedMediaType", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")
