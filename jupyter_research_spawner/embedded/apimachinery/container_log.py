"""Where the API server finds what a container wrote.  The node knows; the API server asks it through `LogSource`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .object_fields import Json


@dataclass(frozen=True)
class ContainerLog:
    """Where one run of a container writes, and whether it still may."""

    path: Path
    is_open: Callable[[], bool]


# (pod, container, previous) -> its log, None while the container has not started
LogSource = Callable[[Json, str, bool], "ContainerLog | None"]
