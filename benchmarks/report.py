"""Format the results of all measurements as one table."""

from __future__ import annotations

import os
import platform
import textwrap
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import TypeVar

from . import cpu_profile, decide, sides
from .bars import bars
from .calls import BY_CLOCK
from .click import Clicks
from .concurrent_starts import Case, Run
from .events_memory import Growth
from .idle import Idle
from .nodes import Run as NodesRun
from .results import PACKAGES, Results, commit
from .table import WIDTH, Section, number, ratios, render, spread

AnyRun = TypeVar("AnyRun", Run, NodesRun, Idle, Growth)
_RUN_ROWS: tuple[tuple[str, Callable[[Run], float | None]], ...] = (
    ("hub CPU per start, ms", lambda run: run.cpu_ms_per_start),
    ("50 % are ready after, s", lambda run: run.half_ready),
    ("95 % are ready after, s", lambda run: run.most_ready),
    ("95 % of other requests answered, s", lambda run: run.answered),
    ("API calls per start, all", lambda run: run.calls_per_start),
    ("failed starts", lambda run: run.failed),
)

_NODE_ROWS: tuple[tuple[str, Callable[[NodesRun], float | None]], ...] = (
    ("scheduler CPU per pod, ms", lambda run: run.scheduler_ms_per_pod),
    ("API server CPU per pod, ms", lambda run: run.api_server_ms_per_pod),
    ("all pods run after, s", lambda run: run.wall),
)


_IDLE_ROWS: tuple[tuple[str, Callable[[Idle], float | None]], ...] = (
    ("lists a minute", lambda idle: idle.lists_per_minute),
    ("listed kB a minute", lambda idle: idle.listed_kb_per_minute),
    ("hub CPU, ms a minute", lambda idle: idle.cpu_ms_per_minute),
)

_MEMORY_ROWS: tuple[tuple[str, Callable[[Growth], float | None]], ...] = (
    ("resident memory, MB more", lambda growth: growth.resident_mb),
    ("its maximum so far, MB more", lambda growth: growth.peak_mb),
)

_CLICK_ROWS: tuple[tuple[str, Callable[[Clicks], Sequence[float]]], ...] = (
    ("redirected after, ms", lambda clicks: clicks.redirect_seconds),
    ("page of the start after, ms", lambda clicks: clicks.seconds),
)


def table(results: Results) -> str:
    starts = (_starts_section(case, runs) for case, runs in results.runs)
    sections = [
        *_bars_section(results),
        *_decide_sections(results),
        *_forms(results),
        *_free(results),
        *_calls(results),
        *_clicks(results),
        *_single(results),
        *starts,
        *_idle(results),
        *_memory(results),
        *_profiles(results),
        *_nodes(results),
    ]
    return f"{render(sections)}\n\n{_machine(results)}"


def _bars_section(results: Results) -> list[Section]:
    found = [bar for bar in bars(results) if bar.measured is not None]
    if not found:
        return []
    notes = ("A ratio counts as reached up to 3 % above its bar.",)
    return [
        Section("BARS", ("bar", "measured", "reached"), tuple(bar.row() for bar in found), notes, label=46, column=11)
    ]


def _decide_sections(results: Results) -> list[Section]:
    if not results.seconds:
        return []
    manifest = results.seconds[decide.MANIFEST]
    rows = tuple(
        (step, spread([1000 * value for value in values]), ratios(values, manifest))
        for step, values in results.seconds.items()
    )
    columns = ("CPU, ms", "ratio to row 1")
    return [Section("PLAN, COMPOSE, CHECK", columns, rows, ("Goal: less than 0.5 ms in the last row.",))]


def _forms(results: Results) -> list[Section]:
    if not results.forms:
        return []
    rows = tuple(
        (
            f"{pages.profiles} profiles, {pages.side}",
            number(pages.half_ms),
            number(pages.most_ms),
            number(pages.page_kb),
        )
        for pages in results.forms
    )
    return [Section("OPTIONS FORM", ("CPU, ms", "99 %, ms", "page, kB"), rows)]


def _free(results: Results) -> list[Section]:
    return [
        Section(
            f"OPTIONS FORM WITH FREE CAPACITY, {free.nodes:,} NODES, {free.pods:,} PODS",
            ("CPU, ms",),
            (
                ("half of the pages", number(free.half_ms)),
                ("99 % of the pages", number(free.most_ms)),
                ("finding out once what is free", number(free.compute_ms)),
                ("all but the pages, a minute", number(free.watch_ms_per_minute)),
            ),
            (f"{free.profiles} profiles: " + ", ".join(f"{count} {state}" for state, count in free.states.items()),),
            label=46,
        )
        for free in results.free
    ]


def _clicks(results: Results) -> list[Section]:
    if len(results.clicks) < len(sides.SIDES):
        return []
    theirs, ours = ([found for found in results.clicks if found.side == side] for side in sides.SIDES)
    rows = tuple(
        (label, *(spread([1000 * value for value in values(one)]) for one in (*theirs, *ours)))
        for label, values in _CLICK_ROWS
    )
    cpu = [one.cpu_ms for one in (*theirs, *ours)]
    rows += (("hub CPU of a click, ms", *map(number, cpu)),)
    notes = ("One after the other, without the second for which JupyterHub waits by default.",)
    return [Section("CLICK ON START", sides.SIDES, rows, notes)]


def _calls(results: Results) -> list[Section]:
    if len(results.phases) < len(sides.SIDES):
        return []
    rows: list[tuple[str, ...]] = []
    for phases in zip(*(results.phases[side] for side in sides.SIDES), strict=True):
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


def _nodes(results: Results) -> list[Section]:
    if not results.on_nodes:
        return []
    title = f"KUBE-SCHEDULER, {results.on_nodes[0].pods} CONCURRENT PODS ON {results.sizes.kwok_nodes:,} NODES"
    return [Section(title, (*sides.SIDES, "ratio"), _comparison_rows(results.on_nodes, _NODE_ROWS))]


def _machine(results: Results) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES[:2])
    load = " and ".join(f"{value:.1f}" for value in (results.load_before[0], os.getloadavg()[0]))
    text = (
        "Medians (minimum–maximum). Ratios are ResearchSpawner to KubeSpawner per pair. "
        f"Commit {commit()}, Python {platform.python_version()}, {packages}; {os.cpu_count()} processors, "
        f"load {load} before and after. Other processes on this machine change the numbers."
    )
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def _single(results: Results) -> list[Section]:
    if len(results.single) < len(sides.SIDES):
        return []
    values = [[1000 * value for value in results.single[side]] for side in sides.SIDES]
    row = ("ready later than its pod, ms", *map(spread, values), ratios(values[1], values[0]))
    return [Section("ONE START ALONE", (*sides.SIDES, "ratio"), (row,))]


def _idle(results: Results) -> list[Section]:
    if not results.idle:
        return []
    title = f"IDLE HUB WITH {results.idle[0].servers} SERVERS"
    return [Section(title, (*sides.SIDES, "ratio"), _comparison_rows(results.idle, _IDLE_ROWS))]


def _memory(results: Results) -> list[Section]:
    if not results.memory:
        return []
    title = f"HUB MEMORY WITH {results.memory[0].events:,} EVENTS OF OTHER PODS"
    return [Section(title, (*sides.SIDES, "ratio"), _comparison_rows(results.memory, _MEMORY_ROWS))]


def _profiles(results: Results) -> list[Section]:
    if not results.profiles:
        return []
    rows = [(owner, *(number(profile.cpu_ms[owner]) for profile in results.profiles)) for owner in cpu_profile.OWNERS]
    rows.append(("all", *(number(sum(profile.cpu_ms.values())) for profile in results.profiles)))
    columns = [profile.side for profile in results.profiles]
    return [Section("HUB CPU OF A START, ms", tuple(columns), tuple(rows), label=44)]


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
