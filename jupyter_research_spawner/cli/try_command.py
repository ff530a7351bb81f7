"""`research-spawner try`: its options, and what it needs.  try_run.py runs it."""

from __future__ import annotations

import argparse
import math
from importlib.util import find_spec
from pathlib import Path

from ..refusal import Refusal
from ..wording import format_list
from .files import SettingsFiles

# Of the extra `demo`: the embedded cluster makes a certificate, and its notebooks are JupyterLab.
_NEEDED = ("cryptography", "ipykernel", "jupyterlab")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command, besides those that name the settings."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="jupyterhub_config.py with KubeSpawner's settings and hooks"
    )
    parser.add_argument(
        "--people",
        nargs=2,
        type=Path,
        metavar=("PASSWD", "GROUP"),
        help="files in the format of passwd(5) and group(5) with the users. Default: three invented members of each "
        "group that the settings name",
    )
    parser.add_argument(
        "--nodes",
        action="append",
        default=[],
        metavar="SIZE",
        help="size and number of nodes, for example cpu=64,memory=512Gi,gpu=4,count=3. More keys: label:NAME=VALUE and "
        "resource:NAME=COUNT. It can be repeated. Default: nodes on which every profile fits",
    )
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="port of the hub (default: %(default)s)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="start each offer for one user of each group, print a table, and exit with 1 if an offer does not start",
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        default="120",
        metavar="SECONDS",
        help="time after which --check gives up a start, whose result is then `waits` (default: %(default)s)",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def check_requirements() -> None:
    """Raise Refusal if a package is not installed."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        why = f"{format_list(missing)} {'are' if len(missing) > 1 else 'is'} not installed."
        raise Refusal("not-installed", why, hint="Install it: pip install 'jupyter-research-spawner[demo]'")


def run(parser: argparse.ArgumentParser, options: argparse.Namespace, files: SettingsFiles) -> int:
    """Run the command and return its exit code."""
    # The import of the hub and of the embedded cluster takes seconds, and the other commands do not need them.
    from .try_run import try_site  # noqa: PLC0415

    return try_site(parser, options, files)
