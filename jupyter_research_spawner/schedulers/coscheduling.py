"""Coscheduling, a plugin of scheduler-plugins: kube-scheduler with gang scheduling.

Written for scheduler-plugins 0.34 (scheduler-plugins.sigs.k8s.io).
"""

from __future__ import annotations

from ..refusal import Refusal
from ..settings import Settings
from ..shape import label_value
from .scheduler_defaults import (
    COUNTED_GPUS,
    NO_GPU_ADVICE,
    adds_nothing,
    disruption,
    no_queue_manifest,
    no_queue_rooms,
    no_queue_uses,
    only_gpus,
    only_priority_class,
    status_of_pod,
)
from .scheduler_interface import (
    Marks,
    Metadata,
    Placement,
)

KIND = "coscheduling"
RESERVED = ("scheduling.x-k8s.io/",)

GROUP = "scheduling.x-k8s.io/pod-group"
CHART_NAME = "scheduler-plugins-scheduler"

GPU_ADVICE = NO_GPU_ADVICE


class QueueOptions(Settings):
    """Coscheduling has no queues, so a queue has no settings for it."""


def marks(placement: Placement) -> Marks:
    """Return the PodGroup label of a gang, the schedulerName and the priority class."""
    # A pod with the label but without a PodGroup never starts, so a single pod does not get the label.
    group = {GROUP: label_value(placement.shape.name)} if placement.shape.gang > 1 else {}
    return Marks(
        pod=Metadata(labels=group),
        scheduler_name=placement.scheduler_name,
        priority_class=placement.priority_class,
    )


def refuses(placement: Placement) -> Refusal | None:
    """Refuse every placement while `scheduler.name` is not set, because coscheduling has no fixed schedulerName."""
    if placement.scheduler_name is not None:
        return None
    return Refusal(
        "scheduler-name-missing",
        "Coscheduling runs in a profile of kube-scheduler, but scheduler.name does not name this profile.",
        field="scheduler.name",
        hint=f"Your administrators must set scheduler.name: {CHART_NAME} is the default of scheduler-plugins' chart.",
        status=503,
    )


prerequisites = only_priority_class
refuses_gpu = only_gpus(*COUNTED_GPUS, "dra")
preemption_events = ()
adds = adds_nothing
deletes_unmarked = False
watched = ()
HOLD = None
ORDER = None
queue_kinds = ()
queue_manifest = no_queue_manifest
queue_rooms = no_queue_rooms
queue_uses = no_queue_uses
status = status_of_pod
eviction = disruption
