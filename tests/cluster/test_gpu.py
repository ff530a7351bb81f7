"""GPUs and quality of service by Kubernetes 1.36's API server, controllers and scheduler, on a node without kubelet.

What a driver and a kubelet would do with an allocated device is not seen here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pytest
import samples
from hypothesis import given, settings
from rig.api import Api, Json, Refused, namespace, until
from rig.cluster import Cluster
from test_numa import NOT_GUARANTEED, pod, resources

from jupyter_research_spawner.jobs import notebook
from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.plan import Plan
from jupyter_research_spawner.pod import check, compose, why_not_pinned
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.site import Site

NAMESPACE = "devices"
NODE = "with-devices"
DRA = "resource.k8s.io/v1"
CLASS = "gpu.nvidia.com"
BY_CLASS = f"deviceclass.resource.kubernetes.io/{CLASS}"
LARGE = f"device.capacity['{CLASS}'].memory.compareTo(quantity('40Gi')) >= 0"


def gpu(**written: Any) -> Json:
    return {"like": "small", "title": "GPU", "groups": None, "gpu": written}


SITE: Json = {
    "identity": {
        "sources": {
            "people": {"passwd": str(samples.DATA / "people.passwd"), "group": str(samples.DATA / "people.group")},
            "local": None,
        }
    },
    "namespaces": {"name": NAMESPACE},
    "storage": {"mounts": None},
    "scheduler": {"kind": "plain"},
    "pods": {"base": {"nodeSelector": {"kubernetes.io/hostname": NODE}}},
    "profiles": {
        "whole": gpu(kind="whole"),
        "mig": gpu(kind="mig", resource="nvidia.com/mig-1g.10gb"),
        "shared": gpu(kind="shared"),
        "claim": gpu(kind="dra", device_class=CLASS),
        "two": gpu(kind="dra", device_class=CLASS, count=2),
        "large": gpu(kind="dra", device_class=CLASS, selectors=[LARGE]),
        "by-class": gpu(kind="whole", resource=BY_CLASS),
        "no-class": gpu(kind="dra", device_class="gpu.example.org"),
    },
}


def device(name: str, memory: str) -> Json:
    return {"name": name, "attributes": {"type": {"string": "gpu"}}, "capacity": {"memory": {"value": memory}}}


# As gpu.nvidia.com's driver publishes two devices of a node.
DEVICES: list[Json] = [
    {
        "apiVersion": DRA,
        "kind": "DeviceClass",
        "metadata": {"name": CLASS},
        "spec": {"selectors": [{"cel": {"expression": f"device.driver == '{CLASS}'"}}]},
    },
    {
        "apiVersion": DRA,
        "kind": "ResourceSlice",
        "metadata": {"name": NODE},
        "spec": {
            "driver": CLASS,
            "nodeName": NODE,
            "pool": {"name": NODE, "generation": 1, "resourceSliceCount": 1},
            "devices": [device("gpu-0", "16Gi"), device("gpu-1", "80Gi")],
        },
    },
]


# Nobody mounts it: the scheduler only wants it bound.
HOME: list[Json] = [
    {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{NAMESPACE}-home"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "claimRef": {"namespace": NAMESPACE, "name": "home"},
            "hostPath": {"path": "/nowhere"},
        },
    },
    {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "home", "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": f"{NAMESPACE}-home",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    },
]


NODE_OBJECT: Json = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}},
}


def say_ready(api: Api) -> None:
    """The node says that it is ready, with what device plugins would have told it.  Believed for about 40 seconds."""
    amounts = {"cpu": "64", "memory": "512Gi", "pods": "110"}
    amounts |= {"nvidia.com/gpu": "1", "nvidia.com/mig-1g.10gb": "1", "nvidia.com/gpu.shared": "1"}
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "True", "reason": "Pretended", "lastHeartbeatTime": now}
    status = {"capacity": amounts, "allocatable": amounts, "conditions": [ready]}
    api.patch(NODE_OBJECT, {"status": status}, subresource="/status")
    until(lambda: not api.get("v1", "Node", NODE)["spec"].get("taints"), f"{NODE} takes pods")


@dataclass
class Work:
    """What alice asks for on the node with devices."""

    api: Api
    site: Site

    def decide(self, profile: str, name: str) -> Plan:
        return samples.decide(self.site, samples.person("alice"), profile=profile, name=name)

    def manifest(self, profile: str, name: str) -> Json:
        base = samples.notebook_pod()
        base["metadata"]["name"] = name
        decided = self.decide(profile, name)
        composed = compose(decided, base, notebook.SLOTS)
        check(decided, composed, notebook.SLOTS)
        return composed

    def start(self, profile: str, name: str) -> None:
        self.api.create(self.manifest(profile, name))

    def placed(self, name: str) -> str:
        """Where, as soon as it is."""
        return str(until(lambda: self._pod(name)["spec"].get("nodeName"), f"{name} has a node"))

    def why_waiting(self, name: str) -> str:
        """The scheduler's own sentence."""

        def message() -> str:
            conditions = self._pod(name).get("status", {}).get("conditions", [])
            return "".join(found.get("message", "") for found in conditions if found["type"] == "PodScheduled")

        return until(message, f"{name} is told why it waits")

    def devices(self, name: str) -> list[str]:
        """What is allocated to the claims of a pod."""
        return [
            result["device"]
            for claim in self.api.all_of(DRA, "ResourceClaim", NAMESPACE)
            if any(by["name"] == name for by in claim.get("status", {}).get("reservedFor", []))
            for result in claim["status"]["allocation"]["devices"]["results"]
        ]

    def end(self, name: str) -> None:
        """Without a kubelet nobody else confirms that it ended."""
        self.api.delete(self._pod(name), gracePeriodSeconds=0)
        until(lambda: not self.devices(name), f"the devices of {name} are free")

    def _pod(self, name: str) -> Json:
        return {"apiVersion": "v1", "kind": "Pod", **self.api.get("v1", "Pod", name, NAMESPACE)}


@pytest.fixture(scope="module")
def site() -> Site:
    return samples.site_with(SITE)


@pytest.fixture(scope="module")
def api(cluster: Cluster, site: Site) -> Iterator[Api]:
    api = cluster.api
    api.apply(namespace(NAMESPACE))
    api.apply(NODE_OBJECT, *DEVICES, *HOME)
    api.apply(*everything(site, Release(), ["priorities"]))
    try:
        yield api
    finally:
        api.delete(namespace(NAMESPACE))
        for obj in (*DEVICES, HOME[0], NODE_OBJECT):
            api.delete(obj)


@pytest.fixture
def work(api: Api, site: Site) -> Iterator[Work]:
    say_ready(api)
    api.apply(*everything(site, Release(), ["devices"]))
    yield Work(api, site)
    for found in api.all_of("v1", "Pod", NAMESPACE):
        api.delete(found, gracePeriodSeconds=0)
    api.delete_all(DRA, "ResourceClaim", NAMESPACE)


@pytest.mark.parametrize("profile", ["whole", "mig", "shared"])
def test_a_device_that_a_node_counts_is_given_to_one(work: Work, profile: str) -> None:
    work.start(profile, "first")
    assert work.placed("first") == NODE
    work.start(profile, "second")
    (resource,) = work.site.profiles[profile].resources().gpu.amounts()  # type: ignore[union-attr]
    assert f"Insufficient {resource}" in work.why_waiting("second")
    work.end("first")
    assert work.placed("second") == NODE


def test_a_claim_is_made_from_the_template_and_filled(work: Work) -> None:
    work.start("claim", "first")
    assert work.placed("first") == NODE
    assert len(work.devices("first")) == 1
    work.start("two", "second")
    assert "cannot allocate all claims" in work.why_waiting("second")
    work.end("first")
    assert work.placed("second") == NODE
    assert sorted(work.devices("second")) == ["gpu-0", "gpu-1"]


def test_selectors_choose_among_the_devices_of_a_class(work: Work) -> None:
    work.start("large", "first")
    assert work.placed("first") == NODE
    assert work.devices("first") == ["gpu-1"]
    work.start("large", "second")
    assert "cannot allocate all claims" in work.why_waiting("second")


def test_a_class_s_own_extended_resource_needs_no_template(work: Work) -> None:
    work.start("by-class", "first")
    assert work.placed("first") == NODE
    assert len(work.devices("first")) == 1


def test_without_its_template_or_its_class_a_pod_waits_as_the_plan_s_prerequisites_say(work: Work) -> None:
    (template,) = (one for one in work.decide("two", "x").prerequisites if one.kind == "ResourceClaimTemplate")
    missing = work.api.get(template.api_version, template.kind, template.name, NAMESPACE)
    work.api.delete({"apiVersion": template.api_version, "kind": template.kind, **missing})
    work.start("two", "no-template")
    events = until(lambda: _warnings(work, "no-template", "FailedResourceClaimCreation"), "an event tells of it")
    assert f'"{template.name}" not found' in events[0]

    work.start("no-class", "no-class")
    assert "device class gpu.example.org does not exist" in work.why_waiting("no-class")
    assert "gpu.example.org" in {one.name for one in work.decide("no-class", "x").prerequisites}


def _warnings(work: Work, name: str, reason: str) -> list[str]:
    return [event["message"] for event in work.api.events(NAMESPACE, name) if event["reason"] == reason]


def test_a_template_cannot_be_changed_which_is_why_its_name_has_a_hash(work: Work) -> None:
    template = everything(work.site, Release(), ["devices"])[0]
    changed = copy.deepcopy(template)
    changed["spec"]["spec"]["devices"]["requests"][0]["exactly"]["count"] = 7
    with pytest.raises(Refused, match="field is immutable"):
        work.api.apply(changed)


def test_an_expression_that_is_none_is_refused_when_manifests_are_applied(work: Work) -> None:
    no_cel = samples.site_with(SITE, {"profiles": {"claim": {"gpu": {"selectors": ["device.capacity["]}}}})
    with pytest.raises(Refused, match="compilation failed"):
        work.api.apply(*everything(no_cel, Release(), ["devices"]))


@pytest.mark.parametrize("claims", [[], [{"name": "nic"}]])
def test_a_container_cannot_take_a_claim_that_its_pod_has_not(work: Work, claims: list[Json]) -> None:
    sent = work.manifest("claim", "broken")
    sent["spec"]["resourceClaims"] = [{**claim, "resourceClaimTemplateName": "t"} for claim in claims]
    with pytest.raises(Refused, match=r"resources\.claims\[0\]"):
        work.api.create(sent)


def quality(api: Api, found: Json) -> str:
    """What the API server calls it, when it has filled the pod in."""
    spec = copy.deepcopy(found["spec"])
    for container in (*spec["containers"], *spec.get("initContainers", [])):
        container["image"] = "localhost/none"
    sent = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "quality", "namespace": NAMESPACE}, "spec": spec}
    return str(api.create(sent, dryRun="All")["status"]["qosClass"])


@pytest.mark.parametrize(
    "amounts", [amounts for name, (amounts, _) in NOT_GUARANTEED.items() if name != "an invalid limit"], ids=str
)
def test_one_sloppy_container_makes_the_pod_burstable(api: Api, amounts: Json) -> None:
    for found in (pod(amounts), pod(init=amounts)):
        assert why_not_pinned(found, "notebook") != []
        assert quality(api, found) == "Burstable"


def test_half_a_cpu_beside_it_keeps_the_pod_guaranteed(api: Api) -> None:
    half = {"limits": {"cpu": "500m", "memory": "64Mi"}}
    native = pod(half, init=half)
    native["spec"]["initContainers"][0]["restartPolicy"] = "Always"
    assert why_not_pinned(native, "notebook") == []
    assert quality(api, native) == "Guaranteed"


def test_whatever_is_beside_it_lint_and_the_api_server_say_the_same(api: Api) -> None:
    @settings(max_examples=60)
    @given(resources, resources)
    def agree(sidecar: Json, init: Json) -> None:
        # A device would need a limit of the same amount; it has no part in this.
        for amounts in (*sidecar.values(), *init.values()):
            amounts.pop("nvidia.com/gpu", None)
        found = pod(sidecar, init=init)
        assert (quality(api, found) == "Guaranteed") == (why_not_pinned(found, "notebook") == [])

    agree()


def test_a_numa_notebook_of_ours_is_guaranteed_or_refused(api: Api) -> None:
    site = samples.site_with(SITE, {"profiles": {"whole": {"cpu": 4, "numa": "single-node"}}})
    decided = samples.decide(site, samples.person("alice"), profile="whole")
    sent = compose(decided, samples.notebook_pod(), notebook.SLOTS)
    check(decided, sent, notebook.SLOTS)
    assert quality(api, sent) == "Guaranteed"
    sent["spec"]["containers"].append({"name": "logger", "image": "logger:1"})
    assert quality(api, sent) == "Burstable"
    with pytest.raises(Refusal, match="would pin no CPUs of the pod"):
        check(decided, compose(decided, sent, notebook.SLOTS), notebook.SLOTS)
