"""The free quota of Kueue's queues, from ClusterQueues, Cohorts and ResourceFlavors.

Source: Kueue 0.19.2, pkg/cache/scheduler/resource_node.go and pkg/scheduler/flavorassigner.  Only quota that is free
counts, and not quota that Kueue could free by preemption.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property

from ..api_object import condition, parse_quantity
from ..shape import Json
from .queue_room import Demand, QueueRoom, QueueUse, QuotaUse
from .scheduler_interface import Objects

# The name of a flavor and of a resource.
FlavorResource = tuple[str, str]
_ZERO = Decimal(0)


@dataclass
class _Quota:
    """The quota of a ClusterQueue or Cohort for one resource of one flavor.  A limit of None is no limit."""

    nominal: Decimal
    borrowing: Decimal | None
    lending: Decimal | None


@dataclass
class _Node:
    """A ClusterQueue or a Cohort in the tree of Cohorts.

    `subtree` is its quota with what its children lend to it, and `usage` is what counts against `subtree`.
    """

    quotas: Mapping[FlavorResource, _Quota]
    parent: _Node | None = None
    subtree: dict[FlavorResource, Decimal] = field(default_factory=dict)
    usage: dict[FlavorResource, Decimal] = field(default_factory=dict)

    def local(self, key: FlavorResource) -> Decimal:
        """Return the quota that the node lends to nobody."""
        quota = self.quotas.get(key)
        if quota is None or quota.lending is None:
            return _ZERO
        return max(_ZERO, self.subtree.get(key, _ZERO) - quota.lending)

    def available(self, key: FlavorResource) -> Decimal:
        """Return the quota that is free for the node, with what it can borrow."""
        subtree, usage = self.subtree.get(key, _ZERO), self.usage.get(key, _ZERO)
        if self.parent is None:
            return subtree - usage
        local, of_parent = self.local(key), self.parent.available(key)
        if (borrowing := self._borrowing(key)) is not None:
            of_parent = min(of_parent, subtree - local - max(_ZERO, usage - local) + borrowing)
        return max(_ZERO, local - usage) + of_parent

    def potential(self, key: FlavorResource) -> Decimal:
        """Return the quota that the node can have if nothing else runs."""
        subtree = self.subtree.get(key, _ZERO)
        if self.parent is None:
            return subtree
        found = self.local(key) + self.parent.potential(key)
        return found if (borrowing := self._borrowing(key)) is None else min(found, subtree + borrowing)

    def _borrowing(self, key: FlavorResource) -> Decimal | None:
        quota = self.quotas.get(key)
        return None if quota is None else quota.borrowing

    def lend_to_parent(self) -> None:
        """Add to the parent what this node lends to it and uses of it."""
        assert self.parent is not None
        for sums, mine, least in ((self.parent.subtree, self.subtree, None), (self.parent.usage, self.usage, _ZERO)):
            for key, amount in mine.items():
                more = amount - self.local(key)
                sums[key] = sums.get(key, _ZERO) + (more if least is None else max(least, more))


@dataclass(frozen=True)
class Quotas:
    """The objects of Kueue that say how much quota is free.  A kind that cannot be read is None."""

    local_queues: Mapping[str, Json] | None
    cluster_queues: Mapping[str, Json] | None
    cohorts: Mapping[str, Json] | None
    flavors: Mapping[str, Json] | None

    @classmethod
    def of(cls, objects: Objects) -> Quotas:
        """Return the quotas in all LocalQueues of the namespace, ClusterQueues, Cohorts and ResourceFlavors."""
        kinds = ("LocalQueue", "ClusterQueue", "Cohort", "ResourceFlavor")
        return cls(
            *(
                {found["metadata"]["name"]: found for found in objects.by_kind[kind]}
                if kind in objects.by_kind
                else None
                for kind in kinds
            )
        )

    def room(self, local_queue: str, demand: Demand) -> QueueRoom | None:
        """Return whether the LocalQueue has free quota for this demand; None if the objects do not say it."""
        local = (self.local_queues or {}).get(local_queue)
        name = str(((local or {}).get("spec") or {}).get("clusterQueue"))
        queue = (self.cluster_queues or {}).get(name)
        if local is None or queue is None or "status" not in queue:
            return None
        waiting = queue["status"].get("pendingWorkloads")
        if any(condition(found, "Active").get("status") == "False" for found in (local, queue)):
            return QueueRoom(False, waiting, is_closed=True)
        node = self._tree.get(name)
        # Admission checks can refuse or delay work that has quota.  They are not read.
        if node is None or self.flavors is None or queue["spec"].get("admissionChecksStrategy"):
            return None
        return self._room(queue, node, demand, waiting)

    def use(self, local_queue: str) -> QueueUse | None:
        """Return how much of the quota of the LocalQueue's ClusterQueue is reserved; None if it is not known."""
        local = (self.local_queues or {}).get(local_queue)
        queue = (self.cluster_queues or {}).get(str(((local or {}).get("spec") or {}).get("clusterQueue")))
        if queue is None or "status" not in queue:
            return None
        reserved = dict(_reserved(queue["status"]))
        found = [
            QuotaUse(resource, reserved.get((flavor, resource), _ZERO), quota.nominal, flavor)
            for (flavor, resource), quota in _quotas(queue["spec"])
        ]
        # Without the flavors that the queue has no quota of and does not use.
        found = [one for one in found if one.quota or one.used]
        flavors = Counter(one.resource for one in found)
        return QueueUse(
            tuple(one if flavors[one.resource] > 1 else replace(one, flavor="") for one in found),
            queue["status"].get("pendingWorkloads"),
        )

    def _room(self, queue: Json, node: _Node, demand: Demand, waiting: int | None) -> QueueRoom | None:
        requests = {**demand.requests, "pods": Decimal(1)}
        groups = queue["spec"].get("resourceGroups") or []
        covered = {resource for group in groups for resource in group["coveredResources"]}
        if demand.requests.keys() - covered:  # refused, unless Kueue is configured to ignore or to convert the resource
            return None
        fits, is_possible = True, True
        for group in groups:
            wanted = {name: requests[name] for name in group["coveredResources"] if name in requests}
            flavors = [flavor["name"] for flavor in group["flavors"] if self._allows(flavor["name"], demand)]
            if wanted and not flavors:
                return None
            fits &= not wanted or any(
                all(node.available((flavor, name)) >= amount for name, amount in wanted.items()) for flavor in flavors
            )
            is_possible &= not wanted or any(
                all(node.potential((flavor, name)) >= amount for name, amount in wanted.items()) for flavor in flavors
            )
        # In a queue with StrictFIFO, the first workload keeps the others from the quota that is free.
        is_kept = queue["spec"].get("queueingStrategy") == "StrictFIFO" and bool(waiting)
        return QueueRoom(fits and not is_kept, waiting, is_too_large=not is_possible)

    def _allows(self, flavor: str, demand: Demand) -> bool:
        found = (self.flavors or {}).get(flavor)
        if found is None:
            return False
        spec = found.get("spec") or {}
        labels = spec.get("nodeLabels") or {}
        selection = demand.nodes
        if not selection.matches(labels, keys=labels.keys()):
            return False
        added = (*selection.tolerations, *(spec.get("tolerations") or ()))
        return type(selection)(selection.selector, selection.required, added).tolerates(spec.get("nodeTaints") or ())

    @cached_property
    def _tree(self) -> Mapping[str, _Node]:
        """Return the ClusterQueues in the tree of their Cohorts, without those whose Cohorts are unknown."""
        parents = {name: (found.get("spec") or {}).get("parentName") for name, found in (self.cohorts or {}).items()}
        cohorts: dict[str, _Node] = {}
        found: dict[str, _Node] = {}
        for name, queue in (self.cluster_queues or {}).items():
            above = queue["spec"].get("cohortName")
            if above and self.cohorts is None:
                continue
            node = _Node(dict(_quotas(queue["spec"])), usage=dict(_reserved(queue.get("status") or {})))
            node.subtree = {key: quota.nominal for key, quota in node.quotas.items()}
            if above:
                chain = _chain(above, parents)
                if chain is None:
                    continue
                node.parent = self._cohort(chain, cohorts)
            found[name] = node
        self._add_up(found, cohorts, parents)
        return found

    def _cohort(self, chain: list[str], cohorts: dict[str, _Node]) -> _Node:
        """Return the first Cohort of the chain, and create it and those above it."""
        parent: _Node | None = None
        for name in reversed(chain):
            if name not in cohorts:
                spec = ((self.cohorts or {}).get(name) or {}).get("spec") or {}
                cohorts[name] = _Node(dict(_quotas(spec)), parent)
                cohorts[name].subtree = {key: quota.nominal for key, quota in cohorts[name].quotas.items()}
            parent = cohorts[name]
        assert parent is not None
        return parent

    def _add_up(
        self, queues: Mapping[str, _Node], cohorts: dict[str, _Node], parents: Mapping[str, str | None]
    ) -> None:
        """Add up quota and usage from the leaves to the roots."""
        for name in list(parents):  # a Cohort without ClusterQueues also has quota
            if (chain := _chain(name, parents)) is not None:
                self._cohort(chain, cohorts)
        for node in queues.values():
            if node.parent is not None:
                node.lend_to_parent()
        for name in sorted(cohorts, key=lambda one: -len(_chain(one, parents) or ())):
            if cohorts[name].parent is not None:
                cohorts[name].lend_to_parent()


def _chain(cohort: str, parents: Mapping[str, str | None]) -> list[str] | None:
    """Return the Cohort and those above it, from below; None if there is a cycle, in which Kueue admits nothing."""
    chain: list[str] = []
    at: str | None = cohort
    while at:
        if at in chain:
            return None
        chain.append(at)
        at = parents.get(at)
    return chain


def _quotas(spec: Json) -> Iterator[tuple[FlavorResource, _Quota]]:
    for group in spec.get("resourceGroups") or []:
        for flavor in group.get("flavors") or []:
            for resource in flavor.get("resources") or []:
                borrowing, lending = resource.get("borrowingLimit"), resource.get("lendingLimit")
                yield (
                    (flavor["name"], resource["name"]),
                    _Quota(
                        parse_quantity(resource.get("nominalQuota", 0)),
                        None if borrowing is None else parse_quantity(borrowing),
                        None if lending is None else parse_quantity(lending),
                    ),
                )


def _reserved(status: Json) -> Iterator[tuple[FlavorResource, Decimal]]:
    for flavor in status.get("flavorsReservation") or []:
        for resource in flavor.get("resources") or []:
            yield (flavor["name"], resource["name"]), parse_quantity(resource.get("total", 0))
