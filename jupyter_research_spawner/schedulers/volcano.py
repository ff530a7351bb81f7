"""Volcano: queues with fair share, and gang scheduling.

Written for Volcano 1.15.1 (volcano.sh), tested with 1.14.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from pydantic import Field

from ..api_object import condition, parse_quantity
from ..prerequisite import Prerequisite
from ..resources import VolcanoVgpu
from ..settings import Settings
from ..shape import Json
from ..texts import gettext, gettext_noop
from .queue_room import Demand, QueueRoom, QueueUse, QuotaUse, queue_chain
from .queue_status import QueueStatus
from .scheduler_defaults import (
    COUNTED_GPUS,
    PREEMPTED_AMONG_QUEUES,
    disruption_among_queues,
    only_gpus,
    priority_class_prerequisite,
    refuses_nothing,
    status_of_pod,
)
from .scheduler_interface import (
    FindRoom,
    FindUse,
    Marks,
    Metadata,
    Objects,
    Placement,
    PreemptionEvent,
    QueueKind,
    QueueManifest,
    QueueName,
    QueuePlacement,
)

KIND = "volcano"
API = "scheduling.volcano.sh/v1beta1"
SCHEDULER_NAME = "volcano"
# With this key a pod joins an existing PodGroup, and so the queue of that PodGroup.
GROUP = "scheduling.k8s.io/group-name"
RESERVED = ("scheduling.volcano.sh/", "volcano.sh/", GROUP)

QUEUE = "scheduling.volcano.sh/queue-name"
GANG = "scheduling.volcano.sh/group-min-member"
PREEMPTABLE = "volcano.sh/preemptable"
NUMA = "volcano.sh/numa-topology-policy"

GPU_ADVICE: Mapping[str, str] = {
    "volcano-vgpu": "these GPUs require Volcano's plugin deviceshare with deviceshare.VGPUEnable: true, and "
    "volcano-vgpu-device-plugin on the nodes. If that device plugin stops, the scheduler of Volcano 1.14.1 crashes at "
    "the next pod that requests such a GPU",
    "dra": "these GPUs require Volcano's plugin predicates with predicate.DynamicResourceAllocationEnable: true",
}


class QueueOptions(Settings):
    """The settings of a queue for Volcano."""

    queue: QueueName | None = Field(
        None, title="Queue", description="Default: the name of the queue.", examples=["climate"]
    )


def _queue(placement: QueuePlacement) -> str:
    assert isinstance(placement.options, QueueOptions)
    return placement.options.queue or placement.queue


def marks(placement: Placement) -> Marks:
    """Return the pod annotations for queue, preemption, NUMA and vGPU, and the gang size of the object."""
    # Volcano reads the queue only from the pod.  A pod without the annotation PREEMPTABLE is preemptable.
    pod = {QUEUE: _queue(placement), PREEMPTABLE: "true" if placement.preemptible else "false"}
    if placement.resources.numa is not None:
        # Volcano's plugin numa-aware accepts only this policy, the strictest one of the kubelet.
        pod[NUMA] = "single-numa-node"
    if isinstance(gpu := placement.resources.gpu, VolcanoVgpu):
        pod |= gpu.annotations()
    gang = {GANG: str(placement.shape.gang)} if placement.shape.gang > 1 else {}
    return Marks(
        object=Metadata(annotations=gang),
        pod=Metadata(annotations=pod),
        scheduler_name=placement.scheduler_name or SCHEDULER_NAME,
        priority_class=placement.priority_class,
    )


def prerequisites(placement: QueuePlacement) -> tuple[Prerequisite, ...]:
    """Return the Queue, which must be open, and the PriorityClass.

    Without an open Queue Volcano creates no PodGroup, so the pod stays Pending without a condition or an event.
    """
    queue = Prerequisite(API, "Queue", _queue(placement), shut=("Closed", "Closing"))
    return (queue, priority_class_prerequisite(placement))


refuses = refuses_nothing
refuses_gpu = only_gpus(*COUNTED_GPUS, "volcano-vgpu", "dra")
preemption_events = (PreemptionEvent("Evict", PREEMPTED_AMONG_QUEUES),)


def adds(pod: Json) -> tuple[str, ...]:
    """Return the annotation that names the PodGroup of the pod."""
    return (f"metadata.annotations.{GROUP}",)


deletes_unmarked = False
# A PodGroup only repeats the message of its pods, and keeps it even when they run.  So no other kind is watched.
watched = ()
HOLD = None
ORDER = None
queue_kinds = (QueueKind(API, "Queue"),)


def queue_manifest(placement: QueuePlacement, share: int | None) -> QueueManifest:
    """Return the Queue with its weight, if the settings have a share."""
    name = _queue(placement)
    if share is None:
        return QueueManifest(
            f"Queue {placement.queue} needs Volcano's Queue {name}, which is open. It is printed here if "
            f"queues.{placement.queue}.share is set, as its weight."
        )
    queue = {"apiVersion": API, "kind": "Queue", "metadata": {"name": name}, "spec": {"weight": share}}
    return QueueManifest(f"You decide capability, guarantee and parent of Volcano's Queue {name}.", queue)


def queue_rooms(objects: Objects) -> FindRoom:
    """Return a function that compares what a pod requests with the capability and the guarantee of its Queue.

    `capability` is the most that a Queue and those below it may have, and says nothing about nodes.  So room below it
    is not known to be free, unless it is within the `guarantee`, which Volcano keeps free for the Queue.  Volcano does
    not count the PodGroups that wait (docs/design/podgroup-statistics.md).
    """
    queues = {found["metadata"]["name"]: found for found in objects.by_kind.get("Queue", ())}
    return lambda placement, demand: _room(queues, _queue(placement), demand)


def _room(queues: Mapping[str, Json], name: str, demand: Demand) -> QueueRoom | None:
    chain, requests = queue_chain(queues, name, "parent"), demand.requests
    if not chain or not all("allocated" in (queue.get("status") or {}) for queue in chain):
        return None
    if any(queue["status"].get("state") in ("Closed", "Closing") for queue in chain):
        return QueueRoom(False, is_closed=True)
    totals = [_resources((queue.get("spec") or {}).get("capability")) for queue in chain]
    used = [_resources(queue["status"].get("allocated")) for queue in chain]
    if any(amount > total.get(resource, amount) for total in totals for resource, amount in requests.items()):
        return QueueRoom(False, is_too_large=True)
    for total, allocated in zip(totals, used, strict=True):
        if any(name in total and amount > total[name] - allocated.get(name, 0) for name, amount in requests.items()):
            return QueueRoom(False)
    guarantee = _resources(((chain[0].get("spec") or {}).get("guarantee") or {}).get("resource"))
    is_counted = demand.gpu is None or not demand.gpu.claims()
    if is_counted and all(amount <= guarantee.get(name, 0) - used[0].get(name, 0) for name, amount in requests.items()):
        return QueueRoom(True)
    return None


def queue_uses(objects: Objects) -> FindUse:
    """Return a function that compares what is allocated to a Queue with its capability."""
    queues = {found["metadata"]["name"]: found for found in objects.by_kind.get("Queue", ())}
    return lambda placement: _use(queues.get(_queue(placement)) or {})


def _use(queue: Json) -> QueueUse | None:
    status = queue.get("status") or {}
    if "allocated" not in status:
        return None
    allocated, capability = _resources(status["allocated"]), _resources(queue["spec"].get("capability"))
    return QueueUse(tuple(QuotaUse(name, allocated.get(name, Decimal(0)), most) for name, most in capability.items()))


def _resources(written: Mapping[str, object] | None) -> dict[str, Decimal]:
    return {name: parse_quantity(amount) for name, amount in (written or {}).items()}


_NO_ROOM = re.compile(r"pod group is (?:not )?ready, .*?(\d+) minAvailable")
_PLACED = "can possibly be assigned to"
_NO_VGPU = "hami-vgpuDeviceSharing error"


def status(pod: Json, objects: Objects, missing: tuple[Prerequisite, ...]) -> QueueStatus:
    """Return the queue status from the conditions of the pod.

    Volcano's message is the same whether the queue, the cluster or a node has no room.
    """
    found = status_of_pod(pod, objects, missing)
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    scheduled = condition(pod, "PodScheduled")
    if found.phase == "scheduling" and not scheduled and QUEUE in annotations and GROUP not in annotations:
        return replace(found, phase="gated", code="not-considered", message=gettext(_NOT_ADDED))
    # PodScheduled is also False, with the reason Schedulable, while the pod has a node but others of its gang do not.
    if found.phase == "queued" or (found.phase == "scheduling" and scheduled):
        return _waiting(replace(found, phase="queued"), pod, str(scheduled.get("message", "")))
    return found


_NOT_ADDED = gettext_noop("Volcano has not added the pod to its queue yet. It adds nothing while that queue is closed.")


def _waiting(found: QueueStatus, pod: Json, message: str) -> QueueStatus:
    """Return the status with the facts of Volcano's message, or with the message if it has another form."""
    if (pod.get("status") or {}).get("nominatedNodeName"):
        return replace(found, code="preempting", message="")
    if _PLACED in message:
        told = gettext(
            "It has a node, and waits until other pods there have ended or until the rest of its group has nodes."
        )
        return replace(found, code="placed", message=told)
    if _NO_VGPU in message:
        told = gettext("No node here has a free part of a GPU of the requested size and mode.")
        return replace(found, code="nodes", message=told)
    if (group := _NO_ROOM.match(message)) is None:
        return found
    return replace(found, code="room", message="", together=int(group[1]))


# Only the condition Ready distinguishes preemption from reclaim, and the kubelet overwrites that condition at once.
eviction = disruption_among_queues
