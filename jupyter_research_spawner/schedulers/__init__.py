"""The schedulers we know.  Adding one is adding a module and its name here."""

from __future__ import annotations

from typing import cast

from . import coscheduling, kai, kueue, plain, slurm_bridge, volcano, yunikorn
from .base import Marks, Metadata, Need, Objects, Placement, QueueStatus, Reason, Scheduler

SCHEDULERS: dict[str, Scheduler] = {
    module.KIND: cast(Scheduler, module)
    for module in (plain, kueue, volcano, yunikorn, kai, slurm_bridge, coscheduling)
}


def reserved(key: str) -> bool:
    """Whether a label or annotation of this key could queue a pod with one of the schedulers."""
    return any(
        key.startswith(mark) if mark.endswith("/") else key == mark
        for scheduler in SCHEDULERS.values()
        for mark in scheduler.RESERVED
    )


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
