"""What a request asks for: the object that its path names, its verb, selectors, page, options."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from .errors import ApiError, bad_request
from .kinds import NAMESPACE, Kind, Kinds, unknown_resource
from .objects import Json
from .selectors import Match, by_fields, by_labels
from .watches import wants


@dataclass(frozen=True)
class Target:
    """What a request's path names."""

    kind: Kind
    namespace: str | None
    name: str | None
    subresource: str | None

    @property
    def resource(self) -> str:
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


def target_of(kinds: Kinds, group: str, version: str, parts: list[str]) -> Target:
    """ApiError 404 for what is not served."""
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
    """The request's verb as RBAC and audit logs name it."""
    single = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}
    several = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
    verb = (single if target.name else several).get(request.method)
    if verb is None or (target.name and verb == "create" and not target.subresource):
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    if request.method == "GET" and wants(request.query, "watch") and not target.subresource:
        return "watch"
    return verb


def matcher(request: web.Request, target: Target) -> Match:
    labels, fields = by_labels(request.query.get("labelSelector")), by_fields(request.query.get("fieldSelector"))
    namespace, name = target.namespace, target.name

    def match(obj: Json) -> bool:
        metadata = obj["metadata"]
        here = namespace is None or metadata.get("namespace") == namespace
        return here and (name is None or metadata["name"] == name) and labels(obj) and fields(obj)

    return match


def page_of(request: web.Request) -> tuple[int, int]:
    """(start, limit) of a list; ApiError 400 when the client made them up."""
    try:
        token = request.query.get("continue")
        start = int(base64.b64decode(token)) if token else 0
        return start, int(request.query.get("limit") or 0)
    except ValueError:
        raise bad_request("continue key is not valid") from None


def is_dry_run(request: web.Request) -> bool:
    return "All" in request.query.getall("dryRun", [])


async def read_object(request: web.Request) -> Json:
    body = json.loads(await request.text() or "null")
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized (must be of type map): couldn't get version/kind")
    return body


async def read_delete_options(request: web.Request) -> Json:
    options: dict[str, Any] = json.loads(await request.text() or "null") or {}
    if "gracePeriodSeconds" in request.query:
        options["gracePeriodSeconds"] = int(request.query["gracePeriodSeconds"])
    if "propagationPolicy" in request.query:
        options["propagationPolicy"] = request.query["propagationPolicy"]
    return options
