"""Start everything that the tour needs: a prepared cluster, and a hub with a proxy and the batch service."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..identity import Resolver
from ..shape import Json
from ..site import load
from . import hub
from .cluster_api import Api, connected
from .demo_cluster import CannotStart, DemoCluster, People, PreparedCluster, Say, settings
from .state_directory import locked

NAMES = ("alice", "bob", "carol")


@dataclass(frozen=True)
class RunningDemo:
    """The running cluster and hub, and the users of the tour."""

    cluster: PreparedCluster
    hub: hub.Hub
    people: People
    api: Api

    async def pods(self) -> list[Json]:
        """Return all pods of the demo from the API server."""
        return await self.api.list("v1", "Pod", self.cluster.site.namespaces.name)


@contextlib.asynccontextmanager
async def set_up(ground: DemoCluster, state: Path, say: Say) -> AsyncIterator[RunningDemo]:
    """Start the cluster and the hub with files below `state`, and stop both at the end.  Raises CannotStart."""
    hub.needs_proxy()
    resolver = Resolver(load(settings()).identity)
    people = {name: await resolver.resolve(name) for name in NAMES}
    with _alone(state):
        # Libraries log to a file, so that their messages do not disturb the tour.
        logging.basicConfig(filename=state / "demo.log", filemode="w")
        hub.end_leftovers(state)
        async with (
            ground.prepared(state, people, say) as cluster,
            connected(cluster.kubeconfig) as api,
            hub.running(state, cluster) as started,
        ):
            yield RunningDemo(cluster, started, people, api)


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Lock the directory `state`, because two demos with the same directory would stop each other's pods."""
    state.mkdir(mode=0o755, parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(state))
        except BlockingIOError:
            raise CannotStart(
                f"Another demo is running in {state}. Stop it with Ctrl-C, or choose another directory with --state."
            ) from None
        yield
