"""Run the embedded cluster until SIGTERM or Ctrl-C: `python -m jupyter_research_spawner.embedded`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from .cluster import Cluster
from .node.kubelet import NodeSpec


def node_spec(text: str) -> NodeSpec:
    """Parse NAME=cpu[,memory][,label=value...] from the command line."""
    name, equals, rest = text.partition("=")
    cpu, *more = rest.split(",")
    if not (name and equals and cpu):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=cpu[,memory][,label=value...], such as node-1=4,16Gi,zone=a"
        )
    memory = next((part for part in more if "=" not in part), "16Gi")
    labels = dict(part.split("=", 1) for part in more if "=" in part)
    return NodeSpec(name, cpu, memory, labels)


def claim(text: str) -> tuple[str, Path]:
    """Parse NAME=DIRECTORY from the command line."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not CLAIM=DIRECTORY, such as home=/srv/home")
    return name, Path(path)


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m jupyter_research_spawner.embedded", description=__doc__)
    parser.add_argument(
        "--state",
        type=Path,
        required=True,
        metavar="DIR",
        help="directory for the cluster's files, such as the kubeconfig (mode 0600)",
    )
    parser.add_argument(
        "--node",
        type=node_spec,
        action="append",
        metavar="NAME=cpu[,memory][,label=value...]",
        help="node to create; can be repeated",
    )
    parser.add_argument("--namespace", default="default", help="namespace to create; the default of the kubeconfig")
    parser.add_argument(
        "--claim",
        type=claim,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="PersistentVolumeClaim to create in the namespace, with its files in DIR; can be repeated",
    )
    parser.add_argument(
        "--expose",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="directory that all containers can read at the same path",
    )
    parser.add_argument("--port", type=int, default=0)
    return parser.parse_args(argv)


async def run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    cluster = await Cluster.start(
        options.state,
        options.node or [NodeSpec("node-1")],
        namespace=options.namespace,
        claims=dict(options.claim),
        expose=options.expose,
        port=options.port,
    )
    print(f"{cluster.url}  KUBECONFIG={cluster.kubeconfig}", flush=True)
    try:
        await stop.wait()
    finally:
        await cluster.stop()


def main() -> int:
    try:
        asyncio.run(run(arguments(sys.argv[1:])))
    except RuntimeError as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
