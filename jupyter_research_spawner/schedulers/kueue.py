"""Kueue: quota and queueing before kube-scheduler.  Tested with Kueue 0.19.2."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import Field

from ..prerequisite import Prerequisite
from ..settings import Settings
from ..shape import Json
from .scheduler_interface import (
    NO_OBJECTS,
    PREEMPTED,
    SELECTED_BY_PRIORITY,
    EvictionCode,
    Hold,
    Kind,
    Marks,
    Metadata,
    Objects,
    Placement,
    QueueName,
    QueuePlacement,
    QueueStatus,
    Reason,
    condition,
    disruption,
    priority_class_prerequisite,
    refuse_gpu_beside_hami,
    refuses_nothing,
    status_of_pod,
)

KIND = "kueue"
RESERVED = ("kueue.x-k8s.io/",)
API = "kueue.x-k8s.io/v1beta2"

QUEUE = "kueue.x-k8s.io/queue-name"
PRIORITY = "kueue.x-k8s.io/priority-class"
MAX_SECONDS = "kueue.x-k8s.io/max-exec-time-seconds"
# With this annotation Kueue starts a Job with fewer pods if there is not enough quota for all (partial admission).
MIN_PARALLELISM = "kueue.x-k8s.io/job-min-parallelism"
# Kueue's limit must be later than the pod's activeDeadlineSeconds: Kueue deletes the pod without giving a reason.
SLACK_SECONDS = 300

GPU_ADVICE: Mapping[str, str] = {
    "dra": "Kueue counts these GPUs only if its configuration maps the device class to a quota resource "
    "(resources.deviceClassMappings)",
}


class QueueOptions(Settings):
    """The settings of a queue for Kueue."""

    local_queue: QueueName | None = Field(
        None, title="LocalQueue", description="Default: the name of the queue.", examples=["climate"]
    )


def _local_queue(placement: QueuePlacement) -> str:
    assert isinstance(placement.options, QueueOptions)
    return placement.options.local_queue or placement.queue


def marks(placement: Placement) -> Marks:
    """Return the labels for queue, priority and the maximum time of a notebook, and the priority class."""
    # No nodeSelector: Kueue adds the node labels of the flavor when it admits the pod.
    labels = {QUEUE: _local_queue(placement), PRIORITY: placement.priority_class}
    if placement.is_notebook:  # Kueue never resumes a Job that has this label
        labels[MAX_SECONDS] = str(placement.hard_seconds + SLACK_SECONDS)
    shape = placement.shape
    annotations = {MIN_PARALLELISM: str(shape.gang)} if shape.replicas > shape.gang else {}
    # If there is quota but no node has room, kube-scheduler preempts too.  It needs the PriorityClass to choose the
    # same pods as Kueue.
    return Marks(
        object=Metadata(labels, annotations),
        scheduler_name=placement.scheduler_name,
        priority_class=placement.priority_class,
    )


def prerequisites(placement: QueuePlacement) -> tuple[Prerequisite, ...]:
    """Return the LocalQueue, the WorkloadPriorityClass and the PriorityClass.

    Without its WorkloadPriorityClass a pod stays gated, without an event or a condition.
    """
    return (
        Prerequisite(API, "LocalQueue", _local_queue(placement), placement.namespace),
        Prerequisite(API, "WorkloadPriorityClass", placement.priority_class, selected_by=SELECTED_BY_PRIORITY),
        priority_class_prerequisite(placement),
    )


refuses = refuses_nothing
refuses_gpu = refuse_gpu_beside_hami
preemption_events = ()
deletes_unmarked = False
WORKLOAD = Kind(API, "Workload")
watched = (WORKLOAD,)
# Kueue itself suspends and resumes jobs.  It resumes no job whose Workload is deactivated.
HOLD = Hold(WORKLOAD, {"spec": {"active": False}})


def status(pod: Json, objects: Objects, missing: tuple[Prerequisite, ...]) -> QueueStatus:
    """Return the queue status from the conditions of the Workload.

    A gated pod and a suspended Job do not say why they wait.
    """
    workload = objects.one("Workload")
    reserved = condition(workload, "QuotaReserved")
    if missing or condition(workload, "Admitted").get("status") == "True":
        return status_of_pod(pod, objects, missing)
    since = reserved.get("lastTransitionTime")
    if not reserved and _is_gated(pod):
        return QueueStatus("gated", "Kueue has not added the pod to its queue yet.", source="pod")
    if not reserved:
        return status_of_pod(pod, objects, missing)
    if (workload.get("spec") or {}).get("active") is False:
        return QueueStatus("refused", _deactivated(workload), source="Workload", since=since)
    if reserved.get("status") == "True":
        return QueueStatus(
            "queued",
            "Kueue has reserved its quota, but Kueue's admission checks have not finished.",
            None,
            source="Workload",
        )
    if reserved.get("reason") == "Inadmissible":
        return QueueStatus("refused", f"{reserved['message']}.", source="Workload", since=since)
    if condition(workload, "Requeued").get("status") == "False":
        again = (workload["status"].get("requeueState") or {}).get("requeueAt")
        told = f"at {again}" if again else "later"
        return QueueStatus("queued", f"Kueue requeues it {told}.", source="Workload", since=since)
    return _waiting(str(reserved.get("message", "")), since)


_ADDED = (
    *(
        f"metadata.labels.kueue.x-k8s.io/{key}"
        for key in ("managed", "podset", "cluster-queue-name", "local-queue-name")
    ),
    *(f"metadata.annotations.kueue.x-k8s.io/{key}" for key in ("role-hash", "workload")),
    "metadata.finalizers[kueue.x-k8s.io/managed]",
    "spec.schedulingGates[kueue.x-k8s.io/admission]*",
    "spec.schedulingGates[kueue.x-k8s.io/topology]*",
)


def adds(pod: Json) -> tuple[str, ...]:
    """Return Kueue's labels, annotations, finalizer and gates and, after admission, the fields that its flavor sets."""
    return _ADDED if _is_gated(pod) else (*_ADDED, "spec.nodeSelector.*", "spec.tolerations[*")


def _is_gated(pod: Json) -> bool:
    gates = (pod.get("spec") or {}).get("schedulingGates") or []
    return any(str(gate.get("name")).startswith(RESERVED) for gate in gates)


_SHORT = re.compile(r"insufficient unused quota for (\S+) in flavor \S+, (\S+) more needed")
_VICTIMS = re.compile(r"Pending the preemption of (\d+) workload")
_TOO_MUCH = re.compile(
    r"insufficient quota for (\S+) in flavor \S+, .*current podset request \((\S+)\) > maximum capacity \((\S+)\)"
)
_NO_QUOTA = re.compile(r"resource (\S+) unavailable in ClusterQueue")


def _waiting(message: str, since: str | None) -> QueueStatus:
    """Return a queue status that explains Kueue's message about quota. An unknown message is kept unchanged."""
    if never := _TOO_MUCH.search(message):
        resource, asked, whole = never.groups()
        told = f"It requests {asked} of {resource}, but its queue has only {whole} in total. It cannot start."
        return QueueStatus("unschedulable", told, resource, source="Workload", since=since)
    if never := _NO_QUOTA.search(message):
        told = f"Its queue has no quota for {never[1]}, so it cannot start."
        return QueueStatus("unschedulable", told, never[1], source="Workload", since=since)
    short = _SHORT.search(message)
    if victims := _VICTIMS.search(message):
        told = f"It waits until the work that it preempts has ended (workloads: {victims[1]})."
    elif short:
        told = f"Its queue is full: {short[2]} more of {short[1]} must become free."
    else:
        told = f"{message[:1].upper()}{message[1:]}"
    return QueueStatus("queued", told, short[1] if short else None, source="Workload", since=since)


def _deactivated(workload: Json) -> str:
    """Return a message about a Workload that an administrator or a limit of Kueue has deactivated."""
    why = str(condition(workload, "Evicted").get("message") or "the workload is deactivated").rstrip(".")
    return f"Kueue deactivated its Workload ({why}). It cannot start unless an administrator activates the Workload."


def eviction(pod: Json, objects: Objects = NO_OBJECTS) -> Reason | None:
    """Return why Kueue evicted the pod.

    On the pod of a notebook Kueue sets the condition TerminationTarget, not DisruptionTarget.  On the pod of a Job it
    sets no condition.  Only the Workload shows that eviction, until Kueue admits the Workload again.
    """
    found = condition(pod, "TerminationTarget")
    if found.get("status") == "True":
        return _evicted(str(found.get("reason", "")).removeprefix(_BY_KUEUE), str(found.get("message", "")))
    found = condition(objects.one("Workload"), "Evicted")
    if found.get("status") == "True" and (pod.get("metadata") or {}).get("deletionTimestamp"):
        return _evicted(str(found.get("reason", "")), str(found.get("message", "")))
    return disruption(pod)


_BY_KUEUE = "WorkloadEvictedDueTo"


def _evicted(reason: str, message: str) -> Reason:
    if reason == "Preempted":
        return Reason(PREEMPTED, "preempted")
    if "MaximumExecutionTimeExceeded" in reason:
        return Reason("Ended by its hard wall time.", "wall-time")
    if reason == "PodsReadyTimeout":
        return Reason(
            "It was not ready within Kueue's waitForPodsReady timeout, for example because pulling its image was slow.",
            "not-ready",
        )
    code: EvictionCode = "node-lost" if reason == "NodeFailures" else "evicted"
    return Reason(f"Evicted by Kueue ({reason}): {message.rstrip('.')}.", code)
