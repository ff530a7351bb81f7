"""A hub of this machine whose pods run in the cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ground import Ground
from hub import Hub
from rig.api import Json


class RealHub(Hub):
    """A hub of this machine whose pods run in the cluster."""

    def __init__(self, version: int, state: Path, ground: Ground) -> None:
        super().__init__(version, state, ground.cluster, ground.cluster.network.address)
        self.ground = ground

    def pods(self) -> list[Json]:
        return self.ground.pods()

    def inside(self, *command: str, container: str = "notebook") -> str:
        """What a command prints in the one notebook pod."""
        (pod,) = self.pods()
        return self.ground.cluster.inside(pod, *command, container=container)


@asynccontextmanager
async def run_hub(version: int, state: Path, ground: Ground, site: Json, extra: str) -> AsyncIterator[RealHub]:
    """Run a hub with these settings of the site, and with `extra` at the end of its configuration."""
    found = RealHub(version, state, ground)
    found.write(site, extra=extra)
    try:
        await found.start()
        yield found
    finally:
        await found.close()
