"""The bars of this project, and whether the measurements reach them.

A bar on a ratio counts as reached up to 3 % above it, because the numbers of a shared machine vary by that much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from . import decide, sides
from .concurrent_starts import Run
from .results import Results
from .table import number

TOLERANCE = 1.03
Value = Callable[[Run], float | None]


@dataclass(frozen=True)
class Bar:
    """One bar.  `measured` is None if it was not measured in this run."""

    title: str
    limit: float
    measured: float | None
    unit: str = ""
    # A goal that is named as such, and not a condition.
    is_aim: bool = False

    @property
    def is_reached(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured <= self.limit * (1 if self.unit else TOLERANCE)

    def row(self) -> tuple[str, ...]:
        reached = {True: "yes", False: "NO", None: ""}[self.is_reached]
        measured = "not measured" if self.measured is None else f"{number(self.measured)}{self.unit}"
        return (self.title, f"{'aim' if self.is_aim else 'at most'} {number(self.limit)}{self.unit}", measured, reached)


def bars(results: Results) -> list[Bar]:
    return list(_bars(results))


def _bars(results: Results) -> Iterator[Bar]:
    runs = {case.name: found for case, found in results.runs}
    paced, few = runs.get("paced", ()), runs.get("few", ())
    size = results.sizes
    yield Bar(f"{size.starts} starts: 95 % ready, to KubeSpawner's", 1, _to_kube(paced, _most_ready))
    yield Bar(f"{size.starts} starts: hub CPU, to KubeSpawner's", 1, _to_kube(paced, _cpu))
    yield Bar(f"{size.starts} starts: hub CPU, to KubeSpawner's", 0.9, _to_kube(paced, _cpu), is_aim=True)
    events = runs.get("events", ())
    yield Bar(
        f"among {size.foreign_events:,} events: hub CPU, to KubeSpawner's", 0.35, _to_kube(events, _cpu), is_aim=True
    )
    queued, jobs, many = (runs.get(name, ()) for name in ("queued", "jobs", "many"))
    yield Bar(
        f"{size.queued:,} queued: 95 % of {size.few_starts} ready, to none", 1.2, _to_few(queued, few, _most_ready)
    )
    yield Bar(f"{size.jobs:,} jobs: 95 % of {size.few_starts} ready, to none", 1.05, _to_few(jobs, few, _most_ready))
    yield Bar(f"{size.jobs:,} jobs: hub CPU, to none", 1.05, _to_few(jobs, few, _cpu))
    yield Bar(f"{size.many_starts:,} starts: CPU of each, to {size.few_starts}'s", 1.15, _to_few(many, few, _cpu))
    yield Bar(f"{size.idle_servers} idle: lists a minute, to KubeSpawner's", 0.5, _idle(results, "lists_per_minute"))
    yield Bar(f"{size.idle_servers} idle: listed bytes, to KubeSpawner's", 0.5, _idle(results, "listed_kb_per_minute"))
    yield Bar(f"{size.idle_servers} idle: lists a minute", 0, _of_research(results.idle, "lists_per_minute"), " ")
    grown = _of_research(results.memory, "resident_mb")
    yield Bar(f"{size.remembered_events:,} events: memory grows by", 20, grown, " MB")
    yield Bar("create requests per start", 1, _creates(results), " ")
    whole = results.seconds.get(decide.ALL)
    yield Bar("plan + compose + check", 0.5, 1000 * median(whole) if whole else None, " ms")
    for pages in results.forms:
        if pages.side == sides.RESEARCH and pages.profiles == size.profiles:
            yield Bar(f"form, {size.profiles} profiles: CPU of 99 % of pages", 10, pages.most_ms, " ms")
        elif pages.side == sides.RESEARCH:
            yield Bar(f"form, {pages.profiles} profiles: page and its files", 60, pages.page_kb, " kB")
    for free in results.free:
        title = f"form, {free.profiles} profiles, {free.nodes:,} nodes: 99 %"
        yield Bar(title, 10, free.most_ms, " ms")
    clicks = {found.side: 1000 * median(found.seconds) for found in results.clicks}
    later = clicks[sides.RESEARCH] - clicks[sides.KUBE] if len(clicks) == len(sides.SIDES) else None
    yield Bar("click: page later than KubeSpawner's", 50, later, " ms")
    alone = results.single.get(sides.RESEARCH)
    theirs = results.single.get(sides.KUBE)
    added = 1000 * (median(alone) - median(theirs)) if alone and theirs else None
    yield Bar("one start alone, later than KubeSpawner's", 50, added, " ms")


def _cpu(run: Run) -> float | None:
    return run.cpu_ms_per_start


def _most_ready(run: Run) -> float | None:
    return run.most_ready


def _values(runs: Sequence[Run], side: str, value: Value) -> list[float]:
    return [found for run in runs if run.side == side and (found := value(run)) is not None]


def _to_kube(runs: Sequence[Run], value: Value) -> float | None:
    """Return the median of the ratios of all pairs."""
    ours, theirs = (_values(runs, side, value) for side in (sides.RESEARCH, sides.KUBE))
    return median(one / other for one, other in zip(ours, theirs, strict=False)) if ours and theirs else None


def _to_few(runs: Sequence[Run], few: Sequence[Run], value: Value) -> float | None:
    """Return the ratio of ResearchSpawner's medians in two cases."""
    more, less = (_values(found, sides.RESEARCH, value) for found in (runs, few))
    return median(more) / median(less) if more and less else None


def _of_research(found: Sequence[object], name: str) -> float | None:
    values = [getattr(one, name) for one in found if getattr(one, "side", "") == sides.RESEARCH]
    return median(values) if values else None


def _idle(results: Results, name: str) -> float | None:
    ours = _of_research(results.idle, name)
    theirs = [getattr(one, name) for one in results.idle if one.side == sides.KUBE]
    return ours / theirs[0] if ours is not None and theirs and theirs[0] else None


def _creates(results: Results) -> float | None:
    phases = [phase for phase in results.phases.get(sides.RESEARCH, ()) if "start" in phase.title]
    return max((phase.calls["create", "pods"] / phase.starts for phase in phases), default=None)
