"""What every scheduler module speaks in: a Placement goes in, plain data comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Annotated, Any, Literal, Protocol

from pydantic import StringConstraints

from ..identity import PosixIdentity
from ..prerequisite import Prerequisite
from ..refusal import Refusal
from ..resources import Gpu, Resources
from ..settings import Settings
from ..shape import NOTEBOOK_KIND, Json, Shape

# A Kubernetes object that labels name: a DNS subdomain (RFC 1123) that fits into a label value.
QueueName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$", strict=True)]


@dataclass(frozen=True)
class QueuePlacement:
    """A queue of the site, and the priority of the pods that wait in it: what a scheduler's prerequisites depend on.

    `queue` is the site's name of the queue; `options` are this scheduler's settings for it.  `priority_class` is the
    name of both the PriorityClass and Kueue's WorkloadPriorityClass.
    """

    queue: str
    options: Settings
    priority_class: str
    namespace: str


@dataclass(frozen=True)
class Placement(QueuePlacement):
    """Everything that a scheduler module may know of one notebook or job.

    `scheduler_name` is `scheduler.name` of the settings; `priority_value` is the value of the priority class.
    """

    identity: PosixIdentity
    scheduler_name: str | None
    priority_value: int
    preemptible: bool
    wall_time_hard: timedelta
    resources: Resources
    shape: Shape
    run_id: str

    @property
    def is_notebook(self) -> bool:
        return self.shape.kind == NOTEBOOK_KIND

    @property
    def hard_seconds(self) -> int:
        """The hard wall time in seconds."""
        return int(self.wall_time_hard.total_seconds())


@dataclass(frozen=True)
class Metadata:
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Marks:
    """What makes pods belong to a queue: on the object that is created, and on each pod template in it.

    A notebook is its own object, so both land on the pod.  None for `scheduler_name` or `priority_class` means that
    the pod has none, whatever a base manifest or a chart wrote.  `names_main` is an annotation of each pod that tells
    the scheduler which container is the main one.
    """

    object: Metadata = Metadata()
    pod: Metadata = Metadata()
    names_main: str | None = None
    scheduler_name: str | None = None
    priority_class: str | None = None


@dataclass(frozen=True)
class Reason:
    """Why a pod was taken away: a sentence, and whether somebody else took its place."""

    message: str
    preempted: bool = False


QueuePhase = Literal["gated", "queued", "scheduling", "unschedulable", "refused", "running"]


@dataclass(frozen=True)
class QueueStatus:
    """Why a pod waits, in the scheduler's own terms.  `position` counts from 1 within `position_scope`."""

    phase: QueuePhase
    message: str = ""
    resource: str | None = None
    position: int | None = None
    position_scope: str | None = None
    source: str = ""
    since: str | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of objects that a scheduler makes beside pods and jobs, in their namespace, and that they own."""

    api_version: str
    kind: str

    @property
    def resource(self) -> str:
        """The kind as URLs and roles spell it."""
        return Prerequisite(self.api_version, self.kind, "").resource

    @property
    def group(self) -> str:
        return Prerequisite(self.api_version, self.kind, "").group


@dataclass(frozen=True)
class Objects:
    """The objects of a scheduler's `watched` kinds that a pod, or its job, owns: each with its metadata, the plain
    values of its spec, and its status."""

    by_kind: Mapping[str, Sequence[Json]] = field(default_factory=dict)

    def one(self, kind: str) -> Json:
        """The newest of that kind, {} when there is none."""
        found = self.by_kind.get(kind) or ({},)
        return max(found, key=lambda obj: str((obj.get("metadata") or {}).get("creationTimestamp", "")))


NO_OBJECTS = Objects()


class Scheduler(Protocol):
    """One module per scheduler.  Nobody else branches on its name.

    Whatever else depends on the scheduler (gang objects, queue objects and policy rules of a site, patches of
    irregular job kinds) becomes a function here, when the first room asks for it.
    """

    @property
    def KIND(self) -> str:
        """As in the settings: `scheduler: {kind: ...}`."""

    @property
    def RESERVED(self) -> tuple[str, ...]:
        """Keys of labels and annotations that are this scheduler's: whole keys, or prefixes that end in `/` or `-`."""

    @property
    def QueueOptions(self) -> type[Settings]:
        """What a queue may say to this scheduler, in `queues.<name>.<KIND>`."""

    @property
    def GPU_ADVICE(self) -> Mapping[str, str]:
        """By kind of GPU: what has to be switched on outside a site's settings, or is easily taken for granted."""

    @property
    def refuses_gpu(self) -> Callable[[Gpu, str | None], str | None]:
        """Why this scheduler, called by that schedulerName, gives no such GPU; None if it does.  Of settings alone."""

    @property
    def marks(self) -> Callable[[Placement], Marks]: ...

    @property
    def refuses(self) -> Callable[[Placement], Refusal | None]:
        """Why this scheduler cannot take it, or None."""

    @property
    def prerequisites(self) -> Callable[[QueuePlacement], tuple[Prerequisite, ...]]:
        """The cluster objects that must exist, or a pod in this queue waits and no event says why."""

    @property
    def watched(self) -> tuple[Kind, ...]:
        """The kinds that `status` and `eviction` look at besides the pod."""

    @property
    def status(self) -> Callable[[Json, Objects, tuple[Prerequisite, ...]], QueueStatus]:
        """Where a pod stands; {} for that of a job which has none yet."""

    @property
    def eviction(self) -> Callable[[Json, Objects], Reason | None]:
        """Why this pod was taken away, None if it was not."""

    @property
    def deletes_unmarked(self) -> bool:
        """It deletes what it preempts, with no DisruptionTarget on it, and what it deletes it has preempted.

        A Job takes such a pod for its own failure; so the batch service writes the condition DELETED on it.
        """


def condition(obj: Mapping[str, Any], kind: str) -> Json:
    """The condition of that type of a pod or another object, {} when it has none."""
    for found in (obj.get("status") or {}).get("conditions") or []:
        if found.get("type") == kind:
            return dict(found)
    return {}


def status_of_pod(pod: Json, objects: Objects, missing: tuple[Prerequisite, ...]) -> QueueStatus:
    """What the pod itself tells: kube-scheduler's PodScheduled condition, and what does not exist."""
    if missing:
        return QueueStatus("refused", f"{', '.join(map(str, missing))} does not exist in the cluster.")
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "True":
        return QueueStatus("running")
    message, since = str(scheduled.get("message", "")), scheduled.get("lastTransitionTime")
    if scheduled.get("reason") == "SchedulingGated":
        return QueueStatus("gated", message, source="pod", since=since)
    if scheduled.get("reason") == "Unschedulable":
        return QueueStatus("queued", message, source="pod", since=since)
    return QueueStatus("scheduling", message, source="pod", since=since)


# On pods of jobs whose scheduler `deletes_unmarked`: whoever else deletes one leaves no more on it.
DELETED: Mapping[str, str] = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "DeletedBeforeItsEnd",
    "message": "Taken away by the cluster before it ended.",
}


def disruption(pod: Json, objects: Objects = NO_OBJECTS) -> Reason | None:
    """Kubernetes' own word for it (pod condition DisruptionTarget, KEP-3329)."""
    found = condition(pod, "DisruptionTarget")
    if found.get("status") != "True":
        return None
    if found.get("reason") == DELETED["reason"]:
        return Reason(DELETED["message"])
    if found.get("reason") == "PreemptionByScheduler":
        return Reason("Preempted: work of a higher priority needed its place.", preempted=True)
    return Reason(f"Taken away by the cluster ({found.get('reason')}): {found.get('message', '')}".rstrip(": "))


def disruption_among_queues(pod: Json, objects: Objects = NO_OBJECTS) -> Reason | None:
    """For schedulers whose DisruptionTarget is the same for a higher priority and for a queue below its share."""
    found = disruption(pod)
    if found is None or not found.preempted:
        return found
    return replace(
        found, message="Preempted: work of a higher priority, or of a queue below its share, needed its place."
    )


def refuse_gang(placement: Placement, scheduler: str, way_out: str) -> Refusal | None:
    """For schedulers that start pods one by one: half of a gang could wait for ever for the other half."""
    if placement.shape.gang == 1:
        return None
    return Refusal(
        "gang-unsupported",
        f"{placement.shape.gang} pods have to start together, but {scheduler} starts each on its own.",
        field="kind",
        hint=way_out,
    )


# What any scheduler counts without knowing what it is.
COUNTED_GPUS = ("whole", "mig", "shared")


def only_gpus(*kinds: str) -> Callable[[Gpu, str | None], str | None]:
    """For schedulers that give GPUs of these kinds, whatever they are called."""

    def refuses_gpu(gpu: Gpu, scheduler_name: str | None) -> str | None:
        return None if gpu.kind in kinds else "this scheduler knows no such GPUs"

    return refuses_gpu


def refuse_gpu_beside_hami(gpu: Gpu, scheduler_name: str | None) -> str | None:
    """For kube-scheduler, of which HAMi's scheduler is one with an extender."""
    if gpu.kind == "hami" and scheduler_name is None:
        return "only HAMi's own scheduler gives such GPUs. Say what it is called here: scheduler.name: hami-scheduler"
    return only_gpus(*COUNTED_GPUS, "dra", "hami")(gpu, scheduler_name)


def nothing_refused(placement: Placement) -> Refusal | None:
    return None


def priority_class_prerequisite(placement: QueuePlacement) -> Prerequisite:
    return Prerequisite("scheduling.k8s.io/v1", "PriorityClass", placement.priority_class)
