"""Volcano: queues with shares, and gangs.  Contract: volcano.sh, marks as in 1.15.1, seen with 1.14.1."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..resources import VolcanoVgpu
from ..settings import Settings
from ..shape import Json
from .base import (
    COUNTED_GPUS,
    NO_OBJECTS,
    Marks,
    Metadata,
    Need,
    Objects,
    Placement,
    QueueName,
    Reason,
    condition,
    disruption,
    nothing_refused,
    only_gpus,
    priority_class_need,
    status_of_pod,
)

KIND = "volcano"
SCHEDULER_NAME = "volcano"
# group-name makes a pod part of an existing PodGroup, and so of that one's queue.
RESERVED = ("scheduling.volcano.sh/", "volcano.sh/", "scheduling.k8s.io/group-name")

QUEUE = "scheduling.volcano.sh/queue-name"
GANG = "scheduling.volcano.sh/group-min-member"
PREEMPTABLE = "volcano.sh/preemptable"
NUMA = "volcano.sh/numa-topology-policy"

GPU_ADVICE: Mapping[str, str] = {
    "volcano-vgpu": "needs Volcano's plugin deviceshare with deviceshare.VGPUEnable: true, and "
    "volcano-vgpu-device-plugin on the nodes",
    "dra": "needs Volcano's plugin predicates with predicate.DynamicResourceAllocationEnable: true",
}


class QueueOptions(Settings):
    """What Volcano calls this queue."""

    queue: QueueName | None = Field(None, title="Queue", description="By default the queue's own name.")


def _queue(placement: Placement) -> str:
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


def needs(placement: Placement) -> tuple[Need, ...]:
    # Without the Queue no PodGroup is made: the pod stays Pending with no condition and no event.
    return (Need("scheduling.volcano.sh/v1beta1", "Queue", _queue(placement)), priority_class_need(placement))


def eviction(pod: Json, objects: Objects = NO_OBJECTS) -> Reason | None:
    """Reclaim and preemption share one DisruptionTarget; only Ready tells them apart, until the kubelet resets it."""
    ready = condition(pod, "Ready")
    if ready.get("reason") == "Evict" and "reclaim" in str(ready.get("message", "")):
        return Reason("Preempted: another queue took back its share.", preempted=True)
    return disruption(pod)


refuses = nothing_refused
refuses_gpu = only_gpus(*COUNTED_GPUS, "volcano-vgpu", "dra")
watched = ()
status = status_of_pod
