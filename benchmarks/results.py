"""The results of all measurements, and their JSON."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from .calls import Phase
from .click import Clicks
from .concurrent_starts import Case, Run
from .cpu_profile import Profile
from .decide import Seconds
from .events_memory import Growth
from .form_page import FormPages
from .free_capacity_form import FreeCapacityForm
from .idle import Idle
from .nodes import Run as NodesRun
from .processes import REPOSITORY
from .sides import Json
from .sizes import Sizes

PACKAGES = ("jupyterhub", "jupyterhub-kubespawner", "kubernetes_asyncio", "jupyter-research-spawner")


@dataclass
class Results:
    """The results so far; each measurement adds its own."""

    sizes: Sizes
    seconds: Seconds = field(default_factory=dict)
    phases: dict[str, list[Phase]] = field(default_factory=dict)
    single: dict[str, list[float]] = field(default_factory=dict)
    runs: list[tuple[Case, list[Run]]] = field(default_factory=list)
    idle: list[Idle] = field(default_factory=list)
    memory: list[Growth] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    forms: list[FormPages] = field(default_factory=list)
    free: list[FreeCapacityForm] = field(default_factory=list)
    clicks: list[Clicks] = field(default_factory=list)
    on_nodes: list[NodesRun] = field(default_factory=list)
    load_before: tuple[float, float, float] = field(default_factory=os.getloadavg)

    def as_json(self) -> Json:
        return {
            "commit": commit(),
            "packages": {name: version(name) for name in PACKAGES},
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "load_before": self.load_before,
            "load_after": os.getloadavg(),
            "cpu_seconds_of_decide": self.seconds,
            "calls": {
                side: [
                    {
                        "phase": phase.title,
                        "starts": phase.starts,
                        "calls": {" ".join(key): count for key, count in sorted(phase.calls.items())},
                    }
                    for phase in phases
                ]
                for side, phases in self.phases.items()
            },
            "single_seconds": self.single,
            "runs": [{"case": case.name, "limit": case.limit, "runs": _as_json(runs)} for case, runs in self.runs],
            "idle": _as_json(self.idle),
            "memory": _as_json(self.memory),
            "profiles": _as_json(self.profiles),
            "forms": _as_json(self.forms),
            "free": _as_json(self.free),
            "clicks": _as_json(self.clicks),
            "nodes": self.sizes.nodes,
            "kwok_nodes": self.sizes.kwok_nodes,
            "on_nodes": _as_json(self.on_nodes),
        }


def _as_json(
    found: Sequence[Run | Idle | Growth | Profile | FormPages | FreeCapacityForm | Clicks | NodesRun],
) -> list[Json]:
    return [one.as_json() for one in found]


def commit() -> str:
    """Return the commit that is measured, with a + if files differ from it; "" outside of a Git repository."""
    command = ("git", "describe", "--always", "--dirty=+", "--exclude=*")
    try:
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
