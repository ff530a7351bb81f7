"""KAI: GPU queues with quotas in two levels.

Contract: github.com/kai-scheduler/KAI-Scheduler, marks as in 0.17, seen with 0.12, which starts the pods of a Job one
by one, whatever GANG says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import Field

from ..prerequisite import Prerequisite
from ..resources import KaiFraction
from ..settings import Settings
from ..shape import Json, label_value
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

KIND = "kai"
SCHEDULER_NAME = "kai-scheduler"
# KAI has names without a prefix.  `project` is read only where its queue label is absent, and ours never is.
RESERVED = (
    "kai.scheduler/",
    "priorityClassName",
    "user",
    "pod-group-name",
    "gpu-fraction",
    "gpu-fraction-container-name",
    "gpu-fraction-num-devices",
    "gpu-memory",
    "mps",
    # It would take these for a slice that was asked for, or for devices that it gave already.
    "nvidia.com/mig-",
    "received-resource-type",
    "runai-gpu-group",
    "runai-gpu-group/",
)
API = "scheduling.run.ai/v2"

QUEUE = "kai.scheduler/queue"
PRIORITY = "priorityClassName"
PREEMPTIBILITY = "kai.scheduler/preemptibility"
USER = "user"
GANG = "kai.scheduler/batch-min-member"
FRACTION_CONTAINER = "gpu-fraction-container-name"

GPU_ADVICE: Mapping[str, str] = {
    "kai-fraction": "needs KAI with global.gpuSharing=true. KAI keeps nobody from using more of the device than that",
    "dra": "needs KAI's scheduler and binder with --feature-gates=DynamicResourceAllocation=true",
}


class QueueOptions(Settings):
    """What KAI calls this queue."""

    queue: QueueName | None = Field(
        None, title="Leaf Queue", description="By default the queue's own name.", examples=["climate"]
    )
    parent: QueueName | None = Field(
        None,
        title="Its parent Queue",
        description="KAI takes work only for a queue below another. Named here, it is checked before anything starts.",
        examples=["research"],
    )


def _options(placement: QueuePlacement) -> QueueOptions:
    assert isinstance(placement.options, QueueOptions)
    return placement.options


def _queue(placement: QueuePlacement) -> str:
    return _options(placement).queue or placement.queue


def marks(placement: Placement) -> Marks:
    labels = {
        QUEUE: _queue(placement),
        PRIORITY: placement.priority_class,
        # Unsaid, the priority's value would decide: below 100 others may take the place.  What is not preemptible
        # never runs over its queue's quota.
        PREEMPTIBILITY: "preemptible" if placement.preemptible else "non-preemptible",
        USER: label_value(placement.identity.name),
    }
    gang = {GANG: str(placement.shape.gang)} if placement.shape.gang > 1 else {}
    gpu = placement.resources.gpu
    fraction = gpu.annotations() if isinstance(gpu, KaiFraction) else {}
    # On both: whichever of owner and pod the podgrouper asks for this kind of work, it finds the same.
    return Marks(
        object=Metadata(labels, gang),
        pod=Metadata(labels, fraction),
        # Unsaid, KAI takes the first container, which may be somebody's sidecar.
        names_main=FRACTION_CONTAINER if fraction else None,
        scheduler_name=placement.scheduler_name or SCHEDULER_NAME,
        priority_class=placement.priority_class,
    )


def prerequisites(placement: QueuePlacement) -> tuple[Prerequisite, ...]:
    parent = _options(placement).parent
    queues = [_queue(placement), parent] if parent else [_queue(placement)]
    return (*(Prerequisite(API, "Queue", name) for name in queues), priority_class_prerequisite(placement))


refuses = nothing_refused
refuses_gpu = only_gpus(*COUNTED_GPUS, "kai-fraction", "dra")
# A PodGroup has the pod's own words for why it waits; what they do not tell, it does not tell either.
watched = ()

_NOT_YET = "KAI has not given it a place yet. It gives none while its queue, or the one above that, is missing."
# What it says where it has no words, as of a queue that has no other above it.
_NO_WORDS = "Unable to schedule pod"
_NO_REASON = "KAI cannot place it and does not say why, as where its queue has no other above it."
_PREAMBLE = "Scheduling conditions were not met for pod "


def status(pod: Json, objects: Objects, missing: tuple[Prerequisite, ...]) -> QueueStatus:
    """KAI writes nothing on a pod whose queue is missing, nor on one that waits for others to end."""
    found = status_of_pod(pod, objects, missing)
    labels = (pod.get("metadata") or {}).get("labels") or {}
    if found.phase == "scheduling" and QUEUE in labels and not condition(pod, "PodScheduled"):
        bound = condition(pod, "PodBound")
        if bound.get("status") == "False":
            message, since = str(bound.get("message", "")), bound.get("lastTransitionTime")
            return replace(found, phase="queued", message=message, since=since)
        return replace(found, phase="gated", message=_NOT_YET)
    return replace(found, message=_why(found.message))


def _why(message: str) -> str:
    """KAI's own sentences on one line, without the name of the pod before them."""
    if message == _NO_WORDS:
        return _NO_REASON
    lines = [line.strip() for line in message.splitlines() if not line.startswith(_PREAMBLE)]
    return " ".join(line for line in lines if line)


# A pod says more than that it is deleted only with the scheduler's --update-pod-eviction-condition.
eviction = disruption_among_queues
deletes_unmarked = True
