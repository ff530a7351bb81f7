"""The schedulers we know.  Adding one is adding a module and its name here."""

from __future__ import annotations

from ..resources import Gpu
from . import coscheduling, kai, kueue, plain, slurm_bridge, volcano, yunikorn
from .scheduler_interface import (
    DELETED,
    NO_OBJECTS,
    Kind,
    Marks,
    Metadata,
    Objects,
    Placement,
    QueuePlacement,
    QueueStatus,
    Reason,
    Scheduler,
)

# Typed, so that mypy names the module that lacks a member of Scheduler.
_MODULES: list[Scheduler] = [plain, kueue, volcano, yunikorn, kai, slurm_bridge, coscheduling]

SCHEDULERS: dict[str, Scheduler] = {module.KIND: module for module in _MODULES}


_RESERVED = [mark for scheduler in SCHEDULERS.values() for mark in scheduler.RESERVED]
_PREFIXES = tuple(mark for mark in _RESERVED if mark.endswith(("/", "-")))
_KEYS = frozenset(_RESERVED) - set(_PREFIXES)


def reserved(key: str) -> bool:
    """Whether a label or annotation of this key could queue a pod with one of the schedulers."""
    return key in _KEYS or key.startswith(_PREFIXES)


def why_no_gpu(gpu: Gpu, kind: str, scheduler_name: str | None) -> str | None:
    """Why the scheduler `kind` of a site gives no such GPU, and which one does; None if it does."""
    why = SCHEDULERS[kind].refuses_gpu(gpu, scheduler_name)
    if why is None:
        return None
    givers = [giver for giver, module in SCHEDULERS.items() if module.refuses_gpu(gpu, "its-name") is None]
    way_out = "" if kind in givers else f". It can be had with scheduler.kind {', '.join(givers)}"
    return f"{gpu.kind!r} cannot be had from {kind}: {why}{way_out}"


__all__ = [
    "DELETED",
    "NO_OBJECTS",
    "SCHEDULERS",
    "Kind",
    "Marks",
    "Metadata",
    "Objects",
    "Placement",
    "QueuePlacement",
    "QueueStatus",
    "Reason",
    "Scheduler",
    "reserved",
    "why_no_gpu",
]
