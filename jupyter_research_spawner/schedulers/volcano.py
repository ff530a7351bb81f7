"""Volcano: queues with shares, and gangs.  Contract: volcano.sh, marks as in 1.15.1, seen with 1.14.1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from pydantic import Field

from ..prerequisite import Prerequisite
from ..resources import VolcanoVgpu
from ..settings import Settings
from ..shape import Json
from .scheduler_interface import (
    COUNTED_GPUS,
    Marks,
    Metadata,
    Objects,
    Placement,
    QueueName,
    QueuePlacement,
    QueueStatus,
    condition,
    disruption_among_queues,
    nothing_refused,
    only_gpus,
    priority_class_prerequisite,
    status_of_pod,
)

KIND = "volcano"
SCHEDULER_NAME = "volcano"
# group-name makes a pod part of an existing PodGroup, and so of that one's queue.
GROUP = "scheduling.k8s.io/group-name"
RESERVED = ("scheduling.volcano.sh/", "volcano.sh/", GROUP)

QUEUE = "scheduling.volcano.sh/queue-name"
GANG = "scheduling.volcano.sh/group-min-member"
PREEMPTABLE = "volcano.sh/preemptable"
NUMA = "volcano.sh/numa-topology-policy"

GPU_ADVICE: Mapping[str, str] = {
    "volcano-vgpu": "needs Volcano's plugin deviceshare with deviceshare.VGPUEnable: true, and "
    "volcano-vgpu-device-plugin on the nodes. Where that stops answering, the scheduler of Volcano 1.14.1 crashes at "
    "the next pod that asks for such a GPU",
    "dra": "needs Volcano's plugin predicates with predicate.DynamicResourceAllocationEnable: true",
}


class QueueOptions(Settings):
    """What Volcano calls this queue."""

    queue: QueueName | None = Field(None, title="Queue", description="By default the queue's own name.")


def _queue(placement: QueuePlacement) -> str:
    assert isinstance(placement.options, QueueOptions)
    return placement.options.queue or placement.queue


def marks(placement: Placement) -> Marks:
    # Volcano reads the queue from the pod alone, and takes a pod that says nothing for preemptable.
    pod = {QUEUE: _queue(placement), PREEMPTABLE: "true" if placement.preemptible else "false"}
    if placement.resources.numa is not None:
        # The plugin wants the kubelet's own word, not a weaker one.
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
    # Without an open Queue no PodGroup is made: the pod stays Pending with no condition and no event.
    queue = Prerequisite("scheduling.volcano.sh/v1beta1", "Queue", _queue(placement), shut=("Closed", "Closing"))
    return (queue, priority_class_prerequisite(placement))


refuses = nothing_refused
refuses_gpu = only_gpus(*COUNTED_GPUS, "volcano-vgpu", "dra")
# A PodGroup has the pod's own words for why it waits, and keeps them when it runs; only its events tell more.
deletes_unmarked = False
watched = ()

_NO_ROOM = re.compile(r"pod group is (?:not )?ready, .*?(\d+) minAvailable")
_PLACED = "can possibly be assigned to"
_NO_VGPU = "hami-vgpuDeviceSharing error"


def status(pod: Json, objects: Objects, missing: tuple[Prerequisite, ...]) -> QueueStatus:
    """The pod's own condition, whose words are the same for a queue, a cluster and a node without room."""
    found = status_of_pod(pod, objects, missing)
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    scheduled = condition(pod, "PodScheduled")
    if found.phase == "scheduling" and not scheduled and QUEUE in annotations and GROUP not in annotations:
        told = "Volcano has not put it into its queue yet. It does not while that queue is closed."
        return replace(found, phase="gated", message=told)
    # One of a gang that has a place is False too, for the reason Schedulable, until all of them have one.
    if found.phase == "queued" or (found.phase == "scheduling" and scheduled):
        return replace(found, phase="queued", message=_why(pod, found.message))
    return found


def _why(pod: Json, message: str) -> str:
    """Volcano's own sentences, for people."""
    if (pod.get("status") or {}).get("nominatedNodeName"):
        return "It takes the place of others, which are ending."
    if _PLACED in message:
        return "There is a place for it when others have ended, or when all that start together have one."
    if _NO_VGPU in message:
        return "No node has that much of a GPU free, or in the mode that is asked for."
    if (group := _NO_ROOM.match(message)) is None:
        return message
    together = int(group[1])
    whole = f" for {together} pods, which start together" if together > 1 else ""
    return f"It waits for room{whole}: its queue is full or closed, or the cluster is full."


# The condition Ready tells preemption and reclaim apart, but the kubelet resets it at once.
eviction = disruption_among_queues
