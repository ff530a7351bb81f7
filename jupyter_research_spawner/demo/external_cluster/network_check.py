"""Check before the tour that pods can connect to the hub on this machine, and that this machine can connect to pods."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ..demo_cluster import CannotStart
from .node_choice import Node

SECONDS = 15.0
_CALL_SECONDS = 3.0


def address_towards(node: str) -> str:
    """Return this machine's IPv4 address on the route to `node`, without sending anything.  Raises CannotStart."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect((node, 9))
        except OSError as error:
            raise CannotStart(f"This machine has no route to the node's address {node}: {error.strerror}.") from None
        return str(route.getsockname()[0])


@dataclass(frozen=True)
class Ear:
    """A listening socket at `address`.  `heard` is set when a pod has sent the expected word."""

    address: str
    heard: asyncio.Event


@contextlib.asynccontextmanager
async def listening(address: str, word: str) -> AsyncIterator[Ear]:
    """Listen on a free port until a pod sends `word`."""
    heard = asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            if await asyncio.wait_for(reader.read(len(word)), _CALL_SECONDS) == word.encode():
                heard.set()
        writer.close()

    server = await asyncio.start_server(hear, address, 0)
    try:
        yield Ear(f"{address}:{server.sockets[0].getsockname()[1]}", heard)
    finally:
        server.close()


async def both_ways(ear: Ear, node: Node, pod: str, port: int, word: str) -> None:
    """Check that the pod sends `word` to this machine, and also sends it when this machine connects to the pod.

    `pod` is the pod's IP address.  Raises CannotStart.
    """
    from_pods = asyncio.create_task(_within(ear.heard.wait()))
    to_pods = asyncio.create_task(_within(_answers(pod, port, word)))
    try:
        is_heard, is_answered = await asyncio.gather(from_pods, to_pods)
    finally:
        from_pods.cancel()
        to_pods.cancel()
    if is_heard and is_answered:
        return
    missing = []
    if not is_heard:
        missing.append(f"pods cannot reach this machine at {ear.address}")
    if not is_answered:
        missing.append(f"this machine cannot reach pods (tried {pod}:{port})")
    raise CannotStart(_sentence(" and ".join(missing), node, is_answered=is_answered))


async def _within(waiting: object) -> bool:
    try:
        await asyncio.wait_for(waiting, SECONDS)  # type: ignore[arg-type]
    except asyncio.TimeoutError:
        return False
    return True


async def _answers(pod: str, port: int, word: str) -> None:
    while True:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            reader, writer = await asyncio.wait_for(asyncio.open_connection(pod, port), _CALL_SECONDS)
            try:
                if await asyncio.wait_for(reader.read(len(word)), _CALL_SECONDS) == word.encode():
                    return
            finally:
                writer.close()
        await asyncio.sleep(0.3)


def _sentence(missing: str, node: Node, *, is_answered: bool) -> str:
    route = ""
    if not is_answered:
        command = f"ip route add {node.pods or 'PODS'} via {node.address}"
        route = f". For kind, add a route from this machine to its pods: {command}"
    return (
        f"The hub runs on this machine, and {missing}. Use a cluster whose node is this machine (k3s, "
        f"`make cluster`){route}. A firewall between this machine and the nodes must allow both directions."
    )
