"""python -m jupyter_research_spawner.demo [--tour only] [--kubeconfig FILE [--image IMAGE]]: `make demo` runs this."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import textwrap
import time
from pathlib import Path
from typing import TextIO

from .demo_cluster import CannotStart, DemoCluster
from .embedded_cluster import EmbeddedCluster
from .external_cluster import ExternalCluster
from .running_demo import RunningDemo, set_up
from .tour import tour
from .user_session import UnexpectedResult


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--tour", choices=("only",), help="exit after the tour, with 0 if all was as it must be")
    parser.add_argument("--state", type=Path, default=Path(".demo"), help="where its files are kept (default: .demo)")
    parser.add_argument(
        "--kubeconfig", metavar="FILE", help="play on the cluster of its current context, not on an embedded one"
    )
    parser.add_argument("--image", help="for notebooks and jobs on that cluster; it has jupyterhub-singleuser")
    options = parser.parse_args()
    if options.image is not None and options.kubeconfig is None:
        parser.error("the embedded cluster has no images; --image is for --kubeconfig")
    ground = EmbeddedCluster() if options.kubeconfig is None else ExternalCluster(options.kubeconfig, options.image)
    try:
        return asyncio.run(_main(ground, options.state.absolute(), stay=options.tour is None))
    except CannotStart as error:
        _say(str(error), file=sys.stderr)
        return 1


def _say(text: str, file: TextIO | None = None) -> None:
    """Sentences are wrapped for a terminal of 80 columns, and what is indented goes on further in."""
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()))
        further = f"{indent}    " if indent else ""
        wrapped = textwrap.wrap(line, 80, subsequent_indent=further, break_long_words=False, break_on_hyphens=False)
        print("\n".join(wrapped) if len(line) > 80 else line, file=file, flush=True)


async def _main(ground: DemoCluster, state: Path, *, stay: bool) -> int:
    playing = asyncio.create_task(_play(ground, state, stay=stay))
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


async def _play(ground: DemoCluster, state: Path, *, stay: bool) -> int:
    began = time.monotonic()
    _say(ground.announced)
    async with set_up(ground, state, _say) as stage:
        _say(f"All is up after {time.monotonic() - began:.1f} s: {stage.hub.url}")
        _say(_who_is_who(stage))
        try:
            is_good = await tour(stage, _say)
        except UnexpectedResult as error:
            _say(f"\nThe tour ended early: {error}\nThe hub's log is {stage.hub.log}")
            is_good = False
        _say(f"\n{'All as it must be' if is_good else 'NOT as it must be'}, after {time.monotonic() - began:.0f} s.")
        if stay:
            _say(f"\nLook around: {stage.hub.url}\nLog in as alice or bob; the password is {stage.hub.password}")
            _say("Ctrl-C stops it.")
            await asyncio.Event().wait()
    return 0 if is_good else 1


def _who_is_who(stage: RunningDemo) -> str:
    shortcoming = stage.cluster.shortcoming
    if shortcoming:
        return f"{shortcoming[:1].upper()}{shortcoming[1:]}. What that leaves out is named below."
    uids = ", ".join(f"{name} is uid {identity.uid}" for name, identity in stage.people.items())
    return f"{stage.cluster.where}, as the people they belong to: {uids}."


if __name__ == "__main__":
    sys.exit(main())
