"""The log file of a container.  The API server gets it from the node through `LogSource`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .object_fields import Json


@dataclass(frozen=True)
class ContainerLog:
    """The log file of one run of a container, and whether the container still writes to the file."""

    path: Path
    is_open: Callable[[], bool]


# Called with (pod, container, previous).  Returns the log, or None if the container has not started.
LogSource = Callable[[Json, str, bool], "ContainerLog | None"]
