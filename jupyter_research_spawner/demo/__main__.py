"""python -m jupyter_research_spawner.demo [--tour only]: `make demo` runs this."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import textwrap
import time
from pathlib import Path

from .person import NotAsExpected
from .stage import CannotStart, Stage, set_up
from .tour import tour


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--tour", choices=("only",), help="exit after the tour, with 0 if all was as it must be")
    parser.add_argument("--state", type=Path, default=Path(".demo"), help="where its files are kept (default: .demo)")
    options = parser.parse_args()
    try:
        return asyncio.run(_main(options.state.absolute(), stay=options.tour is None))
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1


def _say(text: str) -> None:
    """Sentences are wrapped for a terminal of 80 columns; what is indented or drawn stays as it is."""
    for line in text.split("\n"):
        print(line if line.startswith(" ") or len(line) <= 80 else textwrap.fill(line, 80), flush=True)


async def _main(state: Path, *, stay: bool) -> int:
    playing = asyncio.create_task(_play(state, stay=stay))
    stopped = False

    def stop() -> None:
        # Once: a second Ctrl-C would break off the cleaning up.
        nonlocal stopped
        if not stopped:
            stopped = True
            _say("\nStopping ...")
            playing.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        return await playing
    except asyncio.CancelledError:
        _say("\nStopped: no process of the demo is left.")
        return 130


async def _play(state: Path, *, stay: bool) -> int:
    began = time.monotonic()
    _say("Starting an embedded cluster, a JupyterHub and the batch service ...")
    async with set_up(state) as stage:
        _say(f"They are up after {time.monotonic() - began:.1f} s: {stage.url}")
        _say(_who_is_who(stage))
        try:
            is_good = await tour(stage, _say)
        except NotAsExpected as error:
            _say(f"\nThe tour ended early: {error}\nThe hub's log is {stage.hub_log}")
            is_good = False
        _say(f"\n{'All as it must be' if is_good else 'NOT as it must be'}, after {time.monotonic() - began:.0f} s.")
        if stay:
            _say(f"\nLook around: {stage.url}\nLog in as alice or bob; the password is {stage.password}")
            _say("Ctrl-C stops it.")
            await asyncio.Event().wait()
    return 0 if is_good else 1


def _who_is_who(stage: Stage) -> str:
    if stage.abilities.namespaces:
        uids = ", ".join(f"{name} is uid {identity.uid}" for name, identity in stage.people.items())
        return f"Pods run in mount namespaces of their own, as the people they belong to: {uids}."
    reason = stage.abilities.reason
    return f"{reason[:1].upper()}{reason[1:]}. What that leaves out is named below."


if __name__ == "__main__":
    sys.exit(main())
