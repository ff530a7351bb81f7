"""The size of the cluster's nodes, and whether any node is large enough for a pod.

Source: Kubernetes, Node Allocatable, and Sidecar Containers (the effective request of a pod).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from ..api_object import parse_quantity
from ..schedulers import LargestNode, Limit, QueueStatus, Shortage
from ..shape import Json

Amounts = Mapping[str, Decimal]
# Its scheduler itself says that the pod requests more than there is.
_SAYS_ITSELF = ("too-large", "no-quota")
_MOST_RESOURCES = 8


@dataclass(frozen=True)
class NodeSizes:
    """What the largest nodes have for pods that are not of a DaemonSet.

    is_exact: whether the use of DaemonSets is known and subtracted.  can_grow: `autoscaling` in the settings.
    """

    nodes: tuple[Amounts, ...] = ()
    is_exact: bool = False
    can_grow: bool = True

    def with_largest(self, status: QueueStatus, pod_spec: Json) -> QueueStatus:
        """Return the status with the reason why no node is large enough for a pod that waits, if none is."""
        if not status.waits or status.code in _SAYS_ITSELF or not self.nodes:
            return status
        if (largest := self.why_none(pod_requests(pod_spec))) is None:
            return status
        phase = "unschedulable" if status.phase in ("queued", "gated") else status.phase
        return replace(status, phase=phase, largest=largest)

    def why_none(self, requests: Amounts) -> LargestNode | None:
        """Return why no node is large enough for these requests; None if one is, or if no node is known."""
        if not self.nodes or any(fits(requests, node) for node in self.nodes):
            return None
        most = {name: max(node.get(name, Decimal(0)) for node in self.nodes) for name in requests}
        limits = tuple(
            Limit(name, str(amount), str(most[name]) if most[name] > 0 else "")
            for name, amount in requests.items()
            if amount > most[name]
        )
        together = () if limits else tuple(Shortage(name, str(amount)) for name, amount in requests.items())
        return LargestNode(limits[:_MOST_RESOURCES], together[:_MOST_RESOURCES], self.is_exact, self.can_grow)


def largest_nodes(nodes: Iterable[Amounts]) -> tuple[Amounts, ...]:
    """Return the nodes without those that are smaller than another one in every resource: a few of thousands."""
    found: list[Amounts] = []
    for node in sorted(nodes, key=lambda one: sum(one.values()), reverse=True):
        if not any(fits(node, larger) for larger in found):
            found.append(node)
    return tuple(found)


def fits(requests: Amounts, node: Amounts) -> bool:
    """Return whether the node has at least these amounts."""
    return all(amount <= node.get(name, Decimal(0)) for name, amount in requests.items())


def pod_requests(spec: Json) -> dict[str, Decimal]:
    """Return the effective requests of a pod: what a node must have free, without resources that it does not request.

    An init container runs before the containers, at the same time as the sidecars that were started before it.
    """
    running: dict[str, Decimal] = {}
    highest: dict[str, Decimal] = {}
    for container in spec.get("initContainers") or []:
        own = _requests(container)
        if container.get("restartPolicy") == "Always":
            running = _sum(running, own)
            highest = _maximum(highest, running)
        else:
            highest = _maximum(highest, _sum(running, own))
    for container in spec.get("containers") or []:
        running = _sum(running, _requests(container))
    # Requests of the pod itself replace those of its containers (Kubernetes 1.34, pod-level resources).
    of_pod = {**_maximum(highest, running), **_requests(spec)}
    whole = _sum(of_pod, _amounts(spec.get("overhead")))
    return {name: amount for name, amount in whole.items() if amount > 0}


def _requests(container: Json) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    return {**_amounts(resources.get("limits")), **_amounts(resources.get("requests"))}


def _amounts(quantities: Mapping[str, object] | None) -> dict[str, Decimal]:
    return {name: parse_quantity(amount) for name, amount in (quantities or {}).items()}


def _sum(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    return {name: one.get(name, Decimal(0)) + other.get(name, Decimal(0)) for name in {**one, **other}}


def _maximum(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    return {name: max(one.get(name, Decimal(0)), other.get(name, Decimal(0))) for name in {**one, **other}}


def node_sizes(
    allocatable: Collection[Amounts], daemon_sets: Iterable[tuple[int, Amounts]] | None, *, can_grow: bool
) -> NodeSizes:
    """Return the sizes of nodes with this allocatable, less the requests of the DaemonSets that run on every node.

    What a DaemonSet uses on some nodes only is not subtracted, because the largest node may not be one of them.
    daemon_sets: from `daemon_set_amounts`; None if they are unknown.
    """
    used: Amounts = {}
    for wanted, requests in daemon_sets or ():
        used = _sum(used, requests) if wanted == len(allocatable) else used
    nodes = [
        {name: max(amount - used.get(name, Decimal(0)), Decimal(0)) for name, amount in node.items()}
        for node in allocatable
    ]
    return NodeSizes(largest_nodes(nodes), is_exact=daemon_sets is not None, can_grow=can_grow)


def node_amounts(node: Json) -> dict[str, Decimal]:
    """Return the allocatable of a node, without resources of which it has none."""
    found = _amounts((node.get("status") or {}).get("allocatable"))
    return {name: amount for name, amount in found.items() if amount > 0}


def daemon_set_amounts(daemon_set: Json) -> tuple[int, Amounts]:
    """Return the number of nodes on which a DaemonSet wants a pod, and the requests of that pod."""
    wanted = (daemon_set.get("status") or {}).get("desiredNumberScheduled") or 0
    template = ((daemon_set.get("spec") or {}).get("template") or {}).get("spec") or {}
    return int(wanted), pod_requests(template)
