"""KAI: GPU queues with quotas on two levels.

Written for KAI 0.17 (github.com/kai-scheduler/KAI-Scheduler), tested with 0.12.  KAI 0.12 ignores the
annotation GANG of a Job, and starts the pods of the Job one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from pydantic import Field

from ..api_object import condition, parse_quantity
from ..prerequisite import Prerequisite
from ..resources import KaiFraction
from ..settings import Settings
from ..shape import Json, label_value
from ..texts import gettext, gettext_noop
from .queue_room import Demand, QueueRoom, QueueUse, QuotaUse, queue_chain
from .queue_status import QueueStatus, WaitCode
from .scheduler_defaults import (
    COUNTED_GPUS,
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
    QueueKind,
    QueueManifest,
    QueueName,
    QueuePlacement,
)

KIND = "kai"
SCHEDULER_NAME = "kai-scheduler"
# Several keys of KAI have no prefix.  KAI reads `project` only from pods without its queue label, so never from ours.
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
    # KAI reads these keys as a request for a MIG slice, or as devices that it has assigned already.
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
    "kai-fraction": "these GPUs require KAI with global.gpuSharing=true. KAI does not enforce the fraction, so a "
    "program can use more of the device",
    "dra": "these GPUs require --feature-gates=DynamicResourceAllocation=true on KAI's scheduler and binder",
}


class QueueOptions(Settings):
    """The settings of a queue for KAI."""

    queue: QueueName | None = Field(
        None, title="Leaf Queue", description="Default: the name of the queue.", examples=["climate"]
    )
    parent: QueueName | None = Field(
        None,
        title="Parent Queue",
        description="KAI requires a parent of each leaf Queue. If this is set, each start checks that the parent Queue "
        "exists.",
        examples=["research"],
    )


def _options(placement: QueuePlacement) -> QueueOptions:
    assert isinstance(placement.options, QueueOptions)
    return placement.options


def _queue(placement: QueuePlacement) -> str:
    return _options(placement).queue or placement.queue


def marks(placement: Placement) -> Marks:
    """Return the labels for queue, priority, preemption and user, and the annotations for gang and GPU fraction."""
    labels = {
        QUEUE: _queue(placement),
        PRIORITY: placement.priority_class,
        # Without this label KAI preempts pods with a priority value below 100.  KAI starts a non-preemptible pod only
        # within the quota of its queue.
        PREEMPTIBILITY: "preemptible" if placement.preemptible else "non-preemptible",
        USER: label_value(placement.identity.name),
    }
    gang = {GANG: str(placement.shape.gang)} if placement.shape.gang > 1 else {}
    gpu = placement.resources.gpu
    fraction = gpu.annotations() if isinstance(gpu, KaiFraction) else {}
    # KAI's podgrouper reads the owner for some kinds of objects and the pod for others, so both get the labels.
    return Marks(
        object=Metadata(labels, gang),
        pod=Metadata(labels, fraction),
        # Without this annotation KAI gives the fraction to the first container, which may be a sidecar.
        names_main=FRACTION_CONTAINER if fraction else None,
        scheduler_name=placement.scheduler_name or SCHEDULER_NAME,
        priority_class=placement.priority_class,
    )


def prerequisites(placement: QueuePlacement) -> tuple[Prerequisite, ...]:
    """Return the leaf Queue, the parent Queue if the settings name it, and the PriorityClass."""
    parent = _options(placement).parent
    queues = [_queue(placement), parent] if parent else [_queue(placement)]
    return (*(Prerequisite(API, "Queue", name) for name in queues), priority_class_prerequisite(placement))


refuses = refuses_nothing
refuses_gpu = only_gpus(*COUNTED_GPUS, "kai-fraction", "dra")
# A PodGroup only repeats the message of its pods, so only pods are watched.
watched = ()
HOLD = None
ORDER = None
queue_kinds = (QueueKind(API, "Queue"),)
_NO_LIMIT = -1


def queue_manifest(placement: QueuePlacement, share: int | None) -> QueueManifest:
    """Return no object, because a Queue without the quotas that an administrator decides would start nothing."""
    parent = _options(placement).parent
    of = f"with parentQueue {parent}" if parent else "with a parentQueue"
    return QueueManifest(
        f"Queue {placement.queue} needs KAI's Queue {_queue(placement)}, {of}. You decide quota, limit and "
        "overQuotaWeight of its resources."
    )


def queue_rooms(objects: Objects) -> FindRoom:
    """Return a function that compares what a pod requests with the limits and quotas of its Queue and those above it.

    KAI gives the quota of a Queue to its work on request, and takes it from other Queues if need be.  It starts work
    that is not preemptible only within the quota.  Room below the limit, but above the quota, is not known to be free.
    """
    queues = {found["metadata"]["name"]: found for found in objects.by_kind.get("Queue", ())}
    return lambda placement, demand: _room(queues, _queue(placement), demand)


def _room(queues: Mapping[str, Json], name: str, demand: Demand) -> QueueRoom | None:
    chain = queue_chain(queues, name, "parentQueue")
    asked = _asked(demand)
    if len(chain) < 2 or asked is None:  # KAI requires a parent of each leaf Queue
        return None
    bounds = [_bounds(queue) for queue in chain]
    kept = [_amounts(queue, "allocatedNonPreemptible") for queue in chain]
    used = [_amounts(queue, "allocated") for queue in chain]
    wanted = [_amounts(queue, "requested") for queue in chain]

    def exceeds(which: str, already: list[dict[str, Decimal]]) -> bool:
        return any(
            0 <= bound[resource][which] < amount + sums[resource]
            for bound, sums in zip(bounds, already, strict=True)
            for resource, amount in asked.items()
        )

    nothing = [dict.fromkeys(sums, Decimal(0)) for sums in used]
    if exceeds("limit", nothing) or (not demand.preemptible and exceeds("quota", nothing)):
        return QueueRoom(False, is_too_large=True)
    if exceeds("limit", used) or (not demand.preemptible and exceeds("quota", kept)):
        return QueueRoom(False)
    scarce = ("gpu",) if "gpu" in asked else tuple(asked)
    has_quota = all(bounds[0][resource]["quota"] != _NO_LIMIT for resource in scarce)
    if has_quota and not exceeds("quota", wanted):
        return QueueRoom(True)
    return None


def queue_uses(objects: Objects) -> FindUse:
    """Return a function that compares what is allocated to a Queue with its quota, or with its limit if it has none."""
    queues = {found["metadata"]["name"]: found for found in objects.by_kind.get("Queue", ())}
    return lambda placement: _use(queues.get(_queue(placement)) or {})


def _use(queue: Json) -> QueueUse | None:
    # KAI 0.12 leaves `allocated` out while nothing is allocated (pkg/apis/scheduling/v2, QueueStatus, omitempty).
    if not queue:
        return None
    allocated, bounds = _amounts(queue, "allocated"), _bounds(queue)
    most = {name: of["limit"] if of["quota"] == _NO_LIMIT else of["quota"] for name, of in bounds.items()}
    found = (QuotaUse(name, allocated[name], most[name]) for name in bounds if most[name] != _NO_LIMIT)
    return QueueUse(tuple(one for one in found if one.quota or one.used))


def _asked(demand: Demand) -> dict[str, Decimal] | None:
    """Return CPU in cores, memory in bytes and GPUs; None if the part of a GPU is not known as a fraction."""
    gpu = demand.gpu
    devices = sum((amount for name, amount in demand.requests.items() if _is_gpu(name)), Decimal(0))
    if isinstance(gpu, KaiFraction):
        if gpu.fraction is None:
            return None
        devices = gpu.fraction * gpu.count
    elif gpu is not None and not devices:  # a device of a DeviceClass, or a MIG slice
        return None
    found = {"cpu": demand.requests.get("cpu"), "memory": demand.requests.get("memory"), "gpu": devices}
    return {name: amount for name, amount in found.items() if amount}


def _is_gpu(resource: str) -> bool:
    return resource.endswith("/gpu")


def _bounds(queue: Json) -> dict[str, dict[str, Decimal]]:
    """Return quota and limit of a Queue.  KAI writes CPU in thousandths of a core, and memory in millions of bytes."""
    resources = (queue.get("spec") or {}).get("resources") or {}
    units = {"cpu": Decimal("0.001"), "memory": Decimal(10**6), "gpu": Decimal(1)}

    def read(resource: str, which: str) -> Decimal:
        written = Decimal(str((resources.get(resource) or {}).get(which, 0)))
        return written if written == _NO_LIMIT else written * units[resource]

    return {resource: {which: read(resource, which) for which in ("quota", "limit")} for resource in units}


def _amounts(queue: Json, field: str) -> dict[str, Decimal]:
    written = {name: parse_quantity(amount) for name, amount in ((queue.get("status") or {}).get(field) or {}).items()}
    devices = sum((amount for name, amount in written.items() if _is_gpu(name)), Decimal(0))
    return {"cpu": written.get("cpu", Decimal(0)), "memory": written.get("memory", Decimal(0)), "gpu": devices}


_NOT_YET = gettext_noop(
    "KAI has not scheduled the pod yet. It schedules nothing while the queue or its parent queue does not exist."
)
# KAI writes this message if it gives no reason, for example because the queue has no parent.
_NO_WORDS = "Unable to schedule pod"
_NO_REASON = gettext_noop(
    "KAI cannot schedule the pod and gives no reason. One known cause is a queue without a parent queue."
)
_PREAMBLE = "Scheduling conditions were not met for pod "


def status(pod: Json, objects: Objects, missing: tuple[Prerequisite, ...]) -> QueueStatus:
    """Return the queue status from the conditions of the pod.

    KAI writes no condition while the queue does not exist, or while the pod waits for preempted pods to end.
    """
    found = status_of_pod(pod, objects, missing)
    labels = (pod.get("metadata") or {}).get("labels") or {}
    if found.phase == "scheduling" and QUEUE in labels and not condition(pod, "PodScheduled"):
        bound = condition(pod, "PodBound")
        if bound.get("status") == "False":
            message, since = str(bound.get("message", "")), bound.get("lastTransitionTime")
            return replace(found, phase="queued", message=message, since=since)
        return replace(found, phase="gated", code="not-considered", message=gettext(_NOT_YET))
    if found.phase != "queued" or not found.message:
        return found
    return replace(found, code=_CODES.get((told := _why(found.message)).partition(":")[0], ""), message=told)


# KAI's own words at the beginning of its messages (pkg/scheduler/api/common_info).
_CODES: dict[str, WaitCode] = {
    "OverLimit": "quota",
    "NonPreemptibleOverQuota": "quota",
    "MaxNodePoolResources": "nodes",
}


def _why(message: str) -> str:
    """Return KAI's message as one line, without its first line, which only names the pod."""
    if message == _NO_WORDS:
        return gettext(_NO_REASON)
    lines = [line.strip() for line in message.splitlines() if not line.startswith(_PREAMBLE)]
    return " ".join(line for line in lines if line)


# A preempted pod has a condition only if KAI's scheduler runs with --update-pod-eviction-condition.
eviction = disruption_among_queues
preemption_events = ()


def adds(pod: Json) -> tuple[str, ...]:
    """Return the annotations that name the PodGroup of the pod and how its GPUs are counted."""
    return ("metadata.annotations.pod-group-name", "metadata.annotations.received-resource-type")


deletes_unmarked = True
