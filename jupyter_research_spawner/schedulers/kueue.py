"""Kueue: quota and queueing before kube-scheduler.  Tested with Kueue 0.19.2."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from pydantic import Field

from ..api_object import condition, parse_quantity
from ..prerequisite import Prerequisite
from ..settings import Settings
from ..shape import Json
from ..texts import gettext, gettext_noop
from .kueue_quota import Quotas
from .queue_status import Limit, Place, QueueStatus, Shortage
from .scheduler_defaults import (
    PREEMPTED,
    disruption,
    priority_class_prerequisite,
    refuse_gpu_beside_hami,
    refuses_nothing,
    status_of_pod,
)
from .scheduler_interface import (
    NO_OBJECTS,
    SELECTED_BY_PRIORITY,
    EvictionCode,
    FindRoom,
    FindUse,
    Hold,
    Kind,
    Marks,
    Metadata,
    Objects,
    OrderApi,
    Placement,
    QueueKind,
    QueueManifest,
    QueueName,
    QueuePlacement,
    Reason,
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
    cluster_queue: QueueName | None = Field(
        None,
        title="ClusterQueue of the LocalQueue",
        description="If it is set, `research-spawner manifests` prints the LocalQueue. You create the ClusterQueue, "
        "with its quotas.",
        examples=["research"],
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
VISIBILITY = "visibility.kueue.x-k8s.io"
_PENDING = "PendingWorkload"


def _order_path(namespace: str, objects: Objects) -> str:
    """Return the path of Kueue's visibility API (KEP-168) for the LocalQueue in which the Workload waits.

    Kueue lists a thousand Workloads.  Behind them, no place is shown.
    """
    workload = objects.one("Workload")
    queue = (workload.get("spec") or {}).get("queueName")
    if not queue or condition(workload, "QuotaReserved").get("status") == "True":
        return ""
    return f"/apis/{VISIBILITY}/v1beta2/namespaces/{namespace}/localqueues/{queue}/pendingworkloads"


ORDER = OrderApi(VISIBILITY, "localqueues/pendingworkloads", _PENDING, _order_path)
queue_kinds = (
    QueueKind(API, "LocalQueue", namespaced=True),
    *(QueueKind(API, kind) for kind in ("ClusterQueue", "Cohort", "ResourceFlavor")),
)


def queue_manifest(placement: QueuePlacement, share: int | None) -> QueueManifest:
    """Return the LocalQueue, if the settings name its ClusterQueue."""
    assert isinstance(placement.options, QueueOptions)
    name, cluster_queue = _local_queue(placement), placement.options.cluster_queue
    if cluster_queue is None:
        return QueueManifest(
            f"Queue {placement.queue} needs LocalQueue {name} in namespace {placement.namespace}. It is printed here "
            f"if queues.{placement.queue}.kueue.cluster_queue names its ClusterQueue."
        )
    local_queue = {
        "apiVersion": API,
        "kind": "LocalQueue",
        "metadata": {"name": name, "namespace": placement.namespace},
        "spec": {"clusterQueue": cluster_queue},
    }
    return QueueManifest(f"You create ClusterQueue {cluster_queue} and decide its quotas.", local_queue)


def queue_rooms(objects: Objects) -> FindRoom:
    """Return a function that compares what a pod requests with the free quota of its LocalQueue."""
    quotas = Quotas.of(objects)
    # Kueue counts devices of DeviceClasses under names that only its configuration has.
    return lambda placement, demand: (
        None if demand.gpu is not None and demand.gpu.claims() else quotas.room(_local_queue(placement), demand)
    )


def queue_uses(objects: Objects) -> FindUse:
    """Return a function that finds the reserved quota of the ClusterQueue of a LocalQueue."""
    quotas = Quotas.of(objects)
    return lambda placement: quotas.use(_local_queue(placement))


def _place(objects: Objects) -> Place | None:
    """Return the place of the Workload.  Kueue counts from 0, and lists also work that it cannot admit now."""
    name = (objects.one("Workload").get("metadata") or {}).get("name")
    listed = objects.by_kind.get(_PENDING, ())
    for found in listed:
        if (found.get("metadata") or {}).get("name") == name:
            position, overall = found.get("positionInLocalQueue"), found.get("positionInClusterQueue")
            if isinstance(position, int):
                return Place(position + 1, len(listed), overall + 1 if isinstance(overall, int) else 0)
    return None


def status(pod: Json, objects: Objects, missing: tuple[Prerequisite, ...]) -> QueueStatus:
    """Return the queue status from the conditions of the Workload.

    A gated pod and a suspended Job do not say why they wait.
    """
    workload = objects.one("Workload")
    reserved = condition(workload, "QuotaReserved")
    if missing or condition(workload, "Admitted").get("status") == "True":
        return status_of_pod(pod, objects, missing)
    if not workload and _is_gated(pod):
        return QueueStatus("gated", "not-considered", gettext(_NOT_ADDED), source="pod")
    if not workload:
        return status_of_pod(pod, objects, missing)
    told = QueueStatus("queued", source="Workload", since=_waits_since(workload, reserved), place=_place(objects))
    if (workload.get("spec") or {}).get("active") is False:
        return replace(told, phase="refused", code="deactivated", message=_deactivated(workload))
    if not reserved:
        # Kueue has not tried it yet. It skips work that is equal to work for which it has found no quota.
        return replace(told, code="turn")
    if reserved.get("status") == "True":
        return replace(told, code="admission-checks", message=gettext(_CHECKS))
    if reserved.get("reason") == "Inadmissible":
        return replace(told, phase="refused", code="no-queue", message=f"{reserved['message']}.")
    if condition(workload, "Requeued").get("status") == "False":
        again = (workload["status"].get("requeueState") or {}).get("requeueAt")
        return replace(told, code="requeued", resumes_at=again)
    return _waiting(told, str(reserved.get("message", "")))


def _waits_since(workload: Json, reserved: Json) -> str | None:
    return reserved.get("lastTransitionTime") or (workload.get("metadata") or {}).get("creationTimestamp")


_NOT_ADDED = gettext_noop("Kueue has not added the pod to its queue yet.")
_CHECKS = gettext_noop("Its quota is reserved. It starts when Kueue's admission checks have finished.")
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


_SHORT = re.compile(r"insufficient unused quota for (\S+) in flavor (\S+), (\S+) more needed")
_VICTIMS = re.compile(r"Pending the preemption of (\d+) workload")
_TOO_MUCH = re.compile(
    r"insufficient quota for (\S+) in flavor (\S+), .*?current podset request \((\S+)\) > maximum capacity \((\S+)\)"
)
_NO_QUOTA = re.compile(r"resource (\S+) unavailable in ClusterQueue")


def _waiting(told: QueueStatus, message: str) -> QueueStatus:
    """Return the status with the facts of Kueue's message about quota, or with the message if it has another form."""
    missing = tuple(Shortage(resource, more, flavor) for resource, flavor, more in _SHORT.findall(message))
    if victims := _VICTIMS.search(message):
        return replace(told, code="preempting", preempts=int(victims[1]), missing=missing)
    if missing:
        return replace(told, code="quota", missing=missing)
    if found := _TOO_MUCH.findall(message):
        # Of several flavors, the one with the most quota counts.
        most = {
            resource: max(parse_quantity(most) for other, _, _, most in found if other == resource)
            for resource, *_ in found
        }
        limits = tuple(
            {
                resource: Limit(resource, asked, most_of)
                for resource, _, asked, most_of in found
                if parse_quantity(most_of) == most[resource]
            }.values()
        )
        return replace(told, phase="unschedulable", code="too-large", limits=limits)
    if never := _NO_QUOTA.search(message):
        return replace(told, phase="unschedulable", code="no-quota", limits=(Limit(never[1], "", ""),))
    return replace(told, message=f"{message[:1].upper()}{message[1:]}")


def _deactivated(workload: Json) -> str:
    """Return a message about a Workload that an administrator or a limit of Kueue has deactivated."""
    why = str(condition(workload, "Evicted").get("message") or "the workload is deactivated").rstrip(".")
    return gettext(
        "Kueue deactivated its Workload (%(reason)s). It cannot start unless an administrator activates the Workload.",
        reason=why,
    )


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
        return Reason(gettext_noop("Ended by its hard wall time."), "wall-time")
    if reason == "PodsReadyTimeout":
        return Reason(
            gettext_noop(
                "It was not ready within Kueue's waitForPodsReady timeout, for example because pulling its image was "
                "slow."
            ),
            "not-ready",
        )
    code: EvictionCode = "node-lost" if reason == "NodeFailures" else "evicted"
    return Reason(f"Evicted by Kueue ({reason}): {message.rstrip('.')}.", code)
