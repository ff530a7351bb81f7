"""Watches the nodes of the cluster while notebooks or jobs wait, and keeps only their sizes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeVar

from ..shape import Json
from .api_server import ApiServer
from .follow import follow
from .node_sizes import Amounts, NodeSizes, daemon_set_amounts, node_amounts, node_sizes
from .while_read import run_while_read

NODES = "/api/v1/nodes"
DAEMON_SETS = "/apis/apps/v1/daemonsets"
# Without a reader for this long, the watches end. Each node sends its status every five minutes.
IDLE_SECONDS = 600.0
# A page waits this long for the first list of nodes, and is then shown without it.
FIRST_LIST_SECONDS = 2.0
Kept = TypeVar("Kept")


class NodeCache:
    """The sizes of all nodes, from watches that run only while `sizes` is called.

    If RBAC does not allow listing nodes, there are no sizes. If it does not allow listing DaemonSets, their use is not
    subtracted. `follow` logs the missing right.
    """

    def __init__(self, server: ApiServer, *, can_grow: bool) -> None:
        self._server = server
        self._can_grow = can_grow
        self._nodes: Mapping[str, Amounts] | None = None
        self._daemon_sets: Mapping[str, tuple[int, Amounts]] | None = None
        self._sizes = NodeSizes(can_grow=can_grow)
        self._watching: asyncio.Task[None] | None = None
        self._listed = asyncio.Event()
        self._used = 0.0

    def sizes(self) -> NodeSizes:
        """Return the sizes from memory; without nodes until they are listed. Starts the watches if none run."""
        self._used = time.monotonic()
        if self._watching is None or self._watching.done():
            self._nodes = self._daemon_sets = None
            self._listed.clear()
            self._compute()
            watches = (self._watch_nodes(), self._watch_daemon_sets())
            self._watching = asyncio.ensure_future(run_while_read(watches, self._seconds_since_read, IDLE_SECONDS))
        return self._sizes

    async def has_been_listed(self) -> bool:
        """Wait at most FIRST_LIST_SECONDS for a first list that is under way, and return whether it has come now."""
        if self._watching is None or self._listed.is_set():
            return False
        try:
            await asyncio.wait_for(self._listed.wait(), FIRST_LIST_SECONDS)
        except asyncio.TimeoutError:
            self._listed.set()  # not granted or slow: later pages do not wait
            return False
        return True

    def close(self) -> None:
        """End the watches."""
        if self._watching is not None:
            self._watching.cancel()

    def _seconds_since_read(self) -> float:
        return time.monotonic() - self._used

    async def _watch_nodes(self) -> None:
        async for kept in _follow_kept(self._server, NODES, node_amounts):
            self._nodes = kept
            self._compute()
            self._listed.set()

    async def _watch_daemon_sets(self) -> None:
        async for kept in _follow_kept(self._server, DAEMON_SETS, daemon_set_amounts):
            self._daemon_sets = kept
            self._compute()

    def _compute(self) -> None:
        nodes = (self._nodes or {}).values()
        of_sets = None if self._daemon_sets is None else self._daemon_sets.values()
        self._sizes = node_sizes([*nodes], of_sets, can_grow=self._can_grow)


async def _follow_kept(server: ApiServer, path: str, keep: Callable[[Json], Kept]) -> AsyncIterator[dict[str, Kept]]:
    """Yield what is kept of all objects at `path`, by name, after each change of it."""
    kept: dict[str, Kept] | None = None
    async for change in follow(server, path, {}):
        now: dict[str, Kept] = {} if kept is None or change.kind == "listed" else dict(kept)
        for found in change.objects:
            metadata = found["metadata"]
            name = f"{metadata.get('namespace', '')}/{metadata['name']}"
            if change.kind == "deleted":
                now.pop(name, None)
            else:
                now[name] = keep(found)
        if now != kept:
            kept = now
            yield kept
