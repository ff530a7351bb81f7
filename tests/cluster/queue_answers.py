"""What the options form and "My work" say about queues, from the objects of a real scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from alice import Alice
from patience import eventually

from jupyter_research_spawner.schedulers import QueueUse, number_of
from jupyter_research_spawner.watch import FreeCapacity, NodeCache, QueueQuotas, free_capacity, offered_demands
from jupyter_research_spawner.watch.api_server import ApiServer
from jupyter_research_spawner.watch.connection import connect


@dataclass(frozen=True)
class Answers:
    """The form's label for each profile and queue, and the quotas of each queue, as they change."""

    alice: Alice
    free: FreeCapacity
    quotas: QueueQuotas

    async def use(self, queue: str) -> QueueUse | None:
        return (await self.quotas.report([queue])).queues.get(queue)

    async def becomes(self, queue: str, label: str | None, used: dict[str, str], profile: str = "small") -> None:
        """Wait until the form says this label and My work these numbers of each resource: used, slash, quota."""
        found: Any = None

        async def look() -> bool:
            nonlocal found
            answer, use = self.free.answers().get((profile, queue)), await self.use(queue)
            bars = {
                one.resource: "/".join(number_of(one.resource, amount) for amount in (one.used, one.quota))
                for one in (use.quotas if use is not None else ())
            }
            found = (answer and answer.label, bars)
            return found == (label, used)

        await eventually(look, every=0.1, otherwise=lambda: f"{queue} has {found} and not {(label, used)}")

    async def runs(self, name: str) -> None:
        await asyncio.to_thread(self.alice.runs, name)

    async def waits(self, name: str, said: str) -> None:
        await asyncio.to_thread(self.alice.keeps_waiting, name, said)

    async def follow_one_place(self, free: dict[str, str], full: dict[str, str], full_queue: str) -> None:
        """Start two notebooks in the queue climate, which has room for one.  The queue teaching only has a limit.

        free, full: the numbers of My work without and with a notebook.  full_queue: why the second one waits.
        """
        await self.becomes("climate", "Free now", free)
        await self.becomes("teaching", None, {"cpu": "0/0.15"})
        first = self.alice.notebook("first")
        await self.runs("first")
        await self.becomes("climate", "You would wait", full)
        self.alice.notebook("second")
        await self.waits("second", full_queue)
        await self.becomes("climate", "You would wait", full)
        await self.becomes("teaching", None, {"cpu": "0/0.15"})
        self.alice.api.delete(first)
        await self.runs("second")
        self.alice.api.delete(self.alice.pod("second"))
        await self.becomes("climate", "Free now", free)


@asynccontextmanager
async def queue_answers(alice: Alice, set_attribute: Callable[[object, str, object], None]) -> AsyncIterator[Answers]:
    """Watch the queues as hub and batch service do.  `set_attribute` is that of pytest's monkeypatch."""
    set_attribute(free_capacity, "REFRESH_SECONDS", 0.1)
    async with await connect(str(alice.ground.cluster.kubeconfig)) as client:
        server = ApiServer(client)
        free = FreeCapacity(
            server, alice.site, offered_demands(alice.site, {}), nodes := NodeCache(server, can_grow=True)
        )
        quotas = QueueQuotas(server, alice.site)
        try:
            yield Answers(alice, free, quotas)
        finally:
            for watches in (free, quotas, nodes):
                watches.close()
