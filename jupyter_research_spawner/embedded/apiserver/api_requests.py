"""Parse an API request: the resource and object in its path, verb, selectors, paging, options, and body."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ..apimachinery.api_errors import ApiError, Fault, bad_request, invalid, unsupported_media_type
from ..apimachinery.api_resources import NAMESPACE, Kind, Kinds, unknown_resource
from ..apimachinery.object_fields import Json
from ..apimachinery.selectors import Match, by_fields, by_labels
from .decoding import Decoded, Mismatch, cannot_be_handled, decode, parse
from .watch_stream import wants

STRICT, WARN, IGNORE = "Strict", "Warn", "Ignore"
# Warnings for the response to the current request.
WARNINGS: ContextVar[list[str]] = ContextVar("WARNINGS")
_OPTIONS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions", "delete": "DeleteOptions"}
_POLICIES = ["Foreground", "Background", "Orphan", "nil"]


@dataclass(frozen=True)
class Target:
    """The resource in the path of a request, with the object's name if the path has one."""

    kind: Kind
    namespace: str | None
    name: str | None
    subresource: str | None

    @property
    def resource(self) -> str:
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


def target_of(kinds: Kinds, group: str, version: str, parts: list[str]) -> Target:
    """Return the target of a request with this path.  Raises ApiError 404 for a resource that is not served."""
    namespace = None
    of_namespace_itself = len(parts) <= 2 or (len(parts) == 3 and parts[2] in NAMESPACE.subresources)
    if parts[0] == "namespaces" and not of_namespace_itself:
        namespace, parts = parts[1], parts[2:]
    if len(parts) > 3:
        raise unknown_resource()
    plural, name, subresource = [*parts, None, None][:3]
    kind = kinds.at(group, version, plural or "")
    if subresource and subresource not in kind.subresources:
        raise unknown_resource()
    return Target(kind, namespace, name, subresource)


def verb_of(request: web.Request, target: Target) -> str:
    """Return the API verb of the request, as in RBAC rules and audit logs."""
    single = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}
    several = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
    verb = (single if target.name else several).get(request.method)
    is_misplaced = verb == "create" and (
        (target.name and not target.subresource) or (target.kind.namespaced and target.namespace is None)
    )
    if verb is None or is_misplaced:
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    if request.method == "GET" and wants(request.query, "watch") and not target.subresource:
        return "watch"
    return verb


def matcher(request: web.Request, target: Target) -> Match:
    labels = by_labels(request.query.get("labelSelector"))
    fields = by_fields(request.query.get("fieldSelector"), target.kind)
    namespace, name = target.namespace, target.name

    def match(obj: Json) -> bool:
        metadata = obj["metadata"]
        here = namespace is None or metadata.get("namespace") == namespace
        return here and (name is None or metadata["name"] == name) and labels(obj) and fields(obj)

    return match


def page_of(request: web.Request) -> tuple[int, int]:
    """Return the start and the limit of a list request.  Raises ApiError 400 for an invalid continue token."""
    limit = _number(request.query, "limit") or 0
    token = request.query.get("continue")
    try:
        start = int(base64.b64decode(token)) if token else 0
    except ValueError as reason:
        raise bad_request(f"invalid continue token: continue key is not valid: {reason}") from None
    return start, limit


def revision_of(request: web.Request) -> int:
    """Return the resourceVersion of a list request; 0 if it has none.  Raises ApiError 400 or 422 if it is invalid."""
    given = request.query.get("resourceVersion") or ""
    if not given and request.query.get("resourceVersionMatch") and not wants(request.query, "sendInitialEvents"):
        why = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise _options_fault("ListOptions", Fault("resourceVersionMatch", why, "FieldValueForbidden"))
    if given and not given.isdigit():
        why = f'Invalid value: "{given}": strconv.ParseUint: parsing "{given}": invalid syntax'
        raise bad_request(f"invalid resource version: resourceVersion: {why}")
    return int(given or 0)


def check_options(request: web.Request, verb: str) -> None:
    """Refuse query parameters that the verb does not support.  Raises ApiError 400 or 422."""
    query = request.query
    for name in ("timeoutSeconds", "gracePeriodSeconds", "limit"):
        _number(query, name)
    options = _OPTIONS.get(verb)
    if options is None:
        return
    given = query.getall("dryRun", [])
    if any(value != "All" for value in given):
        shown = json.dumps(given)
        raise _options_fault(options, _unsupported("dryRun", shown, ["All"]))
    validation = query.get("fieldValidation", "")
    if validation not in ("", STRICT, WARN, IGNORE):
        raise _options_fault(options, _unsupported("fieldValidation", f'"{validation}"', ["", IGNORE, STRICT, WARN]))


def _unsupported(name: str, shown: str, supported: list[str]) -> Fault:
    values = ", ".join(f'"{value}"' for value in supported)
    return Fault(name, f"Unsupported value: {shown}: supported values: {values}", "FieldValueNotSupported")


def _options_fault(options: str, fault: Fault) -> ApiError:
    return invalid(options, "meta.k8s.io", "", [fault])


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def is_dry_run(request: web.Request) -> bool:
    return "All" in request.query.getall("dryRun", [])


def warn(sentence: str) -> None:
    """Send a `Warning` header (RFC 7234) with the response to this request."""
    WARNINGS.get().append(sentence)


async def read_object(request: web.Request, kind: Kind) -> Json:
    """Return the object in the body.  Raises ApiError 400, or 415 if the body is not JSON."""
    if request.content_type not in ("application/json", "application/yaml", "application/octet-stream"):
        raise unsupported_media_type()
    body = parse(kind, await request.text())
    try:
        decoded = decode(kind, body)
    except Mismatch as mismatch:
        raise bad_request(cannot_be_handled(kind, body, mismatch)) from None
    if decoded.complaints and request.query.get("fieldValidation") == STRICT:
        why = "strict decoding error: " + ", ".join(decoded.complaints)
        raise bad_request(cannot_be_handled(kind, body, why))
    return _without_complaints(request, decoded)


def read_patched(request: web.Request, kind: Kind, patched: Any, *, is_apply: bool = False) -> Json:
    """Decode a patched object.  If it is invalid, raises ApiError 500 for an apply patch and 422 for other patches."""
    try:
        decoded = decode(kind, patched)
    except Mismatch as mismatch:
        raise _patch_fault(patched, str(mismatch)) from None
    if decoded.complaints and is_apply:
        raise ApiError(500, "", f"failed to create typed patch object: {', '.join(decoded.complaints)} not declared")
    if decoded.complaints and request.query.get("fieldValidation") == STRICT:
        raise _patch_fault(patched, "strict decoding error: " + ", ".join(decoded.complaints))
    return _without_complaints(request, decoded)


def _without_complaints(request: web.Request, decoded: Decoded) -> Json:
    if request.query.get("fieldValidation") != IGNORE:
        for complaint in decoded.complaints:
            warn(complaint)
    return decoded.obj


def _patch_fault(patched: Any, why: str) -> ApiError:
    shown = json.dumps(json.dumps(patched, separators=(",", ":")))
    return invalid("", "", "", [Fault("patch", f"Invalid value: {shown}: {why}")])


async def read_any(request: web.Request) -> Json:
    """Return the JSON object in the body of a request, or an empty dict if the request has no body."""
    body = json.loads(await request.text() or "{}")
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized (must be of type map): couldn't get version/kind")
    return body


async def read_delete_options(request: web.Request) -> Json:
    """Return the DeleteOptions.  Raises ApiError 422 for an unknown propagation policy."""
    options = await read_any(request)
    if (grace := _number(request.query, "gracePeriodSeconds")) is not None:
        options["gracePeriodSeconds"] = grace
    if "propagationPolicy" in request.query:
        options["propagationPolicy"] = request.query["propagationPolicy"]
    policy = options.get("propagationPolicy")
    if policy is not None and policy not in _POLICIES:
        raise _options_fault("DeleteOptions", _unsupported("propagationPolicy", f'"{policy}"', _POLICIES))
    if policy is not None and "orphanDependents" in options:
        why = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
        raise _options_fault("DeleteOptions", Fault("propagationPolicy", why))
    return options
