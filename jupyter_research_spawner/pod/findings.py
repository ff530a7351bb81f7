"""The argument and the return type of the rules of `check`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..plan import Plan
from ..shape import Json
from .overlay import Overlay

# Pairs of the path of a field and its problem.  The problem continues a sentence that begins with the path.
Findings = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class PodUnderCheck:
    """A normalized pod template with its plan, its overlay, its main container and the paths of all its containers."""

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
