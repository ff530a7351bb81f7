"""The commands `python -m rig build|up|down`, which `make cluster` and `make test-cluster` run."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import images, layers, machine, programs
from .cgroups import NoCgroups
from .cluster import Cluster, sweep
from .containerd import DidNotImport
from .network import NoNetwork
from .processes import DidNotStart

CORE = ("kubernetes", "etcd", "containerd")
# The message of each is a sentence that says what failed and why.
CANNOT = (
    machine.CannotRun,
    programs.CannotBuild,
    layers.CannotBuildImage,
    DidNotStart,
    DidNotImport,
    NoCgroups,
    NoNetwork,
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="rig", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", help="build programs and images that are not there yet")
    build.add_argument("names", nargs="*", help="programs of programs.yaml (default: all)")
    build.add_argument("--minutes", type=float, help="begin no program that would not end within so many minutes")
    for verb, help_ in (("up", "start a cluster and leave it up"), ("down", "end it; nothing of it stays but logs")):
        verbs.add_parser(verb, help=help_).add_argument("--state", type=Path, default=Path(".cluster"))
    options = parser.parse_args()
    try:
        return _run(options)
    except CANNOT as error:
        print(error, file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    if options.verb == "down":
        sweep(options.state.absolute())
        print("Nothing of the cluster runs any more.")
        return 0
    machine.examine(to_build=CORE if options.verb == "up" else options.names or None)
    if options.verb == "build":
        programs.build(options.names or None, budget_minutes=options.minutes)
        images.build()
        return 0
    programs.build(CORE)
    _up(options.state.absolute())
    return 0


def _up(state: Path) -> None:
    began = time.monotonic()
    cluster = start(state)
    cluster.add_node().import_images(images.write)
    print(f"A cluster of one node is up after {time.monotonic() - began:.0f} s.  To look around, or to see the tour:\n")
    print(f"    export KUBECONFIG={cluster.kubeconfig}")
    print(f"    make demo KUBECONFIG={cluster.kubeconfig}\n")
    print(f"`make cluster-down` ends it; its logs are in {state / 'logs'}")


def start(state: Path) -> Cluster:
    """Start a cluster without nodes from the programs that were built."""
    built = programs.Programs()
    return Cluster.start(state, built.binary, built.source)


if __name__ == "__main__":
    sys.exit(main())
