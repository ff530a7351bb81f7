"""The programs of the cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

PROGRAMS = Path(__file__).parents[1] / "programs"


@dataclass(frozen=True)
class Program:
    """A row of programs.yaml, where the fields are explained."""

    name: str
    used_for: str
    module: str
    version: str
    binaries: Mapping[str, str]
    minutes: float
    staging: str | None = None
    strings: Mapping[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Where its go.mod and go.sum are."""
        return PROGRAMS / self.name

    @property
    def packages(self) -> list[str]:
        """Import paths of its binaries."""
        return [self.module if path == "." else f"{self.module}/{path}" for path in self.binaries.values()]


def table() -> dict[str, Program]:
    """All programs by name, in the order in which they are built."""
    rows = yaml.safe_load((PROGRAMS / "programs.yaml").read_text())
    return {name: Program(name=name, **row) for name, row in rows.items()}


def go_environment() -> dict[str, str]:
    """The caller's settings of Go (GOPROXY, GOFLAGS, caches ...) but for what decides what comes out."""
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
