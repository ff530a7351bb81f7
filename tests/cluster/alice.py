"""alice's notebooks and jobs in a namespace, as the product's own code makes them and describes their state."""

from __future__ import annotations

import asyncio
import copy
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

import samples
from ground import JOB, Ground
from rig.api import Json, until
from work import Jobs, batch

from jupyter_research_spawner.identity import PosixIdentity, Resolver
from jupyter_research_spawner.jobs import job, notebook, parse_submission
from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.plan import Plan, Request, plan
from jupyter_research_spawner.pod import check, compose
from jupyter_research_spawner.schedulers import SCHEDULERS, Objects, QueueStatus, Reason, why
from jupyter_research_spawner.shape import NOTEBOOK_KIND, Shape, Slots
from jupyter_research_spawner.site import Site
from jupyter_research_spawner.watch import Phase, classify

MAIN = notebook.SLOTS.main
# Ten cycles of each scheduler.
CYCLES_SECONDS = 2


class Alice:
    """alice's pods and jobs under a site's settings, and what the product says about them."""

    def __init__(self, ground: Ground, settings: Json) -> None:
        self.ground = ground
        self.api = ground.cluster.api
        self.namespace = ground.namespace
        self.settings = settings
        self.site = Site.model_validate(settings)
        self.scheduler = SCHEDULERS[self.site.scheduler.kind]

    @cached_property
    def identity(self) -> PosixIdentity:
        # In a thread of its own: a test that is a coroutine has a loop that runs already.
        with ThreadPoolExecutor(1) as own:
            return own.submit(asyncio.run, Resolver(self.site.identity).resolve("alice")).result()

    def priorities(self) -> list[Json]:
        return everything(self.site, Release(), only=["priorities"])

    def decide(self, kind: str, name: str, *, gang: int = 1, **wishes: Any) -> Plan:
        request = Request(shape=Shape(kind, name, gang, gang), hub_user="alice", **{"profile": "small", **wishes})
        # A run of its own, as the hub gives each: YuniKorn puts what has the same into one application.
        return plan(self.site, self.identity, request, run_id=uuid.uuid4().hex, now=datetime.now(timezone.utc))

    def notebook(
        self, name: str, *command: str, edit: Callable[[Json], None] = lambda pod: None, **wishes: Any
    ) -> Json:
        """Create a notebook as the hub sends it, with another program. `edit` changes the manifest after the checks."""
        base = samples.notebook_pod()
        base["metadata"]["name"] = name
        base["spec"]["securityContext"] = {}
        base["spec"]["containers"][0] |= {"image": JOB, "command": [*command] or ["sleep", "600"]}
        return self._send(self.decide(NOTEBOOK_KIND, name, **wishes), base, notebook.SLOTS, edit)

    def gang(self, name: str, size: int, *command: str, **wishes: Any) -> Json:
        """Create an Indexed Job (KEP-2214) whose pods have to start together."""
        decided = self.decide(job.KIND, name, gang=size, **wishes)
        one = job.manifest(decided, parse_submission({"command": [*command]}).request, self.site.batch)
        one["spec"] |= {"completionMode": "Indexed", "completions": size, "parallelism": size}
        return self._send(decided, one, job.SLOTS)

    def _send(
        self, decided: Plan, base: Json, slots: Slots, edit: Callable[[Json], None] = lambda manifest: None
    ) -> Json:
        manifest = compose(decided, base, slots)
        check(decided, manifest, slots)
        manifest = copy.deepcopy(manifest)
        edit(manifest)
        created: Json = self.api.create(manifest)
        return created

    def pod(self, name: str) -> Json:
        found: Json = self.api.get("v1", "Pod", name, self.namespace)
        return found

    def pods_of(self, name: str) -> list[Json]:
        """Return the pods of the job of that name."""
        found: list[Json] = self.api.all_of("v1", "Pod", self.namespace, labelSelector=f"job-name={name}")
        return found

    def objects(self, obj: Json) -> Objects:
        """Return the scheduler's own objects about a pod or a job."""
        owners = {obj["metadata"]["uid"], *(owner["uid"] for owner in obj["metadata"].get("ownerReferences", []))}
        found = {
            kind.kind: [
                beside
                for beside in self.api.all_of(kind.api_version, kind.kind, self.namespace)
                if owners & {owner["uid"] for owner in beside["metadata"].get("ownerReferences", [])}
            ]
            for kind in self.scheduler.watched
        }
        return Objects({kind: objects for kind, objects in found.items() if objects})

    def status(self, name: str) -> QueueStatus:
        pod = self.pod(name)
        return self.scheduler.status(pod, self.objects(pod), ())

    def why(self, pod: Json) -> str:
        """Return why that pod waits."""
        return why(self.scheduler.status(pod, self.objects(pod), ()))

    def phase(self, name: str) -> Phase:
        return self.phase_of(self.pod(name))

    def phase_of(self, pod: Json) -> Phase:
        """Return the phase of that pod, as pages and the hub show it."""
        objects = self.objects(pod)
        status, eviction = self.scheduler.status(pod, objects, ()), self.scheduler.eviction(pod, objects)
        return classify(pod, status, pod["spec"]["containers"][0]["name"], eviction)

    def waits(self, name: str, said: str) -> QueueStatus:
        """Wait until that is why the pod waits, and return the status."""

        def look() -> QueueStatus | None:
            status = self.status(name)
            return status if why(status) == said else None

        try:
            return until(look, f"{name}: {said}")  # type: ignore[return-value]
        except TimeoutError as error:
            raise TimeoutError(f"{error} It says: {self.status(name)}") from None

    def keeps_waiting(self, name: str, said: str) -> None:
        """Wait until that is why the pod waits, and see that it still is after some cycles of the scheduler."""
        self.waits(name, said)
        time.sleep(CYCLES_SECONDS)
        assert (self.phase(name).name, why(self.status(name))) == ("queued", said)

    def runs(self, name: str) -> Json:
        """Wait until the pod runs, and return it."""

        def look() -> Json | None:
            pod = self.pod(name)
            return pod if pod["status"].get("phase") == "Running" else None

        found = until(look, f"{name} runs")
        assert found
        return found

    def last_of(self, name: str) -> tuple[Json, Reason | None]:
        """Wait until the pod is gone. Return how it was last seen, and the reason for its end."""
        seen: list[Json] = []

        def is_gone() -> bool:
            pod = self.api.find("v1", "Pod", name, self.namespace)
            if pod is not None:
                seen.append(pod)
            return pod is None

        until(is_gone, f"{name} is gone", every=0.03)
        return seen[-1], self.scheduler.eviction(seen[-1], Objects())

    def batch(self) -> AbstractAsyncContextManager[Jobs]:
        """Return a context with the batch service of this site."""
        return batch(self.ground.cluster, self.site)

    def clean(self) -> None:
        """Remove all pods, jobs and objects of the scheduler."""
        self.ground.clean()
        for kind in self.scheduler.watched:
            self.api.delete_all(kind.api_version, kind.kind, self.namespace)
