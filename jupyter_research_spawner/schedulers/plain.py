"""kube-scheduler alone: priority and preemption, no quota.  Contract: kubernetes.io, Pod Priority and Preemption."""

from __future__ import annotations

from collections.abc import Mapping

from ..prerequisite import Prerequisite
from ..refusal import Refusal
from ..settings import Settings
from .scheduler_interface import (
    Marks,
    Placement,
    QueuePlacement,
    disruption,
    priority_class_prerequisite,
    refuse_gang,
    refuse_gpu_beside_hami,
    status_of_pod,
)

KIND = "plain"
# HAMi, which is kube-scheduler with an extender, reads there which devices it gave.
RESERVED = ("hami.io/",)

GPU_ADVICE: Mapping[str, str] = {}


class QueueOptions(Settings):
    """A queue is a name and a priority here: kube-scheduler has nothing to be told."""


def marks(placement: Placement) -> Marks:
    return Marks(scheduler_name=placement.scheduler_name, priority_class=placement.priority_class)


def refuses(placement: Placement) -> Refusal | None:
    return refuse_gang(placement, "kube-scheduler alone", "Ask for one pod.")


def prerequisites(placement: QueuePlacement) -> tuple[Prerequisite, ...]:
    # The API server refuses a pod of a missing class in words that name no setting of ours.
    return (priority_class_prerequisite(placement),)


refuses_gpu = refuse_gpu_beside_hami
deletes_unmarked = False
watched = ()
status = status_of_pod
eviction = disruption
