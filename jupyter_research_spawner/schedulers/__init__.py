"""The registry of schedulers: a new scheduler is one module and one entry in `_MODULES`."""

from __future__ import annotations

from ..resources import Gpu
from . import coscheduling, kai, kueue, plain, slurm_bridge, volcano, yunikorn
from .queue_room import Demand, QueueRoom, QueueUse, QuotaUse
from .queue_sentence import (
    describe,
    describe_largest,
    number_of,
    offer_too_big,
    plural,
    requests_too_much,
    summarize,
    why,
)
from .queue_status import ExcludedNodes, LargestNode, Limit, Place, QueueStatus, Shortage, WaitCode
from .scheduler_defaults import (
    DELETED,
    PREEMPTED_BY_KUBE_SCHEDULER,
)
from .scheduler_interface import (
    NO_OBJECTS,
    SELECTED_BY_PRIORITY,
    FindRoom,
    FindUse,
    Hold,
    Kind,
    Marks,
    Metadata,
    Objects,
    OrderApi,
    Placement,
    PreemptionEvent,
    QueueKind,
    QueueManifest,
    QueuePlacement,
    Reason,
    Scheduler,
)

# Typed, and one module a line, so that mypy shows the module that lacks a member of Scheduler.
_MODULES: list[Scheduler] = [
    plain,
    kueue,
    volcano,
    yunikorn,
    kai,
    slurm_bridge,
    coscheduling,
]

SCHEDULERS: dict[str, Scheduler] = {module.KIND: module for module in _MODULES}


_RESERVED = [mark for scheduler in SCHEDULERS.values() for mark in scheduler.RESERVED]
_PREFIXES = tuple(mark for mark in _RESERVED if mark.endswith(("/", "-")))
_KEYS = frozenset(_RESERVED) - set(_PREFIXES)


def find_scheduler(kind: str) -> Scheduler:
    """Return the scheduler of this kind, or `plain` if the kind is unknown, for example after an upgrade."""
    return SCHEDULERS[kind if kind in SCHEDULERS else plain.KIND]


def preemption_events(kind: str) -> tuple[PreemptionEvent, ...]:
    """Return all events that report the preemption of a pod of this scheduler."""
    return (PREEMPTED_BY_KUBE_SCHEDULER, *find_scheduler(kind).preemption_events)


def reserved(key: str) -> bool:
    """Return whether a scheduler reserves this key of a label or annotation."""
    return key in _KEYS or key.startswith(_PREFIXES)


def why_no_gpu(gpu: Gpu, kind: str, scheduler_name: str | None) -> str | None:
    """Return why the scheduler `kind` does not provide this GPU and which schedulers do; None if it provides it."""
    why = SCHEDULERS[kind].refuses_gpu(gpu, scheduler_name)
    if why is None:
        return None
    # Some schedulers provide a GPU only if scheduler.name is set, so this call passes some name.
    providers = [name for name, module in SCHEDULERS.items() if module.refuses_gpu(gpu, "any-name") is None]
    others = "" if kind in providers else f". Values of scheduler.kind that provide them: {', '.join(providers)}"
    return f"scheduler.kind {kind} does not provide GPUs of kind {gpu.kind!r}: {why}{others}"


__all__ = [
    "DELETED",
    "NO_OBJECTS",
    "SCHEDULERS",
    "SELECTED_BY_PRIORITY",
    "Demand",
    "ExcludedNodes",
    "FindRoom",
    "FindUse",
    "Hold",
    "Kind",
    "LargestNode",
    "Limit",
    "Marks",
    "Metadata",
    "Objects",
    "OrderApi",
    "Place",
    "Placement",
    "PreemptionEvent",
    "QueueKind",
    "QueueManifest",
    "QueuePlacement",
    "QueueRoom",
    "QueueStatus",
    "QueueUse",
    "QuotaUse",
    "Reason",
    "Scheduler",
    "Shortage",
    "WaitCode",
    "describe",
    "describe_largest",
    "find_scheduler",
    "number_of",
    "offer_too_big",
    "plural",
    "preemption_events",
    "requests_too_much",
    "reserved",
    "summarize",
    "why",
    "why_no_gpu",
]
