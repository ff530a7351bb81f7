"""The HTTP server of the Kubernetes API.  It serves what kubernetes_asyncio, KubeSpawner and kubectl use.

Follows https://kubernetes.io/docs/reference/using-api/api-concepts/; tests/behaviour compares it with a real
kube-apiserver.  It authenticates by bearer token and does not authorize: every token can do everything.
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

from aiohttp import web

from ..apimachinery.api_errors import ApiError, bad_request, invalid, unauthorized, unsupported_media_type
from ..apimachinery.api_resources import BUILT_IN, GIVES_BACK_WHAT_IS_DELETED, POD, Kind, unknown_resource
from ..apimachinery.command_request import CommandSource
from ..apimachinery.container_log import LogSource
from ..apimachinery.field_rules import immutable
from ..apimachinery.object_fields import Json
from ..objectstore.object_store import Store
from ..objectstore.pod_operations import bind, evict
from . import patches
from .api_requests import (
    WARNINGS,
    Target,
    check_options,
    is_dry_run,
    matcher,
    page_of,
    read_any,
    read_delete_options,
    read_object,
    read_patched,
    revision_of,
    target_of,
    verb_of,
    warn,
)
from .pod_exec import run_in_pod
from .pod_logs import send_log
from .pod_port_forward import forward_ports
from .printed_tables import table
from .watch_stream import watch

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ADMIN = "admin"
AUDIT_LENGTH = 10_000
_OPEN_PATHS = {"/healthz", "/readyz", "/livez", "/version"}
_VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.3+embedded", "platform": "linux/amd64"}
_POD_SUBRESOURCES = {"log", "binding", "eviction", "exec", "portforward"}
_PARTIAL = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
_CREATED = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
_ORPHAN_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them "
    "or set propagationPolicy=Orphan to suppress this warning"
)


@dataclass
class Delays:
    """Delays of create requests in seconds, by resource, such as `pods`.

    `before` delays the creation.  `after` delays only the response: the client can time out although the object exists.
    """

    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """The fields of one request that the audit log contains."""

    user: str
    verb: str
    resource: str
    namespace: str | None
    name: str | None


class Api:
    """The HTTP server.  `tokens` has the bearer token of each user; the user `admin` can also use /embedded/*."""

    def __init__(self, store: Store, tokens: dict[str, str]) -> None:
        self.store = store
        self.tokens = tokens
        self.delays = Delays()
        self.calls: Counter[tuple[str, str]] = Counter()  # (verb, resource), such as ("create", "pods")
        self.listed_bytes: Counter[str] = Counter()  # by resource: the bodies of the responses to list requests
        self.audit: deque[Call] = deque(maxlen=AUDIT_LENGTH)
        self.logs: LogSource | None = None
        self.commands: CommandSource | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, certificate: Path | None, port: int = 0) -> str:
        """Listen on `host`, with TLS if there is a certificate, and return the URL."""
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
        router.add_get("/apis/{group}", self._group)
        router.add_route("*", "/api/{version}{tail:(/.*)?}", self._handle)
        router.add_route("*", "/apis/{group}/{version}{tail:(/.*)?}", self._handle)
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        warnings: list[str] = []
        WARNINGS.set(warnings)
        response = await self._answer(request, handler)
        if not response.prepared:
            for sentence in warnings:
                response.headers.add("Warning", f"299 - {json.dumps(sentence)}")
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path not in _OPEN_PATHS:
                self._user(request)
            if "protobuf" in request.content_type or "cbor" in request.content_type:
                raise unsupported_media_type()
            return await handler(request)
        except ApiError as error:
            return web.json_response(error.body, status=error.code)
        except json.JSONDecodeError as error:
            return web.json_response(bad_request(f"the object provided is unrecognized: {error}").body, status=400)
        except web.HTTPNotFound:
            return _no_such_page()
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            # A field has a wrong type.  A real API server cannot decode such an object either.
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

    async def _group(self, request: web.Request) -> web.Response:
        name = request.match_info["group"]
        for group in self.store.kinds.groups()["groups"]:
            if group["name"] == name:
                return web.json_response({"kind": "APIGroup", "apiVersion": "v1", **group})
        return _no_such_page()

    async def _access_review(self, request: web.Request) -> web.Response:
        answer = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "status": {"allowed": True},
        }
        return web.json_response({**await request.json(), **answer}, status=201)

    async def _self_review(self, request: web.Request) -> web.Response:
        status = {"userInfo": {"username": self._user(request), "groups": ["system:authenticated"]}}
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "SelfSubjectReview",
            "metadata": {},
            "status": status,
        }
        return web.json_response(review, status=201)

    async def _embedded(self, request: web.Request) -> web.Response:
        """Answer requests of tests: /embedded/delays sets delays, /embedded/calls counts requests."""
        user = self._user(request)
        if user != ADMIN:
            raise ApiError(403, "Forbidden", f"only {ADMIN} may use {request.path}, you are {user}")
        what = request.match_info["what"]
        if what == "delays":
            if request.method in {"POST", "PUT"}:
                body = await request.json()
                self.delays.before = {kind: float(seconds) for kind, seconds in (body.get("before") or {}).items()}
                self.delays.after = {kind: float(seconds) for kind, seconds in (body.get("after") or {}).items()}
            return web.json_response({"before": self.delays.before, "after": self.delays.after})
        if what == "calls":
            counted = [{"verb": verb, "resource": kind, "count": n} for (verb, kind), n in self.calls.items()]
            answer = web.json_response({"calls": counted, "listed_bytes": dict(self.listed_bytes)})
            if request.method == "DELETE":
                self.calls.clear()
                self.listed_bytes.clear()
            return answer
        raise unknown_resource()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        group, version = request.match_info.get("group", ""), request.match_info["version"]
        parts = [part for part in request.match_info["tail"].split("/") if part]
        if not any(kind.group == group and kind.version == version for kind in self.store.kinds):
            return _no_such_page()
        if not parts:
            return web.json_response(self.store.kinds.resources(group, version))
        target = target_of(self.store.kinds, group, version, parts)
        verb = verb_of(request, target)
        check_options(request, verb)
        self.calls[verb, target.resource] += 1
        self.audit.append(Call(self._user(request), verb, target.resource, target.namespace, target.name))
        return await self._dispatch(request, target, verb)

    async def _dispatch(self, request: web.Request, target: Target, verb: str) -> web.StreamResponse:
        kind = target.kind
        if target.subresource in _POD_SUBRESOURCES and kind == POD:
            return await _answer_pod_subresource(request, target, self.store, self.logs, self.commands)
        if verb == "watch":
            return await watch(request, self.store, kind, matcher(request, target))
        if verb == "list":
            listed = self._list(request, target)
            self.listed_bytes[target.resource] += len(listed.text or "")
            return listed
        if verb == "deletecollection":
            return await self._delete_collection(request, target)
        if verb == "create":
            return await self._create(request, target)
        if verb == "get":
            return self._get(request, target)
        if verb == "update":
            return await self._update(request, target)
        if verb == "patch":
            return await self._patch(request, target)
        return await self._delete(request, target)

    async def _create(self, request: web.Request, target: Target) -> web.Response:
        body = await read_object(request, target.kind)
        plural = target.kind.plural
        await asyncio.sleep(self.delays.before.get(plural, 0))
        created = self.store.create(target.kind, target.namespace, body, dry_run=is_dry_run(request))
        await asyncio.sleep(self.delays.after.get(plural, 0))
        return web.json_response(created, status=201)

    async def _update(self, request: web.Request, target: Target) -> web.Response:
        new = await read_object(request, target.kind)
        old = self.store.get(target.kind, target.namespace, target.name or "")
        if not (new.get("metadata") or {}).get("name"):
            why = f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
            raise bad_request(why)
        updated = self.store.update(target.kind, old, new, subresource=target.subresource, dry_run=is_dry_run(request))
        return web.json_response(updated)

    async def _patch(self, request: web.Request, target: Target) -> web.Response:
        apply_patch = patches.BY_CONTENT_TYPE.get(request.content_type)
        if not apply_patch:
            supported = ", ".join(patches.BY_CONTENT_TYPE)
            raise ApiError(
                415,
                "UnsupportedMediaType",
                f"the body of the request was in an unknown format - accepted media types include: {supported}",
            )
        try:
            body = json.loads(await request.text() or "null")
        except json.JSONDecodeError as error:
            raise bad_request(f"error decoding patch: {error}") from None
        if request.content_type != patches.JSON_PATCH and not isinstance(body, dict):
            found = "array" if isinstance(body, list) else "value"
            why = f"json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
            raise bad_request(f"error decoding patch: {why}")
        kind, name = target.kind, target.name or ""
        old = self.store.find(kind, target.namespace, name)
        is_apply = request.content_type == patches.APPLY
        if old is None and is_apply:
            return await self._apply_new(request, target, body)
        old = self.store.get(kind, target.namespace, name)
        new = read_patched(request, kind, apply_patch(old, body), is_apply=is_apply)
        if not (isinstance(body, dict) and "resourceVersion" in (body.get("metadata") or {})):
            new["metadata"].pop("resourceVersion", None)
        if new["metadata"].get("uid") != old["metadata"]["uid"]:
            fault = immutable("metadata.uid", new["metadata"].get("uid"))
            raise invalid(kind.kind, kind.group, name, [fault])
        updated = self.store.update(kind, old, new, subresource=target.subresource, dry_run=is_dry_run(request))
        return web.json_response(updated)

    async def _apply_new(self, request: web.Request, target: Target, body: Json) -> web.Response:
        new = read_patched(request, target.kind, body, is_apply=True)
        created = self.store.create(target.kind, target.namespace, new, dry_run=is_dry_run(request))
        return web.json_response(created, status=201)

    async def _delete(self, request: web.Request, target: Target) -> web.Response:
        options = await read_delete_options(request)
        kind = target.kind
        obj = self.store.get(kind, target.namespace, target.name or "")
        if kind.plural == "jobs" and not options.get("propagationPolicy") and "orphanDependents" not in options:
            warn(_ORPHAN_WARNING)
        if is_dry_run(request):
            return web.json_response(obj if kind in GIVES_BACK_WHAT_IS_DELETED else _deleted(kind, obj))
        deleted = self.store.delete(kind, obj, options)
        is_marked = "deletionTimestamp" in deleted["metadata"]
        return web.json_response(deleted if is_marked or kind in GIVES_BACK_WHAT_IS_DELETED else _deleted(kind, obj))

    async def _delete_collection(self, request: web.Request, target: Target) -> web.Response:
        options = await read_delete_options(request)
        found = self.store.list(target.kind, target.namespace, matcher(request, target))
        for obj in found:
            self.store.delete(target.kind, obj, options)
        return web.json_response(self._as_list(target.kind, found))

    def _list(self, request: web.Request, target: Target) -> web.Response:
        revision = revision_of(request)
        if revision > self.store.revision:
            why = f"Timeout: Too large resource version: {revision}, current: {self.store.revision}"
            raise ApiError(504, "Timeout", why, retryAfterSeconds=1)
        found = self.store.list(target.kind, target.namespace, matcher(request, target))
        metadata: Json = {"resourceVersion": str(self.store.revision)}
        start, limit = page_of(request)
        rest = len(found) - start - limit
        if limit and rest > 0:
            metadata |= {"continue": base64.b64encode(str(start + limit).encode()).decode(), "remainingItemCount": rest}
        page = found[start : start + limit if limit else None]
        if "as=Table" in request.headers.get("Accept", ""):
            return web.json_response(table(target.kind, page, metadata))
        if "as=PartialObjectMetadataList" in request.headers.get("Accept", ""):
            items = [{**_PARTIAL, "metadata": obj["metadata"]} for obj in page]
            listed = {**_PARTIAL, "kind": "PartialObjectMetadataList", "metadata": metadata, "items": items}
            return web.json_response(listed)
        return web.json_response({**self._as_list(target.kind, page), "metadata": metadata})

    def _as_list(self, kind: Kind, found: list[Json]) -> Json:
        metadata = {"resourceVersion": str(self.store.revision)}
        items = [_as_item(obj) for obj in found] if kind in BUILT_IN else found
        return {"kind": kind.kind + "List", "apiVersion": kind.api_version, "metadata": metadata, "items": items}

    def _get(self, request: web.Request, target: Target) -> web.Response:
        obj = self.store.get(target.kind, target.namespace, target.name or "")
        if "as=Table" in request.headers.get("Accept", ""):
            return web.json_response(table(target.kind, [obj], {"resourceVersion": obj["metadata"]["resourceVersion"]}))
        return web.json_response(obj)


def _no_such_page() -> web.Response:
    return web.Response(text="404 page not found\n", status=404)


def _as_item(obj: Json) -> Json:
    """Return an object as an item of a list.  Items of built-in kinds have no apiVersion and kind."""
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}


def _deleted(kind: Kind, obj: Json) -> Json:
    about = {"name": obj["metadata"]["name"], "group": kind.group, "kind": kind.plural, "uid": obj["metadata"]["uid"]}
    details = {key: value for key, value in about.items() if value}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _constant(body: Json) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body)

    return answer


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _answer_pod_subresource(
    request: web.Request, target: Target, store: Store, logs: LogSource | None, commands: CommandSource | None
) -> web.StreamResponse:
    """Answer a request for a pod's log, run a command in the pod, or bind or evict the pod."""
    pod = store.get(POD, target.namespace, target.name or "")
    if target.subresource == "log" and request.method == "GET":
        return await send_log(request, pod, logs)
    if target.subresource == "exec":
        return await run_in_pod(request, pod, commands)
    if target.subresource == "portforward":
        return await forward_ports(request, pod)
    if request.method != "POST":
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    body = await read_any(request)
    name = (body.get("metadata") or {}).get("name")
    if target.subresource == "binding" and name != target.name:
        raise bad_request("name in URL does not match name in Binding object")
    if is_dry_run(request):
        return web.json_response(_CREATED, status=201)
    if target.subresource == "eviction":
        evict(store, pod, body.get("deleteOptions") or {})
    else:
        bind(store, pod, body["target"]["name"])
    return web.json_response(_CREATED, status=201)
