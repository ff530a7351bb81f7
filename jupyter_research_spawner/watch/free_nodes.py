"""What nodes have free: their allocatable less the requests of the pods that are bound to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from ..api_object import condition
from ..node_selection import NodeSelection
from ..schedulers import Demand
from ..shape import Json
from .node_sizes import Amounts, fits, largest_nodes, node_amounts, pod_requests

_ZERO = Decimal(0)
_ONE_POD = {"pods": Decimal(1)}


@dataclass(frozen=True)
class OfferedNode:
    """A node that can take pods: what is needed to decide which pods.  `allocatable` is without what pods request."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Json, ...]
    allocatable: Amounts


@dataclass(frozen=True)
class BoundPod:
    """A pod that has a node and has not ended."""

    node: str
    requests: Amounts


def offered_node(node: Json) -> OfferedNode | None:
    """Return what is needed of a node; None if it accepts no pods now."""
    spec = node.get("spec") or {}
    if spec.get("unschedulable") or condition(node, "Ready").get("status") != "True":
        return None
    metadata = node["metadata"]
    return OfferedNode(
        metadata["name"], metadata.get("labels") or {}, tuple(spec.get("taints") or ()), node_amounts(node)
    )


def bound_pod(pod: Json) -> BoundPod | None:
    """Return what is needed of a pod; None if it has no node or has ended."""
    spec = pod.get("spec") or {}
    if not spec.get("nodeName") or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return None
    return BoundPod(spec["nodeName"], {**pod_requests(spec), **_ONE_POD})


class NodeSums:
    """The sums of the requests of pods, by node.  They change with each pod, so that nothing is added up again."""

    def __init__(self) -> None:
        self._pods: dict[str, BoundPod] = {}
        self._used: dict[str, dict[str, Decimal]] = {}

    def put(self, uid: str, pod: BoundPod | None) -> bool:
        """Take the pod with this uid in place of what was known of it; None removes it.  Return whether it changed."""
        before = self._pods.pop(uid, None)
        if pod is not None:
            self._pods[uid] = pod
        if before == pod:
            return False
        for one, sign in ((before, -1), (pod, 1)):
            if one is not None:
                sums = self._used.setdefault(one.node, {})
                for name, amount in one.requests.items():
                    sums[name] = sums.get(name, _ZERO) + sign * amount
        return True

    def free(self, node: OfferedNode) -> dict[str, Decimal]:
        """Return what the node has free."""
        used = self._used.get(node.name, {})
        return {name: amount - used.get(name, _ZERO) for name, amount in node.allocatable.items()}


def largest_free(
    selection: NodeSelection, nodes: Iterable[tuple[OfferedNode, Amounts]], known: Iterable[Amounts] = ()
) -> tuple[Amounts, ...]:
    """Return what is free on the nodes that this selection allows, without nodes that have less of everything.

    nodes: with what each has free.  known: the result for other nodes.
    """
    allowed = (
        free for node, free in nodes if selection.matches(node.labels, node.name) and selection.tolerates(node.taints)
    )
    return largest_nodes([*known, *allowed])


def has_free_node(demand: Demand, free: Iterable[Amounts]) -> bool | None:
    """Return whether a node has enough free, of those that `largest_free` returned; None if that does not decide it."""
    wanted = {**demand.node_requests, **_ONE_POD}
    if not any(fits(wanted, node) for node in free):
        return False
    return True if demand.fits_by_sums else None
