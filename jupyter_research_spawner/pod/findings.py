"""What a rule of check looks at, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..plan import Plan
from ..shape import Json, Slots

# (path, why not): the sentence goes on after the path.
Findings = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class PodUnderCheck:
    """One pod template under examination, in plain form.  `main` is the container that the person works in."""

    plan: Plan
    slots: Slots
    pod: Json
    main: Json
    is_object: bool

    @property
    def metadata(self) -> Json:
        metadata: Json = self.pod["metadata"]
        return metadata

    @property
    def spec(self) -> Json:
        spec: Json = self.pod["spec"]
        return spec


def same_json(found: Any, wanted: Any) -> bool:
    """True is not 1 and 1.0 is not 1: JSON and Kubernetes tell them apart, Python does not."""
    return type(found) is type(wanted) and found == wanted
