"""What each rule of check reads and yields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..plan import Plan
from ..shape import Json
from .overlay import Overlay

# Pairs of a path and what is wrong there: a sentence that continues after the path.
Findings = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class PodUnderCheck:
    """One normalized pod template.  `main` is its main container; `containers` has each container with its path."""

    plan: Plan
    overlay: Overlay
    pod: Json
    main: Json
    containers: tuple[tuple[str, Json], ...]

    @property
    def metadata(self) -> dict[str, Any]:
        metadata: Json = self.pod["metadata"]
        return metadata

    @property
    def spec(self) -> Json:
        spec: Json = self.pod["spec"]
        return spec
