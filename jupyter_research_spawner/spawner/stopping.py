"""What a stop waits for: in the log, and in the server's state (REST, for admins); the hub has no page for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..watch.phase import why_not_gone

if TYPE_CHECKING:
    from .research import ResearchSpawner

SECONDS_BETWEEN = 1.0


async def tell(spawner: ResearchSpawner) -> None:
    """Until it is cancelled.  Looks at what is in memory already."""
    while True:
        await asyncio.sleep(SECONDS_BETWEEN)
        reflector = spawner.pod_reflector
        pod = reflector.pods.get(f"{spawner.namespace}/{spawner.pod_name}") if reflector else None
        why = why_not_gone(pod) if pod else ""
        if why and why != spawner._stop_waits_for:
            spawner.log.warning("Stopping %s: %s", spawner._log_name, why)
        spawner._stop_waits_for = why
