"""Measure the options form while it shows what is free on a large cluster: its pages, and finding out what is free.

The API server has nodes and pods of four pools, and the site's profiles need nodes of these pools.  Each second some
pods end, others begin, and nodes send their status, and the form is shown PAGES_PER_SECOND times.

The measurement runs in a process of its own, `python -m benchmarks.free_capacity_form PROFILES SECONDS`, which needs
KUBECONFIG.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from jupyter_research_spawner.site import Site
from jupyter_research_spawner.watch import Availability, FreeCapacity, NodeCache, offered_demands
from jupyter_research_spawner.watch.api_server import ApiServer
from jupyter_research_spawner.watch.connection import connect

from . import sides
from .form_page import most_ms, research_forms
from .hub import MeasurementFailed, api_server
from .processes import StartFailed, running, tail
from .sides import Json

# A class of 400 that opens the form within 40 seconds.
PAGES_PER_SECOND = 10
COMPUTATIONS = 9
# The benchmark's API server sorts all pods for each page of a list.
FIRST_ANSWER_SECONDS = 300.0
LIMIT_SECONDS = 600.0


@dataclass(frozen=True)
class FreeCapacityForm:
    """The CPU time in ms of half and of 99 % of the pages, of finding out once what is free, and of all but the pages.

    states: the number of profiles of which a page says that a server would start now, would wait, and so on.
    watch_ms_per_minute: the CPU time of the watches of nodes and pods, and of all computations of what is free.
    """

    nodes: int
    pods: int
    profiles: int
    states: dict[str, int]
    half_ms: float
    most_ms: float
    compute_ms: float
    watch_ms_per_minute: float

    def as_json(self) -> Json:
        return asdict(self)


async def measure(nodes: int, pods: int, profiles: int, seconds: float) -> FreeCapacityForm:
    """Return what one process measures beside an API server.  Raises StartFailed if one of the two fails."""
    with TemporaryDirectory(prefix="benchmark-") as directory:
        state, token = Path(directory), secrets.token_urlsafe(32)
        kubeconfig, log = state / "kubeconfig", state / "form.log"
        async with api_server(state, token, ["--nodes", str(nodes), "--other-pods", str(pods)]) as (url, _):
            kubeconfig.touch(mode=0o600)
            kubeconfig.write_text(json.dumps(sides.kubeconfig(url, token)))
            arguments = ["-m", "benchmarks.free_capacity_form", str(profiles), str(seconds)]
            async with running(arguments, log, {"KUBECONFIG": str(kubeconfig)}) as process:
                assert process.stdout is not None
                told = await asyncio.wait_for(process.stdout.read(), LIMIT_SECONDS)
                if await process.wait():
                    raise StartFailed(f"The form with free capacity could not be measured:\n{tail(log)}")
        return FreeCapacityForm(nodes, pods, profiles, **json.loads(told))


async def _measure(profiles: int, duration: float) -> Json:
    forms = await research_forms("plain", lambda settings: _use_pools(settings, profiles))
    site = forms.site
    async with await connect() as client:
        server = ApiServer(client)
        free = FreeCapacity(server, site, offered_demands(site, {}), NodeCache(server, can_grow=site.autoscaling))
        await _first_answer(free, site)
        forms.page(0, answers=free.answers())
        seconds: list[float] = []
        begun, cpu_before = time.monotonic(), time.process_time()
        while len(seconds) < duration * PAGES_PER_SECOND:
            cpu = time.process_time()
            forms.page(len(seconds), answers=free.answers())
            seconds.append(time.process_time() - cpu)
            await asyncio.sleep(max(0.0, begun + len(seconds) / PAGES_PER_SECOND - time.monotonic()))
        watching = time.process_time() - cpu_before - sum(seconds)
        minutes = (time.monotonic() - begun) / 60
        computing = []
        for _ in range(COMPUTATIONS):
            cpu = time.process_time()
            await free.compute()
            computing.append(time.process_time() - cpu)
        states = Counter(found.state if found else "unknown" for found in _answers(free, site))
        free.close()
    return {
        "states": states,
        "half_ms": 1000 * median(seconds),
        "most_ms": most_ms(seconds),
        "compute_ms": 1000 * median(computing),
        "watch_ms_per_minute": 1000 * watching / minutes,
    }


async def _first_answer(free: FreeCapacity, site: Site) -> None:
    deadline = time.monotonic() + FIRST_ANSWER_SECONDS
    while None in _answers(free, site):
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"After {FIRST_ANSWER_SECONDS:.0f} s it was not known what is free.")
        await asyncio.sleep(0.1)


def _answers(free: FreeCapacity, site: Site) -> list[Availability | None]:
    """Return what is known of each profile in the first queue."""
    queue = next(iter(site.queues))
    return [free.answers().get((name, queue)) for name in site.profiles]


def _use_pools(settings: Json, profiles: int) -> None:
    """Change the settings: profiles of all sizes that a node can have, on nodes of all pools."""
    small = settings["profiles"]["small"]
    settings["availability"] = "nodes"
    settings["profiles"] = {
        f"size-{number}": {
            **small,
            "title": f"Size {number}",
            "order": number,
            "cpu": 1 + number % sides.NODE_CPU,
            "pod": {"nodeSelector": {sides.POOL: sides.POOLS[number % len(sides.POOLS)]}},
        }
        for number in range(1, profiles + 1)
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(int(sys.argv[1]), float(sys.argv[2])))))
