"""A scheduler with the priority order, preemption, conditions, events and messages of kube-scheduler 1.36.

It schedules only pods whose schedulerName is `default-scheduler`.  Of a pod it considers requests, nodeSelector,
required node affinity, tolerations, scheduling gates and PersistentVolumeClaims.  Of a node it considers allocatable
resources, labels, taints and `unschedulable`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from ..apimachinery.api_resources import CLAIM, NODE, POD
from ..apimachinery.object_fields import Json, condition, with_condition
from ..apimachinery.quantities import quantity
from ..apimachinery.selectors import expressions
from ..objectstore.object_store import Change, Store
from ..objectstore.pod_operations import bind

NAME = "default-scheduler"
PREEMPTION = "default-scheduler: preempting to accommodate a higher priority pod"
GATED = "Scheduling is blocked due to non-empty scheduling gates"
NOT_ELIGIBLE = "not eligible due to preemptionPolicy=Never."
TERMINATING = "not eligible due to a terminating pod on the nominated node."
# The plugin DynamicResources adds this text even for pods without a ResourceClaim.
NO_CLAIMS = "no new claims to deallocate"
NO_VICTIMS = "No preemption victims found for incoming pod"
NO_HELP = "Preemption is not helpful for scheduling"

Amounts = Mapping[str, Decimal]


def requests_of(pod: Json) -> dict[str, Decimal]:
    """Return the maximum that a pod requests at any time, including 1 of the resource `pods`.

    A sidecar (KEP-753) runs at the same time as the main containers and the init containers that come after it.
    """
    staying: dict[str, Decimal] = {}
    most: dict[str, Decimal] = {}
    for container in pod["spec"].get("initContainers") or []:
        now = _sum(staying, _requests(container))
        most = {name: max(most.get(name, Decimal(0)), amount) for name, amount in {**most, **now}.items()}
        if container.get("restartPolicy") == "Always":
            staying = now
    running = staying
    for container in pod["spec"]["containers"]:
        running = _sum(running, _requests(container))
    whole = {name: max(most.get(name, Decimal(0)), running.get(name, Decimal(0))) for name in {**most, **running}}
    return {**whole, "pods": Decimal(1)}


def _requests(container: Json) -> dict[str, Decimal]:
    found = (container.get("resources") or {}).get("requests") or {}
    return {name: quantity(text) for name, text in found.items()}


def _sum(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    return {name: one.get(name, Decimal(0)) + other.get(name, Decimal(0)) for name in {**one, **other}}


def priority_of(pod: Json) -> int:
    return int(pod["spec"].get("priority") or 0)


def _order(pod: Json) -> tuple[int, str, int]:
    return (-priority_of(pod), pod["metadata"]["creationTimestamp"], int(pod["metadata"]["resourceVersion"]))


@dataclass(frozen=True)
class Candidate:
    """A node on which a pod fits after the eviction of the victims, which are pods of lower priority."""

    node: str
    victims: list[Json]

    @property
    def cost(self) -> tuple[int, int, int]:
        """Return kube-scheduler's sort key: maximum of the victims' priorities, sum of them, number of victims."""
        priorities = [priority_of(victim) for victim in self.victims]
        return (max(priorities), sum(priorities), len(priorities))


def static_obstacle(pod: Json, node: Json) -> str:
    """Return why the pod cannot run even on the empty node (labels, taints), or an empty string."""
    labels = node["metadata"].get("labels") or {}
    if node["spec"].get("unschedulable"):
        return "node(s) were unschedulable"
    wanted = pod["spec"].get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in wanted.items()) or not _has_affinity(pod, labels):
        return "node(s) didn't match Pod's node affinity/selector"
    for taint in node["spec"].get("taints") or []:
        if taint.get("effect") != "PreferNoSchedule" and not any(
            _tolerates(t, taint) for t in pod["spec"].get("tolerations") or []
        ):
            return "node(s) had untolerated taint(s)"
    return ""


def _has_affinity(pod: Json, labels: Mapping[str, str]) -> bool:
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms")
    if terms is None:
        return True
    return any(all(test(labels) for test in expressions(term.get("matchExpressions") or [])) for term in terms)


def _tolerates(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if not toleration.get("key"):
        return toleration.get("operator") == "Exists"
    same_key = bool(toleration["key"] == taint["key"])
    return same_key and (
        toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")
    )


def shortages(pod: Json, node: Json, others: Iterable[Json]) -> list[str]:
    """Return kube-scheduler's message for each resource of which the node has too little for the pod."""
    used: dict[str, Decimal] = {}
    for other in others:
        for name, amount in requests_of(other).items():
            used[name] = used.get(name, Decimal(0)) + amount
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    short = []
    for name, amount in requests_of(pod).items():
        if amount and used.get(name, Decimal(0)) + amount > quantity(allocatable.get(name, "0")):
            short.append("Too many pods" if name == "pods" else f"Insufficient {name}")
    return short


class Scheduler:
    """Tries to schedule all pending pods whenever an object has changed."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.store.listeners.append(self._seen)
        self._changed.set()
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        self.store.listeners.remove(self._seen)
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _seen(self, change: Change) -> None:
        if change.kind in (POD, NODE, CLAIM):
            self._changed.set()

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self.schedule()

    def schedule(self) -> None:
        """Try to schedule all pending pods once, in order of decreasing priority."""
        pods = [pod for pod in self.store.list(POD) if _is_mine(pod)]
        for pod in sorted(pods, key=_order):
            if pod["spec"].get("schedulingGates"):
                self._unscheduled(pod, "SchedulingGated", GATED)
            elif missing := self._missing_claim(pod):
                said = f"0/{len(self.store.list(NODE))} nodes are available: {missing}. not found"
                self._unscheduled(pod, "Unschedulable", said)
            else:
                self._place(pod)

    def _missing_claim(self, pod: Json) -> str:
        for volume in pod["spec"].get("volumes") or []:
            name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if not name:
                continue
            claim = self.store.find(CLAIM, pod["metadata"]["namespace"], name)
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if claim["metadata"].get("deletionTimestamp"):
                return f'persistentvolumeclaim "{name}" is being deleted'
            if claim["status"].get("phase") != "Bound":
                return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    def _place(self, pod: Json) -> None:
        nodes = self.store.list(NODE)
        reasons: Counter[str] = Counter()
        for node in nodes:
            obstacle = static_obstacle(pod, node)
            short = [obstacle] if obstacle else shortages(pod, node, self._competing_pods(pod, node))
            if not short:
                self._bind(pod, node["metadata"]["name"])
                return
            reasons.update(short)
        if not nodes:
            self._unscheduled(pod, "Unschedulable", "no nodes available to schedule pods")
            return
        why = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
        outcome = self._preempt(pod, nodes)
        preemption = f" {NO_CLAIMS}, preemption: {outcome}" if outcome else ""
        self._unscheduled(pod, "Unschedulable", f"0/{len(nodes)} nodes are available: {why}.{preemption}")

    def _on(self, node: str) -> list[Json]:
        """Return the pods that use resources of the node, including terminating pods."""
        return [pod for pod in self.store.list(POD) if pod["spec"].get("nodeName") == node and not _has_ended(pod)]

    def _competing_pods(self, pod: Json, node: Json) -> list[Json]:
        """Return the pods on the node, and the pods nominated to it that have the same or a higher priority."""
        name = node["metadata"]["name"]
        promised = [
            other
            for other in self.store.list(POD)
            if _is_mine(other)
            and other["status"].get("nominatedNodeName") == name
            and other["metadata"]["uid"] != pod["metadata"]["uid"]
            and priority_of(other) >= priority_of(pod)
        ]
        return self._on(name) + promised

    def _bind(self, pod: Json, node: str) -> None:
        bind(self.store, pod, node)
        metadata = pod["metadata"]
        bound = self.store.get(POD, metadata["namespace"], metadata["name"])
        message = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {node}"
        self._record(bound, "Scheduled", message)

    def _preempt(self, pod: Json, nodes: list[Json]) -> str:
        """Evict pods of lower priority to make room.  Return why this is not possible, or an empty string."""
        if pod["spec"].get("preemptionPolicy") == "Never":
            return NOT_ELIGIBLE
        nominated = pod["status"].get("nominatedNodeName")
        if nominated and any(self._is_ending_for(pod, other) for other in self._on(nominated)):
            return TERMINATING
        reasons: Counter[str] = Counter()
        candidates = []
        for node in nodes:
            # Preemption cannot help if the node is too small even when empty.
            if static_obstacle(pod, node) or shortages(pod, node, []):
                reasons[NO_HELP] += 1
                continue
            victims, short = self._victims(pod, node)
            if victims:
                candidates.append(Candidate(node["metadata"]["name"], victims))
            reasons.update(short)
        if not candidates:
            why = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
            return f"0/{len(nodes)} nodes are available: {why}."
        best = min(candidates, key=lambda candidate: candidate.cost)
        for victim in best.victims:
            self._evict(victim, pod, best.node)
        self.store.modify(POD, pod, lambda new: new["status"].update(nominatedNodeName=best.node))
        return ""

    def _is_ending_for(self, pod: Json, other: Json) -> bool:
        return bool(other["metadata"].get("deletionTimestamp")) and priority_of(other) < priority_of(pod)

    def _victims(self, pod: Json, node: Json) -> tuple[list[Json], list[str]]:
        """Return the pods to evict so that the pod fits on the node, or the reasons why there are none.

        In order of decreasing priority, each pod is kept if `pod` fits beside it and those kept before.
        """
        beside = self._competing_pods(pod, node)
        lower = [other for other in beside if priority_of(other) < priority_of(pod) and other["spec"].get("nodeName")]
        kept = [other for other in beside if other not in lower]
        if not lower:
            return [], [NO_VICTIMS]
        if short := shortages(pod, node, kept):
            return [], short
        victims = []
        for other in sorted(lower, key=_order):  # keep pods of the highest priority
            if shortages(pod, node, [*kept, other]):
                victims.append(other)
            else:
                kept.append(other)
        return victims, []

    def _evict(self, victim: Json, pod: Json, node: str) -> None:
        def change(new: Json) -> None:
            conditions = new["status"].get("conditions")
            new["status"]["conditions"] = with_condition(
                conditions, "DisruptionTarget", "True", "PreemptionByScheduler", PREEMPTION
            )

        if victim["metadata"].get("deletionTimestamp"):
            return
        marked = self.store.modify(POD, victim, change)
        self._record(marked, "Preempted", f"Preempted by pod {pod['metadata']['uid']} on node {node}")
        self.store.delete(POD, self.store.get(POD, marked["metadata"]["namespace"], marked["metadata"]["name"]), {})

    def _unscheduled(self, pod: Json, reason: str, message: str) -> None:
        """Write why the pod is pending into its condition PodScheduled, if the reason has changed."""
        pod = self.store.get(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
        before = condition(pod, "PodScheduled")
        if (before.get("reason"), before.get("message")) == (reason, message):
            return

        def change(new: Json) -> None:
            new["status"]["conditions"] = with_condition(
                new["status"].get("conditions"), "PodScheduled", "False", reason, message
            )

        changed = self.store.modify(POD, pod, change)
        if reason == "Unschedulable":
            self._record(changed, "FailedScheduling", message, warning=True)

    def _record(self, pod: Json, reason: str, message: str, *, warning: bool = False) -> None:
        self.store.record(pod, reason, message, source=NAME, warning=warning, newer=True)


def _is_mine(pod: Json) -> bool:
    """Return whether the pod is pending and has this scheduler's name."""
    waits = not pod["spec"].get("nodeName") and not pod["metadata"].get("deletionTimestamp") and not _has_ended(pod)
    return waits and pod["spec"].get("schedulerName", NAME) == NAME


def _has_ended(pod: Json) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")
