"""The Kubernetes API over HTTP: enough of it for kubernetes_asyncio, KubeSpawner and kubectl.

Contract: https://kubernetes.io/docs/reference/using-api/api-concepts/, judged by tests/behaviour, which also runs against a
real kube-apiserver.  Every token may do everything: there is authentication, no authorization.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import ssl
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from . import patches
from .errors import ApiError, bad_request, unauthorized
from .kinds import NAMESPACE, POD, Kind, unknown_resource
from .logs import LogSource, send_log
from .objects import Json, with_condition
from .selectors import Match, by_fields, by_labels
from .store import Store
from .tables import table
from .watches import wants, watch

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ADMIN = "admin"
AUDIT_LENGTH = 10_000
_OPEN_PATHS = {"/healthz", "/readyz", "/livez", "/version"}
_VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.3+embedded", "platform": "linux/amd64"}
_ORPHAN_WARNING = (
    '299 - "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them '
    'or set propagationPolicy=Orphan to suppress this warning"'
)


@dataclass
class Delays:
    """Seconds that a create of a kind (by plural, such as `pods`) takes.

    `before`: the object is stored after the wait.  `after`: it is stored at once and only the answer is late, so a client that
    gives up has created it without knowing.
    """

    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One request, as an audit log has it."""

    user: str
    verb: str
    resource: str
    namespace: str | None
    name: str | None


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


class Api:
    """The server.  `tokens` maps user names to their bearer tokens; the user `admin` may also use /embedded/*."""

    def __init__(self, store: Store, tokens: dict[str, str]) -> None:
        self.store = store
        self.tokens = tokens
        self.delays = Delays()
        self.calls: Counter[tuple[str, str]] = Counter()  # (verb, resource), such as ("create", "pods")
        self.audit: deque[Call] = deque(maxlen=AUDIT_LENGTH)
        self.logs: LogSource | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, certificate: Path | None, port: int = 0) -> str:
        """Listen, with TLS when a certificate is given; the URL comes back."""
        self._runner = web.AppRunner(
            self._application(), access_log=None, shutdown_timeout=0.5, handler_cancellation=True
        )
        await self._runner.setup()
        context = None
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
        await web.TCPSite(self._runner, host, port, ssl_context=context).start()
        return f"{'https' if context else 'http'}://{host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=8 * 2**20)
        router = application.router
        router.add_get("/version", _constant(_VERSION))
        for path in ("/healthz", "/readyz", "/livez"):
            router.add_get(path, _ok)
        router.add_get("/api", _constant({"kind": "APIVersions", "versions": ["v1"]}))
        router.add_get("/apis", self._groups)
        router.add_post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self._access_review)
        router.add_post("/apis/authentication.k8s.io/v1/selfsubjectreviews", self._self_review)
        router.add_route("*", "/embedded/{what}", self._embedded)
        router.add_route("*", "/api/{version}{tail:(/.*)?}", self._handle)
        router.add_route("*", "/apis/{group}/{version}{tail:(/.*)?}", self._handle)
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path not in _OPEN_PATHS:
                request["user"] = self._user(request)
            if "protobuf" in request.content_type or "cbor" in request.content_type:
                accepted = "application/json, application/yaml"
                message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
                raise ApiError(415, "UnsupportedMediaType", message)
            return await handler(request)
        except ApiError as error:
            return web.json_response(error.body, status=error.code)
        except json.JSONDecodeError as error:
            return web.json_response(bad_request(f"the object provided is unrecognized: {error}").body, status=400)
        except web.HTTPNotFound:
            return web.json_response(unknown_resource().body, status=404)
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            # A field of a type that no check looked for.  A real server cannot decode such an object either.
            log.warning("request %s %s: %r", request.method, request.path, error, exc_info=True)
            message = f"the object provided cannot be handled: {type(error).__name__}: {error}"
            return web.json_response(bad_request(message).body, status=400)

    def _user(self, request: web.Request) -> str:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        for user, token in self.tokens.items():
            if hmac.compare_digest(given.encode(), token.encode()):
                return user
        raise unauthorized()

    async def _groups(self, _: web.Request) -> web.Response:
        return web.json_response(self.store.kinds.groups())

    async def _access_review(self, request: web.Request) -> web.Response:
        answer = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "status": {"allowed": True},
        }
        return web.json_response({**await request.json(), **answer}, status=201)

    async def _self_review(self, request: web.Request) -> web.Response:
        status = {"userInfo": {"username": request["user"], "groups": ["system:authenticated"]}}
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "SelfSubjectReview",
            "metadata": {},
            "status": status,
        }
        return web.json_response(review, status=201)

    async def _embedded(self, request: web.Request) -> web.Response:
        """Switches and counters for tests: /embedded/delays, /embedded/calls."""
        if request["user"] != ADMIN:
            raise ApiError(403, "Forbidden", f"only {ADMIN} may use {request.path}, you are {request['user']}")
        what = request.match_info["what"]
        if what == "delays":
            if request.method in {"POST", "PUT"}:
                body = await request.json()
                self.delays.before = {kind: float(seconds) for kind, seconds in (body.get("before") or {}).items()}
                self.delays.after = {kind: float(seconds) for kind, seconds in (body.get("after") or {}).items()}
            return web.json_response({"before": self.delays.before, "after": self.delays.after})
        if what == "calls":
            counted = [{"verb": verb, "resource": kind, "count": n} for (verb, kind), n in self.calls.items()]
            if request.method == "DELETE":
                self.calls.clear()
            return web.json_response({"calls": counted})
        raise unknown_resource()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        group, version = request.match_info.get("group", ""), request.match_info["version"]
        parts = [part for part in request.match_info["tail"].split("/") if part]
        if not parts:
            return web.json_response(self.store.kinds.resources(group, version))
        target = self._target(group, version, parts)
        verb = _verb(request, target)
        self.calls[verb, target.resource] += 1
        self.audit.append(Call(request["user"], verb, target.resource, target.namespace, target.name))
        return await self._dispatch(request, target, verb)

    def _target(self, group: str, version: str, parts: list[str]) -> Target:
        namespace = None
        of_namespace_itself = len(parts) <= 2 or (len(parts) == 3 and parts[2] in NAMESPACE.subresources)
        if parts[0] == "namespaces" and not of_namespace_itself:
            namespace, parts = parts[1], parts[2:]
        if len(parts) > 3:
            raise unknown_resource()
        plural, name, subresource = [*parts, None, None][:3]
        kind = self.store.kinds.at(group, version, plural or "")
        if subresource and subresource not in kind.subresources:
            raise unknown_resource()
        return Target(kind, namespace, name, subresource)

    async def _dispatch(self, request: web.Request, target: Target, verb: str) -> web.StreamResponse:
        kind = target.kind
        if target.subresource in {"log", "binding", "eviction"} and kind == POD:
            return await self._pod_subresource(request, target)
        if verb == "watch":
            return await watch(request, self.store, kind, _matcher(request, target))
        if verb == "list":
            return self._list(request, target)
        if verb == "deletecollection":
            return await self._delete_collection(request, target)
        if verb == "create":
            return await self._create(request, target)
        old = self.store.get(kind, target.namespace, target.name or "") if verb != "patch" else None
        if verb == "get":
            return self._answer(request, kind, old or {})
        dry_run = _dry_run(request)
        if verb == "update":
            body = await _body(request)
            old = self.store.get(kind, target.namespace, target.name or "")
            return web.json_response(
                self.store.update(kind, old, body, subresource=target.subresource, dry_run=dry_run)
            )
        if verb == "patch":
            return await self._patch(request, target)
        return await self._delete(request, target)

    async def _create(self, request: web.Request, target: Target) -> web.Response:
        body = await _body(request)
        plural = target.kind.plural
        await asyncio.sleep(self.delays.before.get(plural, 0))
        created = self.store.create(target.kind, target.namespace, body, dry_run=_dry_run(request))
        await asyncio.sleep(self.delays.after.get(plural, 0))
        return web.json_response(created, status=201)

    async def _patch(self, request: web.Request, target: Target) -> web.Response:
        apply_patch = patches.BY_CONTENT_TYPE.get(request.content_type)
        if not apply_patch:
            supported = ", ".join(patches.BY_CONTENT_TYPE)
            raise ApiError(
                415,
                "UnsupportedMediaType",
                f"the body of the request was in an unknown format - accepted media types include: {supported}",
            )
        body = json.loads(await request.text() or "null")
        kind, name = target.kind, target.name or ""
        old = self.store.find(kind, target.namespace, name)
        if old is None and request.content_type == "application/apply-patch+yaml":
            created = self.store.create(kind, target.namespace, body, dry_run=_dry_run(request))
            return web.json_response(created, status=201)
        old = self.store.get(kind, target.namespace, name)
        new = apply_patch(old, body)
        if not (isinstance(body, dict) and "resourceVersion" in (body.get("metadata") or {})):
            new = {**new, "metadata": {k: v for k, v in new["metadata"].items() if k != "resourceVersion"}}
        updated = self.store.update(kind, old, new, subresource=target.subresource, dry_run=_dry_run(request))
        return web.json_response(updated)

    async def _delete(self, request: web.Request, target: Target) -> web.Response:
        options = await _delete_options(request)
        obj = self.store.get(target.kind, target.namespace, target.name or "")
        headers = {}
        if target.kind.plural == "jobs" and not options.get("propagationPolicy") and "orphanDependents" not in options:
            headers["Warning"] = _ORPHAN_WARNING
        if not _dry_run(request):
            obj = self.store.delete(target.kind, obj, options)
        return web.json_response(obj, headers=headers)

    async def _delete_collection(self, request: web.Request, target: Target) -> web.Response:
        options = await _delete_options(request)
        found = self.store.list(target.kind, target.namespace, _matcher(request, target))
        for obj in found:
            self.store.delete(target.kind, obj, options)
        return web.json_response(self._as_list(target.kind, found))

    async def _pod_subresource(self, request: web.Request, target: Target) -> web.StreamResponse:
        pod = self.store.get(POD, target.namespace, target.name or "")
        if target.subresource == "log" and request.method == "GET":
            return await send_log(request, pod, self.logs)
        if request.method != "POST":
            raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        body = await _body(request)
        if target.subresource == "eviction":
            self.store.delete(POD, pod, body.get("deleteOptions") or {})
        else:
            bind(self.store, pod, body["target"]["name"])
        return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201}, status=201)

    def _list(self, request: web.Request, target: Target) -> web.Response:
        query = request.query
        version = query.get("resourceVersion") or "0"
        if version.isdigit() and int(version) > self.store.revision:
            raise ApiError(504, "Timeout", f"Too large resource version: {version}, current: {self.store.revision}")
        found = self.store.list(target.kind, target.namespace, _matcher(request, target))
        metadata: Json = {"resourceVersion": str(self.store.revision)}
        start, limit = _page(request)
        rest = len(found) - start - limit
        if limit and rest > 0:
            metadata |= {"continue": base64.b64encode(str(start + limit).encode()).decode(), "remainingItemCount": rest}
        page = found[start : start + limit if limit else None]
        if "as=Table" in request.headers.get("Accept", ""):
            return web.json_response(table(target.kind, page, metadata))
        return web.json_response({**self._as_list(target.kind, page), "metadata": metadata})

    def _as_list(self, kind: Kind, found: list[Json]) -> Json:
        metadata = {"resourceVersion": str(self.store.revision)}
        return {"kind": kind.kind + "List", "apiVersion": kind.api_version, "metadata": metadata, "items": found}

    def _answer(self, request: web.Request, kind: Kind, obj: Json) -> web.Response:
        if "as=Table" in request.headers.get("Accept", ""):
            return web.json_response(table(kind, [obj], {"resourceVersion": obj["metadata"]["resourceVersion"]}))
        return web.json_response(obj)


def bind(store: Store, pod: Json, node: str) -> None:
    """Give the pod its node, as the scheduler's Binding does.  ApiError 409 when it has one."""
    name = pod["metadata"]["name"]
    if pod["spec"].get("nodeName"):
        message = f'Operation cannot be fulfilled on pods/binding "{name}": pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"'
        raise ApiError(409, "Conflict", message, name=name, kind="pods/binding")

    def change(new: Json) -> None:
        new["spec"]["nodeName"] = node
        new["status"]["conditions"] = with_condition(new["status"].get("conditions"), "PodScheduled", "True")

    store.modify(POD, pod, change)


def _constant(body: Json) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body)

    return answer


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="ok")


def _verb(request: web.Request, target: Target) -> str:
    """The request's verb as RBAC and audit logs name it."""
    single = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}
    several = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
    verb = (single if target.name else several).get(request.method)
    if verb is None or (target.name and verb == "create" and not target.subresource):
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    if request.method == "GET" and wants(request.query, "watch") and not target.subresource:
        return "watch"
    return verb


def _matcher(request: web.Request, target: Target) -> Match:
    labels, fields = by_labels(request.query.get("labelSelector")), by_fields(request.query.get("fieldSelector"))
    namespace, name = target.namespace, target.name

    def match(obj: Json) -> bool:
        metadata = obj["metadata"]
        here = namespace is None or metadata.get("namespace") == namespace
        return here and (name is None or metadata["name"] == name) and labels(obj) and fields(obj)

    return match


def _page(request: web.Request) -> tuple[int, int]:
    """(start, limit) of a list; ApiError 400 when the client made them up."""
    try:
        token = request.query.get("continue")
        start = int(base64.b64decode(token)) if token else 0
        return start, int(request.query.get("limit") or 0)
    except ValueError:
        raise bad_request("continue key is not valid") from None


def _dry_run(request: web.Request) -> bool:
    return "All" in request.query.getall("dryRun", [])


async def _body(request: web.Request) -> Json:
    body = json.loads(await request.text() or "null")
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized (must be of type map): couldn't get version/kind")
    return body


async def _delete_options(request: web.Request) -> Json:
    options: dict[str, Any] = json.loads(await request.text() or "null") or {}
    if "gracePeriodSeconds" in request.query:
        options["gracePeriodSeconds"] = int(request.query["gracePeriodSeconds"])
    if "propagationPolicy" in request.query:
        options["propagationPolicy"] = request.query["propagationPolicy"]
    return options
