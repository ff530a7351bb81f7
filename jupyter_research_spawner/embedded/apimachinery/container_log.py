"""The file to which a container writes its log.  The node knows it; the API server asks for it through `LogSource`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .object_fields import Json


@dataclass(frozen=True)
class ContainerLog:
    """The log file of one run of a container, and whether that run still writes to it."""

    path: Path
    is_open: Callable[[], bool]


# (pod, container, previous) -> the log, or None if the container has not started
LogSource = Callable[[Json, str, bool], "ContainerLog | None"]
