"""kube-scheduler alone: priority and preemption, no quota.  Source: Pod Priority and Preemption."""

from __future__ import annotations

from ..refusal import Refusal
from ..settings import Settings
from .scheduler_defaults import (
    NO_GPU_ADVICE,
    adds_nothing,
    disruption,
    no_queue_manifest,
    no_queue_rooms,
    no_queue_uses,
    only_priority_class,
    refuse_gang,
    refuse_gpu_beside_hami,
    status_of_pod,
)
from .scheduler_interface import (
    Marks,
    Placement,
)

KIND = "plain"
# HAMi, an extender of kube-scheduler, writes the assigned devices into annotations with this prefix.
RESERVED = ("hami.io/",)
GPU_ADVICE = NO_GPU_ADVICE


class QueueOptions(Settings):
    """kube-scheduler has no queues, so a queue has no settings for it."""


def marks(placement: Placement) -> Marks:
    """Return the schedulerName and the priority class."""
    return Marks(scheduler_name=placement.scheduler_name, priority_class=placement.priority_class)


def refuses(placement: Placement) -> Refusal | None:
    """Refuse pods that must start together."""
    return refuse_gang(placement, "kube-scheduler alone", "Ask for one pod.")


prerequisites = only_priority_class
refuses_gpu = refuse_gpu_beside_hami
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
