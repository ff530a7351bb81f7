"""Kueue 0.19.2: notebooks and jobs of ours through one LocalQueue, by the real controllers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import samples
from rig.api import Json, namespace, until
from rig.cluster import Cluster
from rig.controllers.kueue import API, Kueue

from jupyter_research_spawner.jobs import notebook
from jupyter_research_spawner.manifests import Release, priorities
from jupyter_research_spawner.plan import Plan
from jupyter_research_spawner.pod import check, compose
from jupyter_research_spawner.site import Site

NAMESPACE = "kueue-work"
SITE: Json = {
    "identity": {"sources": {"people": {"passwd": str(samples.DATA / "people.passwd")}, "local": None}},
    "namespaces": {"name": NAMESPACE},
    "storage": {"mounts": None},
    "pods": None,
    "queues": {"urgent": {"groups": {"climate": True}, "priority": "high", "order": 50}},
    "profiles": {
        "small": {
            "cpu": "400m",
            "memory": "64Mi",
            "wall_time": "1h",
            "images": {"default": "localhost/rig/job:1"},
            "pod": {"terminationGracePeriodSeconds": 2},
        },
        "a100": None,
    },
}
GROUPS: Json = {"identity": {"sources": {"people": {"group": str(samples.DATA / "people.group")}}}}


def queues(cpu: str, *local: str) -> list[Json]:
    """One ClusterQueue with that much CPU, and LocalQueues of these names in front of it."""
    quota = [{"name": "cpu", "nominalQuota": cpu}, {"name": "memory", "nominalQuota": "4Gi"}]
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
                "resourceGroups": [{"coveredResources": ["cpu", "memory"], "flavors": flavors}],
            },
        },
        *(
            {
                "apiVersion": API,
                "kind": "LocalQueue",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"clusterQueue": "research"},
            }
            for name in local
        ),
    ]


@pytest.fixture(scope="module")
def site() -> Site:
    return samples.site_with(SITE, GROUPS)


@pytest.fixture(scope="module")
def kueue(cluster: Cluster, site: Site) -> Iterator[Kueue]:
    """With all queues of the site on 1 CPU, so that two notebooks of 400m run and a third waits."""
    started = Kueue.start(cluster)
    api = cluster.api
    api.apply(namespace(NAMESPACE), *priorities.objects(site, Release()), *queues("1", *site.queues))
    try:
        yield started
    finally:
        for kind in (("batch/v1", "Job"), ("v1", "Pod")):
            api.delete_all(*kind, NAMESPACE)
        started.stop()
        api.delete(namespace(NAMESPACE))


@pytest.fixture
def work(kueue: Kueue, site: Site) -> Iterator[Work]:
    found = Work(kueue, site)
    try:
        yield found
    finally:
        found.clean()


@dataclass
class Work:
    """What alice has in the cluster."""

    kueue: Kueue
    site: Site

    @property
    def api(self) -> Any:
        return self.kueue.cluster.api

    def decide(self, name: str, **wishes: Any) -> Plan:
        return samples.decide(self.site, samples.person("alice"), name=name, **wishes)

    def notebook(self, name: str, *command: str, **wishes: Any) -> Json:
        """alice's notebook, as the hub sends it, with another program in it."""
        base = samples.notebook_pod()
        base["metadata"]["name"] = name
        base["spec"]["containers"][0] |= {"image": "localhost/rig/job:1", "command": [*command] or ["sleep", "600"]}
        decided = self.decide(name, **wishes)
        manifest = compose(decided, base, notebook.SLOTS)
        check(decided, manifest, notebook.SLOTS)
        created: Json = self.api.create(manifest)
        return created

    def pod(self, name: str) -> Json:
        found: Json = self.api.get("v1", "Pod", name, NAMESPACE)
        return found

    def workload_of(self, owner: Json) -> Json | None:
        uid = owner["metadata"]["uid"]
        found = self.api.all_of(API, "Workload", NAMESPACE, labelSelector=f"kueue.x-k8s.io/job-uid={uid}")
        return found[0] if found else None

    def clean(self) -> None:
        for pod in self.api.all_of("v1", "Pod", NAMESPACE):
            self.api.delete(pod, gracePeriodSeconds=0)
        for kind in (("batch/v1", "Job"), ("v1", "Pod"), (API, "Workload")):
            self.api.delete_all(*kind, NAMESPACE)


def gates(pod: Json) -> list[str]:
    return [gate["name"] for gate in pod["spec"].get("schedulingGates", [])]


def test_a_notebook_is_gated_and_admitted(work: Work) -> None:
    created = work.notebook("jupyter-alice")
    assert "kueue.x-k8s.io/admission" in gates(created)
    until(lambda: not gates(work.pod("jupyter-alice")), 10, "Kueue admits it")
    workload = work.workload_of(created)
    assert workload is not None
    assert workload["spec"]["queueName"] == "climate"
    assert workload["spec"]["maximumExecutionTimeSeconds"] == 3600 + 300
