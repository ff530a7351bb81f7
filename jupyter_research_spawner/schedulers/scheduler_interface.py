"""The interface of a scheduler module, and its data types.

The functions of a scheduler module are pure.  They turn a Placement or a pod into plain data, without I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Literal, Protocol

from pydantic import StringConstraints

from ..identity import PosixIdentity
from ..prerequisite import Prerequisite
from ..refusal import Refusal
from ..resources import Gpu, Resources
from ..settings import Settings
from ..shape import NOTEBOOK_KIND, Json, Shape
from .queue_room import Demand, QueueRoom, QueueUse
from .queue_status import QueueStatus

# `selected_by` of prerequisites that the user selects with the priority: `research-spawner manifests` prints them.
SELECTED_BY_PRIORITY = "priority"
# The name of a queue object: a DNS subdomain (RFC 1123) that is also a valid label value.
QueueName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$", strict=True)]


@dataclass(frozen=True)
class QueuePlacement:
    """A queue of the site and the priority class of its pods, from which a scheduler derives its prerequisites.

    `queue` is the name of the queue in the settings; `options` are the settings of the queue for this scheduler.
    `priority_class` is the name of both the PriorityClass and Kueue's WorkloadPriorityClass.
    """

    queue: str
    options: Settings
    priority_class: str
    namespace: str


@dataclass(frozen=True)
class Placement(QueuePlacement):
    """The properties of one notebook or job that a scheduler module can use.

    `scheduler_name` is `scheduler.name` in the settings; `priority_value` is the value of the priority class.
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
        """Return the hard wall time in seconds."""
        return int(self.wall_time_hard.total_seconds())


@dataclass(frozen=True)
class Metadata:
    """Labels and annotations that are added to an object."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Marks:
    """The labels, annotations and fields with which a scheduler puts the pods of a manifest into a queue.

    `object` is added to the created object itself, for a scheduler that reads a job's metadata.  `pod` is added to each
    pod template of that object.  A notebook is a single pod without a template, so its pod gets both.
    `scheduler_name` and `priority_class` replace the values of a base manifest or a chart; None removes them.
    `names_main` is the key of a pod annotation whose value is the name of the main container.
    """

    object: Metadata = Metadata()
    pod: Metadata = Metadata()
    names_main: str | None = None
    scheduler_name: str | None = None
    priority_class: str | None = None


EvictionCode = Literal["preempted", "evicted", "drained", "node-lost", "not-ready", "wall-time"]


@dataclass(frozen=True)
class Reason:
    """The reason of an eviction: a message for the user, and a code.

    preempted: other work needed the place.  drained: the eviction API was called, for example to drain the node.
    node-lost: the node does not answer, was shut down or no longer exists.  not-ready: the pod was not ready in the
    scheduler's time limit.  wall-time: the scheduler ended the pod at its hard wall time.  evicted: any other reason.
    """

    message: str
    code: EvictionCode = "evicted"

    @property
    def preempted(self) -> bool:
        return self.code == "preempted"


@dataclass(frozen=True)
class PreemptionEvent:
    """An event that a scheduler creates for a pod when it preempts the pod.

    `reason` is the event's reason, and its message starts with `starts_with`.  `message` is the message for the user.
    """

    reason: str
    message: str
    starts_with: str = ""

    def matches(self, event: Json) -> bool:
        """Return whether this event reports a preemption."""
        return event.get("reason") == self.reason and str(event.get("message", "")).startswith(self.starts_with)


@dataclass(frozen=True)
class Kind:
    """A kind of object that a scheduler creates for a pod or job.

    The object is in the namespace of the pod or job, which owns it.
    """

    api_version: str
    kind: str

    @property
    def resource(self) -> str:
        """Return the resource name in URLs and roles: the plural of the kind, in lower case."""
        return Prerequisite(self.api_version, self.kind, "").resource

    @property
    def group(self) -> str:
        """Return the API group."""
        return Prerequisite(self.api_version, self.kind, "").group


@dataclass(frozen=True)
class QueueKind(Kind):
    """A kind of object that says how much room the scheduler's queues have.  An administrator creates these objects."""

    namespaced: bool = False


@dataclass(frozen=True)
class Objects:
    """The objects of a scheduler's `watched` kinds that a pod or its job owns.

    Each object has its metadata, the scalar fields of its spec, and its status.
    """

    by_kind: Mapping[str, Sequence[Json]] = field(default_factory=dict)

    def one(self, kind: str) -> Json:
        """Return the newest object of this kind, or {} if there is no such object."""
        found = self.by_kind.get(kind) or ({},)
        return max(found, key=lambda obj: str((obj.get("metadata") or {}).get("creationTimestamp", "")))

    def plus(self, kind: str, objects: Sequence[Json]) -> Objects:
        """Return these objects and others of another kind."""
        return Objects({**self.by_kind, kind: objects})


NO_OBJECTS = Objects()
# Returns whether a queue has room for a pod; None if the objects of the scheduler do not say it.
FindRoom = Callable[[QueuePlacement, Demand], QueueRoom | None]
# Returns how much of a queue's quotas is used; None if the objects of the scheduler do not say it.
FindUse = Callable[[QueuePlacement], QueueUse | None]


@dataclass(frozen=True)
class OrderApi:
    """An API of a scheduler that lists the work that waits in a queue, in its order.

    It is read only while a user looks, and `status` finds its items among the objects of `kind`.  `path` returns the
    path of the request for the namespace and the objects of a pod or job; "" if they do not wait in a queue.
    """

    group: str
    resource: str
    kind: str
    path: Callable[[str, Objects], str]


@dataclass(frozen=True)
class Hold:
    """How a job is kept from starting: `patch` (RFC 7396) of the objects of this kind that the job owns."""

    kind: Kind
    patch: Json


@dataclass(frozen=True)
class QueueManifest:
    """What `research-spawner manifests` prints about the object of a queue.

    `object` is the object without labels, as far as the settings describe it; None if they say too little.  `comment`
    is a sentence about what an administrator of the cluster decides or creates.
    """

    comment: str
    object: Json | None = None


class Scheduler(Protocol):
    """The interface of a scheduler module.  Code outside these modules never tests which scheduler is used.

    A module must have every member.  For most of them `scheduler_defaults` has a default that the module can assign.
    """

    @property
    def KIND(self) -> str:
        """The value of `scheduler.kind` in the settings that selects this scheduler."""

    @property
    def RESERVED(self) -> tuple[str, ...]:
        """The label and annotation keys of this scheduler, as whole keys or as prefixes that end in `/` or `-`.

        Settings, hooks and users cannot set them.
        """

    @property
    def QueueOptions(self) -> type[Settings]:
        """The settings model of `queues.<name>.<KIND>`.  Each field has a default, because a queue may set none."""

    @property
    def GPU_ADVICE(self) -> Mapping[str, str]:
        """The advice that `lint` shows for each kind of GPU: what an administrator must configure outside the settings.

        Default: NO_GPU_ADVICE.
        """

    @property
    def refuses_gpu(self) -> Callable[[Gpu, str | None], str | None]:
        """Return why this scheduler does not provide a GPU, or None.  Arguments: the GPU, and `scheduler.name` or None.

        Default: `only_gpus(*COUNTED_GPUS)`.
        """

    @property
    def marks(self) -> Callable[[Placement], Marks]:
        """Return the labels, annotations, schedulerName and priority class of a notebook or job.

        If `placement.scheduler_name` is set, it must be the schedulerName, or `refuses` must refuse it.
        """

    @property
    def refuses(self) -> Callable[[Placement], Refusal | None]:
        """Return a Refusal if this scheduler cannot run a workload with this placement, else None.

        Defaults: `refuses_nothing`; `refuse_gang` for a scheduler that starts each pod on its own.
        """

    @property
    def prerequisites(self) -> Callable[[QueuePlacement], tuple[Prerequisite, ...]]:
        """Return the cluster objects without which a pod in this queue would wait, and no event would say why.

        Each is cluster-scoped or in `placement.namespace`, because the roles do not allow reading other objects.
        `research-spawner manifests` creates those with SELECTED_BY_PRIORITY, whose kinds must have the top-level fields
        `value` and `description`, like PriorityClass.
        Default: `only_priority_class`.
        """

    @property
    def watched(self) -> tuple[Kind, ...]:
        """The kinds of objects that `status` and `eviction` read in addition to pods.  Default: `()`."""

    @property
    def ORDER(self) -> OrderApi | None:
        """The API that knows the places in a queue.  Default: None, for a scheduler without one."""

    @property
    def status(self) -> Callable[[Json, Objects, tuple[Prerequisite, ...]], QueueStatus]:
        """Return the queue status of a pod.  The pod is {} for a job that has no pod yet.  Default: `status_of_pod`.

        Further arguments: the objects of the `watched` kinds, and the prerequisites that are missing in the cluster.
        Events are not passed, so a reason that appears only in an event cannot be shown.
        """

    @property
    def queue_kinds(self) -> tuple[QueueKind, ...]:
        """The kinds of objects that `queue_rooms` and `queue_uses` read.  Default: `()`."""

    @property
    def queue_rooms(self) -> Callable[[Objects], FindRoom]:
        """Return a function that finds out whether a queue has room for a pod, from all objects of the `queue_kinds`.

        A kind that cannot be read is missing in `by_kind`.  The function must return None where the objects do not
        say it, because users read the answer.  Default: `no_queue_rooms`.
        """

    @property
    def queue_uses(self) -> Callable[[Objects], FindUse]:
        """Return a function that finds out how much of a queue's quotas is used, from the same objects.

        It must return only numbers of the objects, and None where they have none.  Default: `no_queue_uses`.
        """

    @property
    def queue_manifest(self) -> Callable[[QueuePlacement, int | None], QueueManifest | None]:
        """Return the object of a queue for `research-spawner manifests`; None if the scheduler has no queues.

        Arguments: the queue, and its `share` in the settings or None if it is not set.  The object must have only
        fields that the settings decide: quotas are the administrator's.  Default: `no_queue_manifest`.
        """

    @property
    def eviction(self) -> Callable[[Json, Objects], Reason | None]:
        """Return why this pod was evicted, or None if it was not.  Default: `disruption`."""

    @property
    def HOLD(self) -> Hold | None:
        """How a job is kept from starting, so that no pod of it is created and existing pods are deleted.

        Its kind is one of `watched`.  Default: None, for a scheduler that leaves a job's own suspension alone: the
        batch service then suspends the job.
        """

    @property
    def adds(self) -> Callable[[Json], tuple[str, ...]]:
        """Return the paths of the fields that this scheduler and its webhooks add to this pod of a notebook.

        A restarted hub adopts a waiting pod only if no other field was added.  `*` is a wildcard.  A path must not
        contain a field in which a withdrawn right could remain.  Default: `adds_nothing`.
        """

    @property
    def preemption_events(self) -> tuple[PreemptionEvent, ...]:
        """The events of this scheduler about a preempted pod, besides PREEMPTED_BY_KUBE_SCHEDULER.  Default: `()`.

        The batch service reads them when it starts, to find out why pods were deleted while it was not running.
        """

    @property
    def deletes_unmarked(self) -> bool:
        """Whether this scheduler preempts a pod by deleting it without the condition DisruptionTarget.  Default: False.

        The Job controller counts such a pod as failed, and ends the job.  If True, the batch service adds the condition
        DELETED to a job's pod that is being deleted, unless the user cancelled it, and the job runs again.  So it must
        be False if the scheduler also deletes pods that must not run again, for example at a time limit.
        """
