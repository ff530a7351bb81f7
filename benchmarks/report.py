"""Format the results of all measurements as a table and as JSON."""

from __future__ import annotations

import os
import platform
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TypeVar

from . import decide, sides
from .calls import BY_CLOCK, Phase
from .concurrent_starts import Case, Run
from .decide import Seconds
from .nodes import Run as NodesRun
from .sides import Json
from .table import WIDTH, Section, number, ratios, render, spread

AnyRun = TypeVar("AnyRun", Run, NodesRun)
_PACKAGES = ("jupyterhub", "jupyterhub-kubespawner", "kubernetes_asyncio", "jupyter-research-spawner")
_RUN_ROWS: tuple[tuple[str, Callable[[Run], float | None]], ...] = (
    ("hub CPU per start, ms", lambda run: run.cpu_ms_per_start),
    ("50 % are ready after, s", lambda run: run.half_ready),
    ("95 % are ready after, s", lambda run: run.most_ready),
    ("API calls per start, all", lambda run: run.calls_per_start),
    ("failed starts", lambda run: run.failed),
)

_NODE_ROWS: tuple[tuple[str, Callable[[NodesRun], float | None]], ...] = (
    ("scheduler CPU per pod, ms", lambda run: run.scheduler_ms_per_pod),
    ("API server CPU per pod, ms", lambda run: run.api_server_ms_per_pod),
    ("all pods run after, s", lambda run: run.wall),
)


@dataclass
class Results:
    """The results so far; each measurement adds its own."""

    seconds: Seconds = field(default_factory=dict)
    phases: dict[str, list[Phase]] = field(default_factory=dict)
    runs: list[tuple[Case, list[Run]]] = field(default_factory=list)
    nodes: int = 0
    on_nodes: list[NodesRun] = field(default_factory=list)
    load_before: tuple[float, float, float] = field(default_factory=os.getloadavg)

    def table(self) -> str:
        starts = (_starts_section(case, runs) for case, runs in self.runs)
        sections = [*self._decide_sections(), *self._calls(), *starts, *self._nodes()]
        return f"{render(sections)}\n\n{self._machine()}"

    def as_json(self) -> Json:
        return {
            "packages": {name: version(name) for name in _PACKAGES},
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
            "runs": [{"case": case.name, "runs": [run.as_json() for run in runs]} for case, runs in self.runs],
            "nodes": self.nodes,
            "on_nodes": [run.as_json() for run in self.on_nodes],
        }

    def _decide_sections(self) -> list[Section]:
        if not self.seconds:
            return []
        manifest = self.seconds[decide.MANIFEST]
        rows = tuple(
            (step, spread([1000 * value for value in values]), ratios(values, manifest))
            for step, values in self.seconds.items()
        )
        columns = ("CPU, ms", "ratio to row 1")
        return [Section("PLAN, COMPOSE, CHECK", columns, rows, ("Goal: less than 0.5 ms in the last row.",))]

    def _calls(self) -> list[Section]:
        if not self.phases:
            return []
        rows: list[tuple[str, ...]] = []
        for phases in zip(*(self.phases[side] for side in sides.SIDES), strict=True):
            counted = [phase.per_start() for phase in phases]
            rows.append((phases[0].title, *(number(sum(calls.values())) for calls in counted)))
            rows.extend(
                (f"  {call}", *(number(calls.get(call, 0)) for calls in counted))
                for call in sorted({call for calls in counted for call in calls})
            )
        notes = (
            f"Per start. {' and '.join(BY_CLOCK)} are not included, because the",
            "reflectors of both spawners make these calls periodically. ResearchSpawner",
            "repeats its gets at most once a minute for all users (hub.prerequisites_cache).",
        )
        return [Section("API CALLS", sides.SIDES, tuple(rows), notes)]

    def _nodes(self) -> list[Section]:
        if not self.on_nodes:
            return []
        title = f"KUBE-SCHEDULER, {self.on_nodes[0].pods} CONCURRENT PODS ON {self.nodes:,} NODES"
        return [Section(title, (*sides.SIDES, "ratio"), _comparison_rows(self.on_nodes, _NODE_ROWS))]

    def _machine(self) -> str:
        packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES[:2])
        load = " and ".join(f"{value:.1f}" for value in (self.load_before[0], os.getloadavg()[0]))
        text = (
            "Medians (minimum–maximum). Ratios are ResearchSpawner to KubeSpawner per pair. "
            f"Python {platform.python_version()}, {packages}; {os.cpu_count()} processors, "
            f"load {load} before and after. Other processes on this machine change the numbers."
        )
        return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def _starts_section(case: Case, runs: Sequence[Run]) -> Section:
    notes = []
    for side in sides.SIDES:
        run = next((run for run in runs if run.side == side and run.first_failure), None)
        if run is not None:
            notes += textwrap.wrap(f"{run.side}, first failed start: {run.first_failure}", WIDTH)
    return Section(case.title, (*sides.SIDES, "ratio"), _comparison_rows(runs, _RUN_ROWS), tuple(notes))


def _comparison_rows(
    runs: Sequence[AnyRun], rows: Iterable[tuple[str, Callable[[AnyRun], float | None]]]
) -> tuple[tuple[str, ...], ...]:
    """Return the table rows.  Each has a label, the values of both spawners, and their ratio."""
    found = []
    for label, value in rows:
        theirs, ours = ([value(run) for run in runs if run.side == side] for side in sides.SIDES)
        found.append((label, spread(theirs), spread(ours), ratios(ours, theirs)))
    return tuple(found)
