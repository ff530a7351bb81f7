"""Coscheduling of scheduler-plugins: kube-scheduler with gangs.  Contract: scheduler-plugins.sigs.k8s.io, 0.34."""

from __future__ import annotations

from collections.abc import Mapping

from ..prerequisite import Prerequisite
from ..refusal import Refusal
from ..settings import Settings
from ..shape import label_value
from .scheduler_interface import (
    COUNTED_GPUS,
    Marks,
    Metadata,
    Placement,
    QueuePlacement,
    disruption,
    only_gpus,
    priority_class_prerequisite,
    status_of_pod,
)

KIND = "coscheduling"
RESERVED = ("scheduling.x-k8s.io/",)

GROUP = "scheduling.x-k8s.io/pod-group"
CHART_NAME = "scheduler-plugins-scheduler"

GPU_ADVICE: Mapping[str, str] = {}


class QueueOptions(Settings):
    """A queue is a name and a priority here, as for kube-scheduler."""


def marks(placement: Placement) -> Marks:
    # A label without its PodGroup would keep a pod waiting, so a single pod has none.
    group = {GROUP: label_value(placement.shape.name)} if placement.shape.gang > 1 else {}
    return Marks(
        pod=Metadata(labels=group),
        scheduler_name=placement.scheduler_name,
        priority_class=placement.priority_class,
    )


def refuses(placement: Placement) -> Refusal | None:
    if placement.scheduler_name is not None:
        return None
    return Refusal(
        "scheduler-name-missing",
        "Coscheduling is a profile of a scheduler, and the settings do not name it.",
        field="scheduler.name",
        hint=f"The people who run this hub write scheduler: {{kind: coscheduling, name: {CHART_NAME}}}, "
        "or the name that their installation has.",
        status=503,
    )


def prerequisites(placement: QueuePlacement) -> tuple[Prerequisite, ...]:
    return (priority_class_prerequisite(placement),)


refuses_gpu = only_gpus(*COUNTED_GPUS, "dra")
deletes_unmarked = False
watched = ()
status = status_of_pod
eviction = disruption
