"""`python -m benchmarks`: measure, and print one table.  `make bench` calls it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
from pathlib import Path

from . import calls, crowd, decide, nodes, sides
from .hub import DidNotMeasure
from .processes import DidNotStart
from .report import Results

MEASUREMENTS = ("decide", "calls", "crowd", "events", "paced", "nodes")


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What ResearchSpawner costs.")
    parser.add_argument("--spawns", type=_positive, default=400, metavar="N", help="starts at once (400)")
    parser.add_argument(
        "--pairs", type=_positive, default=3, metavar="N", help="runs of each side, in turns (3; one less beside crowd)"
    )
    parser.add_argument(
        "--nodes", type=_positive, default=5000, metavar="N", help="nodes of the measurement nodes (5000)"
    )
    parser.add_argument(
        "--ready-after", type=float, default=crowd.READY_AFTER, metavar="SECONDS", help="a pod's boot (%(default)s)"
    )
    parser.add_argument(
        "--only", choices=MEASUREMENTS, action="append", help="this measurement, and others so named; by default all"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number there, too")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 1")
    return number


async def measure(options: argparse.Namespace, results: Results) -> None:
    wanted = options.only or MEASUREMENTS
    if "decide" in wanted:
        _say("deciding")
        results.seconds = await decide.measure()
    if "calls" in wanted:
        for side in sides.SIDES:
            _say(f"API calls: {side}")
            results.phases[side] = await calls.measure(side)
    for case in crowd.cases(options.spawns, options.pairs):
        if case.name in wanted:
            runs: list[crowd.Run] = []
            results.runs.append((case, runs))
            for pair in range(1, case.pairs + 1):
                for side in sides.SIDES:
                    _say(f"{case.name}, pair {pair} of {case.pairs}: {side}")
                    runs.append(await crowd.measure(case, side, options.spawns, options.ready_after))
    if "nodes" in wanted and os.geteuid() and not options.only:
        _say("nodes: left out, only root can start a control plane with a network of its own")
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
    except (DidNotStart, DidNotMeasure, asyncio.TimeoutError) as error:
        print(str(error) or "A measurement took too long.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:  # what there is by then
        print(results.table())
        if options.json:
            options.json.write_text(json.dumps(results.as_json(), indent=1) + "\n")
    return 0


def _allow_many_files() -> None:
    """A start is a page here and two connections in the hub; the usual soft limit is 1024, inherited by the hub."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
