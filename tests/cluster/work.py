"""Jobs of people through the batch service as it is, but for its HTTP, on a real cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from kubernetes_asyncio.client import ApiClient
from patience import eventually
from rig.api import Json
from rig.cluster import Cluster

from jupyter_research_spawner.batch.attempt_recorder import AttemptRecorder
from jupyter_research_spawner.batch.job_service import JobService
from jupyter_research_spawner.batch.job_store import JobStore
from jupyter_research_spawner.batch.rights_action import RightsActions
from jupyter_research_spawner.batch.rights_checker import RightsChecker
from jupyter_research_spawner.identity import Resolver
from jupyter_research_spawner.plan import RECHECK_SECONDS
from jupyter_research_spawner.schedulers import SCHEDULERS
from jupyter_research_spawner.site import Site
from jupyter_research_spawner.watch import NodeCache, OwnedObjectCache, Prerequisites, QueuePlaces
from jupyter_research_spawner.watch.api_server import ApiServer
from jupyter_research_spawner.watch.connection import connect


@dataclass(frozen=True)
class Jobs:
    """One person's, as the batch service shows them."""

    service: JobService
    person: str = "alice"

    def of(self, person: str) -> Jobs:
        return replace(self, person=person)

    async def submit(self, *command: str, **wishes: Any) -> str:
        """Its id."""
        body = {"command": [*command], "profile": "small", **wishes}
        return str((await self.service.submit(self.person, body))["id"])

    async def all(self) -> list[Json]:
        """Return the jobs of all pages."""
        page = await self.service.jobs(self.person)
        found = list(page["jobs"])
        while "continue" in page:
            page = await self.service.jobs(self.person, page["continue"])
            found += page["jobs"]
        return found

    async def output(self, job_id: str) -> str:
        pieces = await self.service.read(self.person, job_id, follow=False, tail=None)
        return b"".join([piece async for piece in pieces]).decode()

    async def cancel(self, job_id: str) -> None:
        await self.service.cancel(self.person, job_id)

    async def until(self, job_id: str, what: str, is_so: Callable[[Json], bool]) -> Json:
        job: Json = {}

        async def look() -> bool:
            nonlocal job
            job = await self.service.show(self.person, job_id)
            return is_so(job)

        await eventually(look, every=0.1, otherwise=lambda: f"{job_id} is not {what}, but {job}")
        return job

    async def in_state(self, job_id: str, state: str) -> Json:
        return await self.until(job_id, state, lambda job: job["state"] == state)


@asynccontextmanager
async def batch(
    cluster: Cluster,
    site: Site,
    server_of: Callable[[ApiClient], ApiServer] = ApiServer,
    every: float = RECHECK_SECONDS,
) -> AsyncIterator[Jobs]:
    """The batch service of that site with its watches. Every so many seconds it decides again about each job."""
    async with await connect(str(cluster.kubeconfig)) as client:
        server = server_of(client)
        store = JobStore(server, site.namespaces.name)
        owned_objects = OwnedObjectCache(server, site.namespaces.name, SCHEDULERS[site.scheduler.kind].watched)
        places = QueuePlaces(server, SCHEDULERS[site.scheduler.kind].ORDER, site.namespaces.name)
        nodes = NodeCache(server, can_grow=site.autoscaling)
        prerequisites = Prerequisites(server, cache_time=site.hub.prerequisites_cache)
        resolver = Resolver(site.identity)
        checker = RightsChecker(RightsActions(site, resolver, prerequisites, store, owned_objects, every), every)
        recorder = AttemptRecorder(store, owned_objects, checker.pods_changed)
        running = [asyncio.ensure_future(work) for work in (recorder.run(), owned_objects.run(), checker.run())]
        try:
            yield Jobs(JobService(site, resolver, prerequisites, store, owned_objects, places, nodes))
        finally:
            nodes.close()
            for task in running:
                task.cancel()
            await asyncio.wait(running)
