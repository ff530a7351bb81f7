"""Run the hub of `research-spawner try` until Ctrl-C, or check each offer."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from ..chart_values import has_hub, look_up
from ..demo.demo_cluster import CannotStart
from ..demo.interrupts import until_stopped
from ..demo.user_session import UnexpectedResult
from ..trial.running_trial import RunningTrial, TrialInput, running_trial
from ..trial.trial_check import STARTS, check, not_tried, table
from ..trial.trial_nodes import parse_nodes
from .files import RESEARCH, SettingsFiles
from .output import wrapped


def try_site(parser: argparse.ArgumentParser, options: argparse.Namespace, files: SettingsFiles) -> int:
    """Run the command and return its exit code."""
    try:
        nodes = [node for text in options.nodes for node in parse_nodes(text)]
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --nodes: {error}")
    given = TrialInput(
        site=files.site,
        written=look_up(files.values, RESEARCH) or {},
        values=files.values if options.config is None and has_hub(files.values) else None,
        base=files.base,
        config=options.config,
        people=tuple(options.people) if options.people else None,
        nodes=nodes,
        port=options.port,
    )
    try:
        return asyncio.run(
            until_stopped(
                _run(given, check_seconds=options.wait if options.check else None),
                _say,
                "Stopped. Nothing of the trial is left.",
            )
        )
    except (CannotStart, UnexpectedResult) as error:
        print(wrapped(str(error)), file=sys.stderr)
        return 1


def _say(text: str) -> None:
    print(wrapped(text), flush=True)


async def _run(given: TrialInput, *, check_seconds: float | None) -> int:
    began = time.monotonic()
    async with running_trial(given, _say) as trial:
        if check_seconds is not None:
            return await _check_offers(trial, check_seconds, began)
        _say(f"The hub runs after {time.monotonic() - began:.0f} s. Open this address in a browser:\n")
        print(f"    {trial.login_url}\n", flush=True)
        _say("Use kubectl with the embedded cluster:\n")
        print(f"    export KUBECONFIG={trial.cluster.kubeconfig}\n", flush=True)
        _say(f"The hub's log is {trial.log}. Ctrl-C stops the trial.")
        await asyncio.Event().wait()
    return 0


async def _check_offers(trial: RunningTrial, start_seconds: float, began: float) -> int:
    outcomes = await check(trial, start_seconds, _say)
    print(f"\n{table(outcomes)}\n")
    for sentence in not_tried(trial, outcomes):
        _say(sentence)
    wrong = sum(one.result != STARTS for one in outcomes)
    seconds = time.monotonic() - began
    if wrong or not outcomes:
        what = f"{wrong} of {len(outcomes)} starts failed" if outcomes else "Nobody is offered anything"
        _say(f"{what} ({seconds:.0f} s).")
        return 1
    _say(f"All {len(outcomes)} starts succeeded ({seconds:.0f} s).")
    return 0
