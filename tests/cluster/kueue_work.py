"""alice's notebooks and jobs on a cluster with Kueue, whose one ClusterQueue has room for one at a time."""

from __future__ import annotations

from typing import Any

from alice import Alice
from ground import JOB, Ground
from rig.api import Api, Json
from rig.controllers.kueue import API, Kueue

from jupyter_research_spawner.site import Site

# A pod of profile small; those of large are more than all there is.
ROOM = {"cpu": "500m", "memory": "1Gi"}


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


class Work(Alice):
    """What she has under Kueue; `changes` are to the site's settings."""

    def __init__(self, kueue: Kueue, ground: Ground, **changes: Any) -> None:
        self.kueue = kueue
        self.written = site_on(ground, **changes)
        super().__init__(ground, self.written)

    def lay_out(self) -> None:
        """What the site needs in the cluster."""
        self.api.apply(*self.priorities(), *queue_objects(self.site))

    def as_account(self, name: str) -> Api:
        """The API server as a ServiceAccount of the namespace."""
        plane = self.kueue.cluster.plane
        pair = plane.authority.pair(f"account-{name}", common_name=f"system:serviceaccount:{self.namespace}:{name}")
        return Api(plane.url, str(plane.authority.certificate), pair=pair)

    def workload(self, owner: Json) -> Json:
        """Kueue's own word about a pod or a job; {} while there is none."""
        return self.objects(owner).one("Workload")

    def clean(self) -> None:
        super().clean()
        self.lay_out()
