"""The files in helm-values/ and their combinations: `from helm_files import BASE`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jupyter_research_spawner import chart_values
from jupyter_research_spawner.settings import read

VALUES = Path(__file__).parent.parent / "helm-values"
BASE = VALUES / "base.yaml"
SCHEDULERS, STORAGE, IDENTITY, CLASSES = (
    sorted((VALUES / name).glob("*.yaml")) for name in ("schedulers", "storage", "identity", "classes")
)
# Files of which a site chooses one, so that a later one replaces the lists of an earlier one.
ALTERNATIVES = (SCHEDULERS, IDENTITY)
OTHERS = [VALUES / f"{name}.yaml" for name in ("batch", "gpu", "monitoring", "autoscaling")]
ALL = sorted(VALUES.rglob("*.yaml"))
# What every site adds in its own site.yaml.
OWN_IMAGE: dict[str, Any] = {"hub": {"image": {"name": "registry.example.edu/research-hub", "tag": "0.1.0"}}}
# A copy of the real chart, for the tests that compare with it: CHART=DIRECTORY.
CHART = os.environ.get("CHART")


def name_of(file: Path) -> str:
    """Return the name of a file below helm-values/, without its ending: the id of a test."""
    return str(file.relative_to(VALUES).with_suffix(""))


def complete(*files: Path) -> dict[str, Any]:
    """Return the values of these files as the hub gets them."""
    return chart_values.complete(*(read(file) for file in files), namespace="jhub")


def lists(value: Any, path: str = "") -> list[str]:
    """Return the paths of all lists within maps."""
    if isinstance(value, list):
        return [path]
    if isinstance(value, dict):
        return [found for key, below in value.items() for found in lists(below, f"{path}.{key}".lstrip("."))]
    return []
