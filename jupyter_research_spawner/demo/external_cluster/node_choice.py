"""Choose the node of an external cluster on which the demo runs, and the sizes of the demo's pods.

The node must have the field `status.features.supplementalGroupsPolicy`, which Kubernetes 1.33 and later sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from ...embedded.apimachinery.quantities import quantity
from ...settings.units import format_bytes
from ...shape import Json
from ..demo_cluster import CannotStart

HOSTNAME = "kubernetes.io/hostname"
NOTEBOOKS = 2  # alice's and bob's
JOBS = 2  # bob's; alice's job preempts one of them
NEEDED_CPU = Decimal(1)
NOTEBOOK_MEMORY = 512 * 2**20
JOB_MEMORY = 256 * 2**20
NEEDED_MEMORY = NOTEBOOKS * NOTEBOOK_MEMORY + JOBS * JOB_MEMORY
# A job requests this share of the CPUs that the notebooks leave, so that two jobs fit and a third does not.
SHARE = Decimal("0.48")


@dataclass(frozen=True)
class Node:
    """A node.  `cpu` (cores) and `memory` (bytes) are the allocatable amounts.

    `free_cpu` and `free_memory` are the allocatable amounts minus the requests of the node's pods.
    `pods` is the node's pod network (CIDR), if `spec.podCIDR` is set.
    """

    name: str
    hostname: str
    address: str
    cpu: Decimal
    memory: int
    free_cpu: Decimal
    free_memory: int
    pods: str | None
    images: frozenset[str]


@dataclass(frozen=True)
class Sizes:
    """The CPUs of a notebook and of a batch job."""

    notebook_cpu: Decimal
    job_cpu: Decimal


def choose(nodes: Sequence[Json], pods: Sequence[Json]) -> Node:
    """Return the suitable node with the most free CPUs.

    Raises CannotStart if no node is suitable or the node is too small.  The message gives the reason for each node.
    """
    able = [node for node in nodes if not _in_the_way(node)]
    if not able:
        reasons = (
            "; ".join(f"{node['metadata']['name']} {_in_the_way(node)}" for node in nodes) or "the cluster has no node"
        )
        raise CannotStart(f"The demo cannot run on any node of the cluster: {reasons}.")
    found = max((_read(node, pods) for node in able), key=lambda node: node.free_cpu)
    if found.free_cpu < NEEDED_CPU or found.free_memory < NEEDED_MEMORY:
        raise CannotStart(
            f"{_told(found)} The tour needs {NEEDED_CPU} CPU and {format_bytes(NEEDED_MEMORY)} free on one node. "
            "Use a cluster with a larger node (2 CPUs are enough), or delete other pods on this node."
        )
    return found


def _in_the_way(node: Json) -> str:
    """Return why pods of the demo cannot run on the node, or an empty string."""
    status, spec = node.get("status", {}), node.get("spec", {})
    ready: Json = next((found for found in status.get("conditions", []) if found["type"] == "Ready"), {})
    if ready.get("status") != "True":
        return f"is not ready ({ready.get('message', 'it does not say why')})"
    if spec.get("unschedulable"):
        return "is cordoned"
    if taint := next((found for found in spec.get("taints", []) if found["effect"] != "PreferNoSchedule"), None):
        return f"is tainted ({taint['key']}:{taint['effect']})"
    if not status.get("features", {}).get("supplementalGroupsPolicy"):
        runtime = status.get("nodeInfo", {}).get("containerRuntimeVersion", "an unknown runtime")
        return (
            "does not support supplementalGroupsPolicy: Strict, which prevents images from adding groups "
            f"(its runtime is {runtime}, but containerd 2 or CRI-O 1.31 is required)"
        )
    if _address(node) is None:
        return "has no IPv4 address of type InternalIP"
    return ""


def _address(node: Json) -> str | None:
    addresses = node["status"].get("addresses", [])
    return next((at["address"] for at in addresses if at["type"] == "InternalIP" and ":" not in at["address"]), None)


def _read(node: Json, pods: Sequence[Json]) -> Node:
    name, status = node["metadata"]["name"], node["status"]
    cpu, memory = quantity(status["allocatable"]["cpu"]), quantity(status["allocatable"]["memory"])
    there = [pod for pod in pods if pod["spec"].get("nodeName") == name and _counts(pod)]
    return Node(
        name=name,
        hostname=node["metadata"]["labels"][HOSTNAME],
        address=_address(node) or "",
        cpu=cpu,
        memory=int(memory),
        free_cpu=cpu - sum(requested(pod, "cpu") for pod in there),
        free_memory=int(memory - sum(requested(pod, "memory") for pod in there)),
        pods=next((cidr for cidr in node["spec"].get("podCIDRs", []) if ":" not in cidr), None),
        images=images(node),
    )


def images(node: Json) -> frozenset[str]:
    """Return the names of the images that the node reports.  By default, a kubelet reports the 50 largest images."""
    return frozenset(name for found in node["status"].get("images") or [] for name in found.get("names") or [])


def _counts(pod: Json) -> bool:
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")


def requested(pod: Json, resource: str) -> Decimal:
    """Return how much of the resource a pod requests, counted as by kube-scheduler, with sidecars (KEP-753)."""
    spec = pod["spec"]
    if resource in (whole := (spec.get("resources") or {}).get("requests") or {}):
        return quantity(whole[resource]) + _overhead(spec, resource)
    sidecars = highest = Decimal(0)
    for container in spec.get("initContainers", []):
        amount = _of((container,), resource)
        highest = max(highest, sidecars + amount)
        if container.get("restartPolicy") == "Always":
            sidecars += amount
    return max(highest, sidecars + _of(spec["containers"], resource)) + _overhead(spec, resource)


def _of(containers: Iterable[Json], resource: str) -> Decimal:
    requests = ((container.get("resources") or {}).get("requests") or {} for container in containers)
    return sum((quantity(found.get(resource, 0)) for found in requests), Decimal(0))


def _overhead(spec: Json, resource: str) -> Decimal:
    return quantity((spec.get("overhead") or {}).get(resource, 0))


def sizes(node: Node) -> Sizes:
    """Return the CPU requests of notebooks and jobs, such that the node has room for two of each but no third job."""
    notebook = Decimal("0.5") if node.free_cpu >= 2 else Decimal("0.25")
    job = (node.free_cpu - NOTEBOOKS * notebook) * SHARE
    return Sizes(notebook, job.quantize(Decimal("0.01"), ROUND_DOWN))


def derived(node: Node, found: Sizes) -> str:
    """Return sentences about the node's free CPUs and the CPU requests that the demo uses on it."""
    return (
        f"{_told(node)} The demo therefore uses {cpus(found.notebook_cpu)} for a notebook and {cpus(found.job_cpu)} "
        "for a batch job: the node has room for two of each, but not for a third job."
    )


def _told(node: Node) -> str:
    memory = f"{node.free_memory / 2**30:.1f} GiB of memory"
    return (
        f"Node {node.name} has {cpus(node.cpu)} for pods, and its pods request "
        f"{cpus(node.cpu - node.free_cpu)}. Free: {cpus(node.free_cpu)} and {memory}."
    )


def cpus(cores: Decimal) -> str:
    """Format cores as `1 CPU` or `1.05 CPUs`."""
    amount = f"{cores.quantize(Decimal('0.01'), ROUND_DOWN).normalize():f}"
    return f"{amount} CPU" if cores == 1 else f"{amount} CPUs"
