"""Schedulers set up alike: one queue with room for little more than one object, which researchers take from others.

In each, work in `backfill` gives way to that in `climate`, and nothing is taken from `teaching`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ground import JOB, Ground
from kinds import Stoppable
from kueue_work import local_queue
from rig.api import Json
from rig.cluster import Cluster
from rig.controllers import kai, kueue, volcano
from rig.controllers.kai import Kai
from rig.controllers.kueue import Kueue
from rig.controllers.volcano import Volcano
from rig.controllers.yunikorn import YuniKorn

# Of CPU, in thousandths.
ROOM = 400
QUEUES = ("climate", "backfill", "teaching")
GANG = 3


@dataclass(frozen=True)
class Queueing:
    """One scheduler and its one queue with ROOM.

    kind: in a site's settings.  objects: what it needs in a namespace.  option: its settings of one of QUEUES.
    gang: how many pods our marks say start together; not every scheduler knows a mark for that.
    """

    kind: str
    start: Callable[[Cluster], Stoppable]
    objects: Callable[[str], list[Json]]
    option: Callable[[str], Json]
    gang: int

    def settings(self, ground: Ground) -> Json:
        """SITE with it; a pod of profile small asks for 100m of CPU."""
        site = ground.site(scheduler={"kind": self.kind})
        # None below 0: JobSet writes a pod's priority into a label, and such pods are refused.
        site["priorities"]["high"] = {"value": 100}
        for name in QUEUES:
            site["queues"][name] |= {self.kind: self.option(name), "priority": "high"}
        site["queues"]["backfill"]["priority"] = "normal"
        site["profiles"]["small"] |= {
            "cpu": "100m",
            "memory": "64Mi",
            "images": {"default": JOB},
            "pod": {"terminationGracePeriodSeconds": 1},
        }
        return site


# Of the kinds that tests make.  Kueue knows no Workflow: its pods are queued one by one.
FRAMEWORKS = (
    *kueue.FRAMEWORKS,
    *("jobset.x-k8s.io/jobset", "kubeflow.org/mpijob", "trainer.kubeflow.org/trainjob", "ray.io/raycluster"),
)


def kueue_objects(namespace: str) -> list[Json]:
    quota = [{"name": "cpu", "nominalQuota": f"{ROOM}m"}, {"name": "memory", "nominalQuota": "20Gi"}]
    flavor = {"name": "any-node", "resources": quota}
    spec = {
        "namespaceSelector": {},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [{"coveredResources": ["cpu", "memory"], "flavors": [flavor]}],
    }
    return [
        {"apiVersion": kueue.API, "kind": "ResourceFlavor", "metadata": {"name": "any-node"}},
        {"apiVersion": kueue.API, "kind": "ClusterQueue", "metadata": {"name": "research"}, "spec": spec},
        *(local_queue(name, namespace) for name in QUEUES),
    ]


def volcano_objects(namespace: str) -> list[Json]:
    spec = {"weight": 1, "capability": {"cpu": f"{ROOM}m"}}
    return [{"apiVersion": volcano.API, "kind": "Queue", "metadata": {"name": "research"}, "spec": spec}]


YUNIKORN: Json = {
    "name": "research",
    "parent": True,
    "submitacl": "*",
    "resources": {"max": {"vcore": f"{ROOM}m"}},
    "queues": [
        # YuniKorn takes none that is larger than what is left of this share.
        {"name": "climate", "resources": {"guaranteed": {"vcore": "200m"}}, "properties": {"preemption.delay": "1s"}},
        {"name": "backfill"},
        {"name": "teaching", "properties": {"preemption.policy": "disabled"}},
    ],
}


def kai_objects(namespace: str) -> list[Json]:
    free = {"quota": -1, "limit": -1, "overQuotaWeight": 1}
    above = {"resources": {"cpu": free, "gpu": free, "memory": free}}
    cpu = {**free, "quota": ROOM, "limit": ROOM}
    below = {"resources": {"cpu": cpu, "gpu": free, "memory": free}, "parentQueue": "research"}
    return [
        {"apiVersion": kai.QUEUES, "kind": "Queue", "metadata": {"name": name}, "spec": spec}
        for name, spec in (("research", above), ("all", below))
    ]


SCHEDULERS = (
    Queueing("kueue", lambda cluster: Kueue.start(cluster, FRAMEWORKS), kueue_objects, lambda name: {}, GANG),
    Queueing(
        "volcano",
        # Without `enqueue`: with it, nothing is preempted in a queue that is at its capability.
        lambda cluster: Volcano.start(cluster, "allocate, preempt, reclaim, backfill"),
        volcano_objects,
        lambda name: {"queue": "research"},
        GANG,
    ),
    Queueing(
        "yunikorn",
        lambda cluster: YuniKorn.start(cluster, YUNIKORN),
        lambda namespace: [],
        lambda name: {"queue": f"root.research.{name}"},
        1,
    ),
    Queueing("kai", Kai.start, kai_objects, lambda name: {"queue": "all", "parent": "research"}, 1),
)
