"""The command that `make demo` runs:

python -m jupyter_research_spawner.demo [--tour only] [--kubeconfig FILE [--image IMAGE]]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import textwrap
import time
from pathlib import Path
from typing import TextIO

from .demo_cluster import CannotStart, DemoCluster
from .embedded_cluster import EmbeddedCluster
from .external_cluster import ExternalCluster
from .interrupts import until_stopped
from .running_demo import RunningDemo, set_up
from .tour import tour
from .user_session import UnexpectedResult


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--tour", choices=("only",), help="exit after the tour, with 0 if all checks passed")
    parser.add_argument(
        "--state", type=Path, default=Path(".demo"), help="directory for the demo's files (default: .demo)"
    )
    parser.add_argument(
        "--kubeconfig",
        metavar="FILE",
        help="use the cluster of this kubeconfig's current context instead of the embedded cluster",
    )
    parser.add_argument(
        "--image", help="image for notebooks and jobs with --kubeconfig; it must contain jupyterhub-singleuser"
    )
    options = parser.parse_args()
    if options.image is not None and options.kubeconfig is None:
        parser.error("--image needs --kubeconfig, because the embedded cluster does not use images")
    ground = EmbeddedCluster() if options.kubeconfig is None else ExternalCluster(options.kubeconfig, options.image)
    try:
        playing = _play(ground, options.state.absolute(), stay=options.tour is None)
        return asyncio.run(until_stopped(playing, _say, "Stopped. No process of the demo is running."))
    except CannotStart as error:
        _say(str(error), file=sys.stderr)
        return 1


def _say(text: str, file: TextIO | None = None) -> None:
    """Print text, wrapped for 80 columns.  Continuation lines are indented further than their first line."""
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()))
        further = f"{indent}    " if indent else ""
        wrapped = textwrap.wrap(line, 80, subsequent_indent=further, break_long_words=False, break_on_hyphens=False)
        print("\n".join(wrapped) if len(line) > 80 else line, file=file, flush=True)


async def _play(ground: DemoCluster, state: Path, *, stay: bool) -> int:
    began = time.monotonic()
    _say(ground.announced)
    async with set_up(ground, state, _say) as stage:
        _say(f"The demo is running after {time.monotonic() - began:.1f} s: {stage.hub.url}")
        _say(_who_is_who(stage))
        try:
            is_good = await tour(stage, _say)
        except UnexpectedResult as error:
            _say(f"\nFAILED: the tour stopped early. {error}\nThe hub's log is {stage.hub.log}")
            is_good = False
        _say(f"\n{'All checks passed' if is_good else 'NOT all checks passed'} after {time.monotonic() - began:.0f} s.")
        if stay:
            _say(f"\nOpen {stage.hub.url} in a browser.\nThe password of alice, bob and carol is {stage.hub.password}")
            _say("alice is in the research group climate, bob is a student, and carol teaches his class.")
            _say("Ctrl-C stops the demo.")
            await asyncio.Event().wait()
    return 0 if is_good else 1


def _who_is_who(stage: RunningDemo) -> str:
    shortcoming = stage.cluster.shortcoming
    if shortcoming:
        return f"{shortcoming[:1].upper()}{shortcoming[1:]}. The demo does not check users, groups, homes and mounts."
    uids = ", ".join(f"{name} is uid {identity.uid}" for name, identity in stage.people.items())
    return f"{stage.cluster.where}, as their users: {uids}."


if __name__ == "__main__":
    sys.exit(main())
