"""Kueue: quota and order before scheduling.  Contract: kueue.sigs.k8s.io, seen with 0.19.2."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..settings import Settings
from ..shape import Json
from .base import (
    Marks,
    Metadata,
    Need,
    Placement,
    QueueName,
    Reason,
    condition,
    disruption,
    nothing_refused,
    priority_class_need,
    refuse_gpu_beside_hami,
    status_of_pod,
)

KIND = "kueue"
RESERVED = ("kueue.x-k8s.io/",)
API = "kueue.x-k8s.io/v1beta2"

QUEUE = "kueue.x-k8s.io/queue-name"
PRIORITY = "kueue.x-k8s.io/priority-class"
MAX_SECONDS = "kueue.x-k8s.io/max-exec-time-seconds"
# The pod's own deadline comes first and leaves a reason; Kueue's deletes the pod without one.
SLACK_SECONDS = 300

GPU_ADVICE: Mapping[str, str] = {
    "dra": "is counted by Kueue only where its configuration maps the device class to a resource of the quota "
    "(resources.deviceClassMappings)",
}


class QueueOptions(Settings):
    """What Kueue calls this queue."""

    local_queue: QueueName | None = Field(None, title="LocalQueue", description="By default the queue's own name.")


def _local_queue(placement: Placement) -> str:
    assert isinstance(placement.options, QueueOptions)
    return placement.options.local_queue or placement.queue


def marks(placement: Placement) -> Marks:
    # No schedulerName and no nodeSelector: Kueue gates the pod and adds its flavor's own selectors.
    labels = {QUEUE: _local_queue(placement), PRIORITY: placement.priority_class}
    if placement.is_notebook:  # on a Job it would leave it suspended for ever
        labels[MAX_SECONDS] = str(placement.hard_seconds + SLACK_SECONDS)
    # The PriorityClass too: when quota is there but no node has room, kube-scheduler must make the same choice.
    return Marks(
        object=Metadata(labels=labels),
        scheduler_name=placement.scheduler_name,
        priority_class=placement.priority_class,
    )


def needs(placement: Placement) -> tuple[Need, ...]:
    # A missing WorkloadPriorityClass leaves a pod gated for ever, without an event or a condition.
    return (
        Need(API, "LocalQueue", _local_queue(placement), placement.namespace),
        Need(API, "WorkloadPriorityClass", placement.priority_class),
        priority_class_need(placement),
    )


def eviction(pod: Json) -> Reason | None:
    """Kueue marks what it takes away with TerminationTarget, never with DisruptionTarget."""
    found = condition(pod, "TerminationTarget")
    reason = str(found.get("reason", ""))
    if found.get("status") != "True":
        return disruption(pod)
    if reason == "WorkloadEvictedDueToPreempted":
        return Reason("Preempted: work of a higher priority needed its place.", preempted=True)
    if "MaximumExecutionTimeExceeded" in reason:
        return Reason("Ended by its hard wall time.")
    return Reason(f"Taken away by Kueue ({reason}): {found.get('message', '')}")


refuses = nothing_refused
refuses_gpu = refuse_gpu_beside_hami
status = status_of_pod
