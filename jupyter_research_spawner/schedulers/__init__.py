"""The schedulers we know.  Adding one is adding a module and its name here."""

from __future__ import annotations

from typing import cast

from . import coscheduling, kai, kueue, plain, slurm_bridge, volcano, yunikorn
from .base import Marks, Metadata, Need, Objects, Placement, QueueStatus, Reason, Scheduler

SCHEDULERS: dict[str, Scheduler] = {
    module.KIND: cast(Scheduler, module)
    for module in (plain, kueue, volcano, yunikorn, kai, slurm_bridge, coscheduling)
}


_RESERVED = [mark for scheduler in SCHEDULERS.values() for mark in scheduler.RESERVED]
_PREFIXES = tuple(mark for mark in _RESERVED if mark.endswith("/"))
_KEYS = frozenset(_RESERVED) - set(_PREFIXES)


def reserved(key: str) -> bool:
    """Whether a label or annotation of this key could queue a pod with one of the schedulers."""
    return key in _KEYS or key.startswith(_PREFIXES)


__all__ = [
    "SCHEDULERS",
    "Marks",
    "Metadata",
    "Need",
    "Objects",
    "Placement",
    "QueueStatus",
    "Reason",
    "Scheduler",
    "reserved",
]
