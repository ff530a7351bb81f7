"""How large the measurements are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """The numbers of starts, servers, events and so on, as the bars of `bars.py` name them.

    The seconds are those for which an idle hub, its memory, and the form with free capacity are observed, and those in
    which a hub handles the last changes before it is measured.
    """

    starts: int = 400
    few_starts: int = 100
    many_starts: int = 1_600
    foreign_events: int = 10_000
    queued: int = 1_000
    jobs: int = 2_000
    idle_servers: int = 500
    idle_seconds: float = 60.0
    remembered_events: int = 35_000
    remembered_seconds: float = 40.0
    settle_seconds: float = 10.0
    nodes: int = 5_000
    kwok_nodes: int = 2_000
    profiles: int = 200
    few_profiles: int = 8
    free_pods: int = 20_000
    free_seconds: float = 20.0
    clicks: int = 15


# To try the measurements.  Their numbers mean nothing.
SMALL = Sizes(2, 1, 3, 10, 2, 3, 2, 1.0, 10, 1.0, 0.1, 10, 10, 3, 2, 20, 1.0, 2)
