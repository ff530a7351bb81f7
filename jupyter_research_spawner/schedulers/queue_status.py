"""What a scheduler reports about a pod that waits, as plain data.  `queue_sentence` makes the sentence from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

QueuePhase = Literal["gated", "queued", "unschedulable", "refused", "scheduling", "running"]
WaitCode = Literal[
    "",
    "admission-checks",
    "deactivated",
    "missing",
    "no-queue",
    "no-quota",
    "nodes",
    "not-considered",
    "placed",
    "preempting",
    "quota",
    "rejected",
    "requeued",
    "room",
    "too-large",
    "turn",
]


@dataclass(frozen=True)
class Shortage:
    """A resource of which too little is free.

    `amount` is how much more must become free, as a quantity of Kubernetes; "" if the scheduler does not say it.
    `flavor` is the kind of nodes whose quota it is: of several flavors, one must have enough.
    """

    resource: str
    amount: str = ""
    flavor: str = ""


@dataclass(frozen=True)
class Limit:
    """A resource of which a pod requests more than there is: the request and the most that is possible, as quantities.

    `most` is "" if there is none of the resource at all.
    """

    resource: str
    requested: str
    most: str


@dataclass(frozen=True)
class Place:
    """The place of a pod or job among those that wait in its queue, from 1, and their number.

    `overall` is its place among all that wait for the same quota, also in other queues; 0 if it is unknown.
    """

    position: int
    waiting: int
    overall: int = 0


@dataclass(frozen=True)
class ExcludedNodes:
    """Nodes that cannot take a pod for another reason than a resource: their number and the scheduler's words."""

    count: int
    reason: str


@dataclass(frozen=True)
class LargestNode:
    """Why no node of the cluster can take a pod, although all were empty.

    `limits` has each resource of which no single node has enough; it is empty if no node has all of them together.
    `is_exact` is False if the use of DaemonSets is unknown, so that nodes may have less for pods than it says.
    `can_grow` is False if the site sets `autoscaling: false`.
    """

    limits: tuple[Limit, ...] = ()
    together: tuple[Shortage, ...] = ()
    is_exact: bool = True
    can_grow: bool = True


@dataclass(frozen=True)
class QueueStatus:
    """Why a pod waits, as the scheduler reports it.

    phase:
      gated: the scheduler does not consider the pod yet, for example because of a scheduling gate.
      queued: the pod waits for its turn or for room, and will start without any change.
      unschedulable: the pod requests more than its queue or any node can ever have.
      refused: the scheduler rejected the pod, or something that the pod needs is missing or closed.
      scheduling: the scheduler has reported nothing yet.
      running: the pod has a node.
    code: the reason as a word for programs; "" if it is unknown.
    message: the reason as a sentence, where the other fields cannot say it: of the scheduler, as it came, or of us.
    missing: the resources of which too little is free.
    limits: the resources of which the pod requests more than its queue has in total.
    nodes, excluded: the number of nodes, and those that cannot take the pod for another reason than a resource.
    largest: why no node can take the pod, although all were empty; None if a node can, or if the nodes are unknown.
    together: the number of pods that start together.
    preempts: the number of workloads that are preempted for it.
    since: the Kubernetes timestamp since which it waits.  resumes_at: that at which the scheduler considers it again.
    source: the kind of object that has the report.
    queue: the name of the queue in the settings, and place: the place in it.  The watch adds `queue` and `largest`.
    """

    phase: QueuePhase
    code: WaitCode = ""
    message: str = ""
    missing: tuple[Shortage, ...] = ()
    limits: tuple[Limit, ...] = ()
    nodes: int = 0
    excluded: tuple[ExcludedNodes, ...] = ()
    largest: LargestNode | None = None
    together: int = 1
    preempts: int = 0
    since: str | None = None
    resumes_at: str | None = None
    source: str = ""
    queue: str = ""
    place: Place | None = None

    @property
    def waits(self) -> bool:
        """Return whether the pod waits in a queue, or waits to be added to a queue."""
        return self.phase in ("gated", "queued", "unschedulable", "refused")
