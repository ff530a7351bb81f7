"""alice's notebooks and jobs on a cluster with Kueue, whose one ClusterQueue has room for one at a time."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import samples
from ground import JOB, Ground
from rig.api import Api, Json, until
from rig.controllers.kueue import API, Kueue
from work import Jobs, batch

from jupyter_research_spawner.identity import PosixIdentity, Resolver
from jupyter_research_spawner.jobs import notebook
from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.plan import Plan, Request, plan
from jupyter_research_spawner.pod import check, compose
from jupyter_research_spawner.schedulers import SCHEDULERS, Objects, QueueStatus, Reason
from jupyter_research_spawner.shape import NOTEBOOK_KIND, Shape
from jupyter_research_spawner.site import Site

MAIN = notebook.SLOTS.templates[0].main
SCHEDULER = SCHEDULERS["kueue"]
# A pod of profile small; those of large are more than all there is.
ROOM = {"cpu": "500m", "memory": "1Gi"}
PATIENCE_SECONDS = 60


def site_on(ground: Ground, **changes: Any) -> Json:
    """SITE with Kueue, a queue of a higher priority, and pods that end soon after they are asked to."""
    site = ground.site(scheduler={"kind": "kueue"}, **changes)
    site["priorities"] = {**site["priorities"], "high": {"value": 100}}
    site["queues"] = {**site["queues"], "urgent": {"groups": {"climate": True}, "priority": "high", "order": 50}}
    for profile in site["profiles"].values():
        profile |= {"images": {"default": JOB}, "pod": {"terminationGracePeriodSeconds": 2}}
    return site


def queue_objects(site: Site) -> list[Json]:
    """One ClusterQueue in which the more important may take another's place, and a LocalQueue for each of ours."""
    quota = [{"name": resource, "nominalQuota": amount} for resource, amount in ROOM.items()]
    flavors = [{"name": "any-node", "resources": quota}]
    return [
        {"apiVersion": API, "kind": "ResourceFlavor", "metadata": {"name": "any-node"}},
        {
            "apiVersion": API,
            "kind": "ClusterQueue",
            "metadata": {"name": "research"},
            "spec": {
                "namespaceSelector": {},
                "preemption": {"withinClusterQueue": "LowerPriority"},
                "resourceGroups": [{"coveredResources": [*ROOM], "flavors": flavors}],
            },
        },
        *(local_queue(name, site.namespaces.name) for name in site.queues),
    ]


def local_queue(name: str, namespace: str, **spec: Any) -> Json:
    return {
        "apiVersion": API,
        "kind": "LocalQueue",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterQueue": "research", **spec},
    }


@dataclass
class Work:
    """What there is of it in the cluster, and what our own rooms say about it."""

    kueue: Kueue
    ground: Ground
    alice: PosixIdentity
    changes: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.api = self.ground.cluster.api
        self.namespace = self.ground.namespace
        self.written = site_on(self.ground, **self.changes)
        self.site = Site.model_validate(self.written)

    @classmethod
    def of(cls, kueue: Kueue, ground: Ground) -> Work:
        site = Site.model_validate(site_on(ground))
        return cls(kueue, ground, asyncio.run(Resolver(site.identity).resolve("alice")))

    def lay_out(self) -> None:
        """What the site needs in the cluster."""
        self.api.apply(*everything(self.site, Release(), only=["priorities"]), *queue_objects(self.site))

    def as_account(self, name: str) -> Api:
        """The API server as a ServiceAccount of the namespace."""
        plane = self.kueue.cluster.plane
        pair = plane.authority.pair(f"account-{name}", common_name=f"system:serviceaccount:{self.namespace}:{name}")
        return Api(plane.url, str(plane.authority.certificate), pair=pair)

    def decide(self, name: str, **wishes: Any) -> Plan:
        request = Request(shape=Shape(NOTEBOOK_KIND, name), hub_user="alice", profile="small", **wishes)
        return plan(self.site, self.alice, request, run_id=samples.RUN_ID, now=datetime.now(timezone.utc))

    def notebook(
        self, name: str, *command: str, edit: Callable[[Json], None] = lambda pod: None, **wishes: Any
    ) -> Json:
        """alice's notebook as the hub sends it, with another program in it; `edit` is what nobody should do to it."""
        base = samples.notebook_pod()
        base["metadata"]["name"] = name
        base["spec"]["securityContext"] = {}
        base["spec"]["containers"][0] |= {"image": JOB, "command": [*command] or ["sleep", "600"]}
        decided = self.decide(name, **wishes)
        manifest = compose(decided, base, notebook.SLOTS)
        check(decided, manifest, notebook.SLOTS)
        manifest = copy.deepcopy(manifest)
        edit(manifest)
        created: Json = self.api.create(manifest)
        return created

    def pod(self, name: str) -> Json:
        found: Json = self.api.get("v1", "Pod", name, self.namespace)
        return found

    def workload(self, owner: Json) -> Json:
        """Kueue's own word about a pod or a job; {} while there is none."""
        uid = owner["metadata"]["uid"]
        found = self.api.all_of(API, "Workload", self.namespace, labelSelector=f"kueue.x-k8s.io/job-uid={uid}")
        return found[0] if found else {}

    def objects(self, owner: Json) -> Objects:
        workload = self.workload(owner)
        return Objects({"Workload": [workload]} if workload else {})

    def status(self, name: str) -> QueueStatus:
        pod = self.pod(name)
        return SCHEDULER.status(pod, self.objects(pod), ())

    def waits(self, name: str, said: str) -> QueueStatus:
        """Its status as soon as it is that sentence."""

        def look() -> QueueStatus | None:
            status = self.status(name)
            return status if status.message == said else None

        try:
            return until(look, PATIENCE_SECONDS, f"{name}: {said}")  # type: ignore[return-value]
        except TimeoutError as error:
            raise TimeoutError(f"{error} It says: {self.status(name)}") from None

    def runs(self, name: str) -> Json:
        """The pod as soon as its program runs."""

        def look() -> Json | None:
            pod = self.pod(name)
            return pod if pod["status"].get("phase") == "Running" else None

        found = until(look, PATIENCE_SECONDS, f"{name} runs")
        assert found
        return found

    def last_of(self, name: str) -> tuple[Json, Reason | None]:
        """The pod as it was last seen before it went, and why it went, as our rooms say."""
        seen: list[Json] = []

        def is_gone() -> bool:
            pod = self.api.find("v1", "Pod", name, self.namespace)
            if pod is not None:
                seen.append(pod)
            return pod is None

        until(is_gone, PATIENCE_SECONDS, f"{name} is gone", every=0.03)
        return seen[-1], SCHEDULER.eviction(seen[-1], Objects())

    def clean(self) -> None:
        for kind in (("batch/v1", "Job"), ("v1", "Pod")):
            for obj in self.api.all_of(*kind, self.namespace):
                self.api.delete(obj, gracePeriodSeconds=0)
        for kind in (("batch/v1", "Job"), ("v1", "Pod"), (API, "Workload")):
            self.api.delete_all(*kind, self.namespace)
        self.lay_out()

    def batch(self) -> AbstractAsyncContextManager[Jobs]:
        """The batch service of this site."""
        return batch(self.kueue.cluster, self.site)
