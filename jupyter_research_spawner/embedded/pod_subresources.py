"""What is asked of a pod beside its own fields: its log, its binding to a node, its eviction.

Contract: pkg/registry/core/pod of k8s.io/kubernetes, seen with 1.36.3.
"""

from __future__ import annotations

from aiohttp import web

from .errors import ApiError, bad_request, conflict
from .kinds import POD
from .logs import LogSource, send_log
from .objects import Json, with_condition
from .requests import Target, is_dry_run, read_any
from .store import Store

NAMES = {"log", "binding", "eviction"}
_CREATED = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def answer(request: web.Request, target: Target, store: Store, logs: LogSource | None) -> web.StreamResponse:
    pod = store.get(POD, target.namespace, target.name or "")
    if target.subresource == "log" and request.method == "GET":
        return await send_log(request, pod, logs)
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


def bind(store: Store, pod: Json, node: str) -> None:
    """Give the pod its node, as the scheduler's Binding does.  ApiError 409 when it has one, or may have none yet."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    if pod["metadata"].get("deletionTimestamp"):
        raise conflict("pods/binding", "", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise conflict("pods/binding", "", name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise conflict("pods/binding", "", name, f"pod {name} has non-empty .spec.schedulingGates")

    def change(new: Json) -> None:
        new["spec"]["nodeName"] = node
        new["status"]["conditions"] = with_condition(new["status"].get("conditions"), "PodScheduled", "True")

    store.modify(POD, pod, change)


def evict(store: Store, pod: Json, options: Json) -> None:
    """Delete it, and say on it why (KEP-3329)."""

    def change(new: Json) -> None:
        told = ("DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting")
        new["status"]["conditions"] = with_condition(new["status"].get("conditions"), *told)

    store.delete(POD, store.modify(POD, pod, change), options)
