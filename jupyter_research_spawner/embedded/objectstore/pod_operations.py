"""Bind and evict pods as pkg/registry/core/pod of Kubernetes 1.36 does."""

from __future__ import annotations

from ..apimachinery.api_errors import conflict
from ..apimachinery.api_resources import POD
from ..apimachinery.object_fields import Json, with_condition
from .object_store import Store


def bind(store: Store, pod: Json, node: str) -> None:
    """Bind the pod to the node.  Raises ApiError 409 if the pod has a node or scheduling gates, or is terminating."""
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
    """Add the condition DisruptionTarget to the pod (KEP-3329), and delete the pod."""

    def change(new: Json) -> None:
        told = ("DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting")
        new["status"]["conditions"] = with_condition(new["status"].get("conditions"), *told)

    store.delete(POD, store.modify(POD, pod, change), options)
