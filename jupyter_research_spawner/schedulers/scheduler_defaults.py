"""Default implementations that a scheduler module can assign, and functions with which it can write its own.

They read and describe what kube-scheduler, the Job controller and the kubelet write into pods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..api_object import condition
from ..prerequisite import Prerequisite
from ..refusal import Refusal
from ..resources import Gpu
from ..shape import Json
from ..texts import gettext, gettext_noop
from .node_messages import with_nodes
from .queue_status import QueueStatus
from .scheduler_interface import (
    NO_OBJECTS,
    SELECTED_BY_PRIORITY,
    EvictionCode,
    FindRoom,
    FindUse,
    Objects,
    Placement,
    PreemptionEvent,
    QueueManifest,
    QueuePlacement,
    Reason,
)

PREEMPTED = gettext_noop("Preempted: work of a higher priority needed its place.")
# For schedulers that preempt both for priority and for fair share, and report both in the same way.
PREEMPTED_AMONG_QUEUES = gettext_noop(
    "Preempted: work of a higher priority, or of a queue below its share, needed its place."
)
_MISSING = gettext_noop("%(names)s does not exist in the cluster.")
# kube-scheduler also preempts pods of other schedulers, so this event counts under every scheduler.
PREEMPTED_BY_KUBE_SCHEDULER = PreemptionEvent("Preempted", PREEMPTED)


def status_of_pod(pod: Json, objects: Objects, missing: tuple[Prerequisite, ...]) -> QueueStatus:
    """Return the queue status from the condition PodScheduled, or `refused` if a prerequisite is missing."""
    if missing:
        return QueueStatus("refused", "missing", gettext(_MISSING, names=", ".join(map(str, missing))))
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "True":
        return QueueStatus("running")
    message, since = str(scheduled.get("message", "")), scheduled.get("lastTransitionTime")
    if scheduled.get("reason") == "SchedulingGated":
        return QueueStatus("gated", "not-considered", message, source="pod", since=since)
    if scheduled.get("reason") == "Unschedulable":
        return with_nodes(QueueStatus("queued", source="pod", since=since), message)
    return QueueStatus("scheduling", message=message, source="pod", since=since)


# The batch service adds this condition to a deleted pod of a job if its scheduler `deletes_unmarked`.
DELETED: Mapping[str, str] = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "DeletedBeforeItsEnd",
    "message": gettext_noop("Evicted by the cluster before it ended."),
}
# The reasons of the condition DisruptionTarget (k8s.io/api core/v1, PodCondition; Kubernetes, Disruptions).
_DISRUPTIONS = {
    "PreemptionByScheduler": Reason(PREEMPTED, "preempted"),
    DELETED["reason"]: Reason(DELETED["message"]),
    "DeletionByTaintManager": Reason(
        gettext_noop("Its node was lost, or an administrator took it out of service (DeletionByTaintManager)."),
        "node-lost",
    ),
    "DeletionByPodGC": Reason(
        gettext_noop("Its node was lost: it no longer exists or is out of service (DeletionByPodGC)."), "node-lost"
    ),
    "EvictionByEvictionAPI": Reason(
        gettext_noop(
            "Evicted through the eviction API, for example because its node was drained (EvictionByEvictionAPI)."
        ),
        "drained",
    ),
}
# What a kubelet that ends a pod writes as the reason into the pod's status (pkg/kubelet: nodeshutdown, preemption).
_BY_KUBELET: Mapping[str, EvictionCode] = {
    "NodeShutdown": "node-lost",
    "Preempting": "preempted",
    "Shutdown": "node-lost",
    "Terminated": "node-lost",
}


def disruption(pod: Json, objects: Objects = NO_OBJECTS) -> Reason | None:
    """Return the reason that the pod condition DisruptionTarget gives (KEP-3329)."""
    found = condition(pod, "DisruptionTarget")
    if found.get("status") != "True":
        return None
    reason = str(found.get("reason"))
    if reason in _DISRUPTIONS:
        return _DISRUPTIONS[reason]
    code = _BY_KUBELET.get(str((pod.get("status") or {}).get("reason")), "evicted")
    return Reason(f"Evicted by the cluster ({reason}): {found.get('message', '')}".rstrip(": "), code)


def disruption_among_queues(pod: Json, objects: Objects = NO_OBJECTS) -> Reason | None:
    """Return the reason as `disruption` does, for schedulers that preempt for priority and for fair share.

    These schedulers set the same condition in both cases, so the message names both.
    """
    found = disruption(pod)
    if found is None or not found.preempted:
        return found
    return replace(found, message=PREEMPTED_AMONG_QUEUES)


def refuse_gang(placement: Placement, scheduler: str, way_out: str) -> Refusal | None:
    """Refuse pods that must start together, for a scheduler that cannot start several pods together.

    Otherwise some pods could hold resources while they wait for the others, which might never start.
    """
    if placement.shape.gang == 1:
        return None
    return Refusal(
        "gang-unsupported",
        f"{placement.shape.gang} pods must start together, but {scheduler} starts each pod on its own.",
        field="kind",
        hint=way_out,
    )


# GPUs of these kinds are extended resources, which every scheduler counts.
COUNTED_GPUS = ("whole", "mig", "shared")


def only_gpus(*kinds: str) -> Callable[[Gpu, str | None], str | None]:
    """Return a `refuses_gpu` for a scheduler that provides only GPUs of these kinds."""

    def refuses_gpu(gpu: Gpu, scheduler_name: str | None) -> str | None:
        return None if gpu.kind in kinds else "this scheduler does not support such GPUs"

    return refuses_gpu


def refuse_gpu_beside_hami(gpu: Gpu, scheduler_name: str | None) -> str | None:
    """Refuse GPUs that kube-scheduler does not provide.  kube-scheduler provides `hami` only with HAMi's extender."""
    if gpu.kind == "hami" and scheduler_name is None:
        return "only HAMi's scheduler provides such GPUs. Set scheduler.name to the name of HAMi's scheduler"
    return only_gpus(*COUNTED_GPUS, "dra", "hami")(gpu, scheduler_name)


NO_GPU_ADVICE: Mapping[str, str] = {}


def no_queue_manifest(placement: QueuePlacement, share: int | None) -> QueueManifest | None:
    """Return None, for a scheduler without queues."""
    return None


def no_queue_rooms(objects: Objects) -> FindRoom:
    """Return a function that knows nothing, for a scheduler whose objects do not say what is free."""
    return lambda placement, demand: None


def no_queue_uses(objects: Objects) -> FindUse:
    """Return a function that knows nothing, for a scheduler whose objects have no quotas."""
    return lambda placement: None


def adds_nothing(pod: Json) -> tuple[str, ...]:
    """Return no paths, for a scheduler that only sets a pod's node, as kube-scheduler does."""
    return ()


def refuses_nothing(placement: Placement) -> Refusal | None:
    """Accept every placement."""
    return None


def priority_class_prerequisite(placement: QueuePlacement) -> Prerequisite:
    """Return the PriorityClass of the pods as a prerequisite."""
    return Prerequisite(
        "scheduling.k8s.io/v1", "PriorityClass", placement.priority_class, selected_by=SELECTED_BY_PRIORITY
    )


def only_priority_class(placement: QueuePlacement) -> tuple[Prerequisite, ...]:
    """Return the PriorityClass as the only prerequisite, for a scheduler whose queues are not cluster objects.

    Without the PriorityClass the API server rejects the pod, with an error that does not mention the settings.
    """
    return (priority_class_prerequisite(placement),)
