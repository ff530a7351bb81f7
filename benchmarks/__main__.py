"""The command `python -m benchmarks`, which `make bench` runs.  It prints all results as one table."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
from pathlib import Path

from . import calls, concurrent_starts, decide, nodes, sides
from .hub import MeasurementFailed
from .processes import StartFailed
from .report import Results

MEASUREMENTS = ("decide", "calls", "starts", "events", "paced", "nodes")


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Compare the cost of ResearchSpawner with that of KubeSpawner."
    )
    parser.add_argument(
        "--spawns", type=_positive, default=400, metavar="N", help="number of servers that start concurrently (400)"
    )
    parser.add_argument(
        "--pairs",
        type=_positive,
        default=3,
        metavar="N",
        help="number of runs of each spawner, in turn (3; one less for `events` and `paced`)",
    )
    parser.add_argument(
        "--nodes", type=_positive, default=5000, metavar="N", help="number of nodes in the measurement `nodes` (5000)"
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
        choices=MEASUREMENTS,
        action="append",
        help="run only this measurement; can be repeated (default: all)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers to this JSON file")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a valid number: it must be at least 1")
    return number


async def measure(options: argparse.Namespace, results: Results) -> None:
    wanted = options.only or MEASUREMENTS
    if "decide" in wanted:
        _say("plan, compose and check")
        results.seconds = await decide.measure()
    if "calls" in wanted:
        for side in sides.SIDES:
            _say(f"API calls: {side}")
            results.phases[side] = await calls.measure(side)
    for case in concurrent_starts.cases(options.spawns, options.pairs):
        if case.name in wanted:
            runs: list[concurrent_starts.Run] = []
            results.runs.append((case, runs))
            for pair in range(1, case.pairs + 1):
                for side in sides.SIDES:
                    _say(f"{case.name}, pair {pair} of {case.pairs}: {side}")
                    runs.append(await concurrent_starts.measure(case, side, options.spawns, options.ready_after))
    if "nodes" in wanted and os.geteuid() and not options.only:
        _say("nodes: skipped, because only root can start the control plane in a network namespace")
    elif "nodes" in wanted:
        _say(f"{options.spawns} pods on {options.nodes} nodes, {options.pairs} pairs")
        results.nodes = options.nodes
        results.on_nodes = await nodes.measure(options.nodes, options.spawns, options.pairs)


def _say(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


def main() -> int:
    options, results = arguments(sys.argv[1:]), Results()
    _allow_many_files()
    try:
        asyncio.run(measure(options, results))
    except (StartFailed, MeasurementFailed, asyncio.TimeoutError) as error:
        print(str(error) or "A measurement took too long.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:  # print the results that exist, even after an error
        print(results.table())
        if options.json:
            options.json.write_text(json.dumps(results.as_json(), indent=1) + "\n")
    return 0


def _allow_many_files() -> None:
    """Raise the limit of open files, which is usually 1024, for this process and the hub.

    Each start needs one connection in this process and two in the hub.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
