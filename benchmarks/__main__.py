"""The command `python -m benchmarks`, which `make bench` runs.  It prints all results as one table."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from operator import setitem
from pathlib import Path
from typing import Any

from . import (
    calls,
    click,
    concurrent_starts,
    cpu_profile,
    decide,
    events_memory,
    form_page,
    free_capacity_form,
    idle,
    nodes,
    one_start,
    sides,
)
from .hub import MeasurementFailed
from .processes import StartFailed
from .report import table
from .results import Results
from .sizes import SMALL, Sizes

CASES = ("paced", "starts", "events", "few", "queued", "jobs", "many")
# Not a part of `make bench`: it takes longer than all others.
ON_DEMAND = ("limits",)
MEASUREMENTS = ("decide", "form", "free", "calls", "click", "single", *CASES, "idle", "memory", "profile", "nodes")


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Compare the cost of ResearchSpawner with that of KubeSpawner."
    )
    parser.add_argument("--spawns", type=_positive, metavar="N", help="number of servers that start concurrently (400)")
    parser.add_argument(
        "--pairs",
        type=_positive,
        default=3,
        metavar="N",
        help="number of runs of each spawner in `paced`, in turn (3); other measurements have fewer",
    )
    parser.add_argument(
        "--nodes", type=_positive, metavar="N", help="number of nodes in `free` (5000) and in `nodes` (2000)"
    )
    parser.add_argument(
        "--small", action="store_true", help="try the measurements with a few servers; their numbers mean nothing"
    )
    parser.add_argument(
        "--ready-after",
        type=float,
        default=concurrent_starts.READY_AFTER,
        metavar="SECONDS",
        help="seconds until a pod runs (%(default)s)",
    )
    parser.add_argument(
        "--only",
        choices=(*MEASUREMENTS, *ON_DEMAND),
        action="append",
        help="run only this measurement; can be repeated (default: all but limits)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers to this JSON file")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a valid number: it must be at least 1")
    return number


def sizes(options: argparse.Namespace) -> Sizes:
    found = SMALL if options.small else Sizes()
    given = {"starts": options.spawns, "nodes": options.nodes, "kwok_nodes": options.nodes}
    return replace(found, **{name: value for name, value in given.items() if value is not None})


# A title, what is measured, and what is done with the value.
Step = tuple[str, Callable[[], Awaitable[Any]], Callable[[Any], object]]


def steps(options: argparse.Namespace, results: Results) -> Iterator[Step]:
    """Yield the wanted measurements."""
    wanted: Sequence[str] = options.only or MEASUREMENTS
    size, ready_after = results.sizes, options.ready_after
    if "decide" in wanted:
        yield "plan, compose and check", decide.measure, results.seconds.update
    if "form" in wanted:
        for profiles, side in product((size.few_profiles, size.profiles), sides.SIDES):
            yield (
                f"options form, {profiles} profiles: {side}",
                partial(form_page.measure, side, profiles),
                results.forms.append,
            )
    if "free" in wanted:
        yield (
            f"options form, {size.profiles} profiles, {size.nodes:,} nodes, {size.free_pods:,} pods",
            partial(free_capacity_form.measure, size.nodes, size.free_pods, size.profiles, size.free_seconds),
            results.free.append,
        )
    for case in concurrent_starts.cases(size, options.pairs):
        if case.name in wanted:
            runs: list[concurrent_starts.Run] = []
            results.runs.append((case, runs))
            for pair, side in product(range(1, case.pairs + 1), sides.SIDES):
                measure = partial(concurrent_starts.measure, case, side, ready_after, size.settle_seconds)
                yield f"{case.name}, pair {pair} of {case.pairs}: {side}", measure, runs.append
    events = f"memory with {size.remembered_events:,} events of other pods"
    for side in sides.SIDES:
        others: dict[str, Step] = {
            "calls": ("API calls", partial(calls.measure, side), partial(setitem, results.phases, side)),
            "click": (f"{size.clicks} clicks", partial(click.measure, side, size.clicks), results.clicks.append),
            "single": (
                "starts one after the other",
                partial(one_start.measure, side, ready_after),
                partial(setitem, results.single, side),
            ),
            "idle": (
                f"{size.idle_servers} idle servers",
                partial(idle.measure, side, size.idle_servers, size.idle_seconds, size.settle_seconds),
                results.idle.append,
            ),
            "memory": (
                events,
                partial(events_memory.measure, side, size.remembered_events, size.remembered_seconds),
                results.memory.append,
            ),
            "profile": (
                "samples of the hub's stack",
                partial(cpu_profile.measure, side, size.starts, ready_after),
                results.profiles.append,
            ),
        }
        for name, (title, measured, keep) in others.items():
            if name in wanted:
                yield f"{title}: {side}", measured, keep
    if "nodes" in wanted and os.geteuid() and not options.only:
        _say("nodes: skipped, because only root can start the control plane in a network namespace")
    elif "nodes" in wanted:
        title = f"{size.starts} pods on {size.kwok_nodes} nodes"
        yield title, partial(nodes.measure, size.kwok_nodes, size.starts), results.on_nodes.extend


async def measure_all(options: argparse.Namespace, results: Results) -> bool:
    """Add all measurements to the results, and return whether none has failed.  After a failure the next one runs."""
    failed = False
    for title, measure, keep in steps(options, results):
        _say(title)
        try:
            keep(await measure())
        except (StartFailed, MeasurementFailed, asyncio.TimeoutError) as error:
            failed = True
            _say(f"FAILED: {str(error) or 'it took too long'}")
    return not failed


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def main() -> int:
    options = arguments(sys.argv[1:])
    results = Results(sizes(options))
    _allow_many_files()
    try:
        return 0 if asyncio.run(measure_all(options, results)) else 1
    except KeyboardInterrupt:
        return 130
    finally:  # print the results that exist, even after an error
        print(table(results))
        if options.json:
            options.json.write_text(json.dumps(results.as_json(), indent=1) + "\n")


def _allow_many_files() -> None:
    """Raise the limit of open files, which is usually 1024, for this process and the hub.

    Each start needs one connection in this process and two in the hub.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
