"""CPUs of one's own and counted devices, as a kubelet 1.36.3 gives them (static CPU manager, single-numa-node).

Written for a machine of two CPUs and one NUMA node.  The static CPU manager keeps one CPU for the system, so there is
one to pin.  That shows who gets a CPU of their own and who does not, but not what a topology manager is for: that the
CPUs and devices of a pod come from one NUMA node, that a pod which fits into none is refused (TopologyAffinityError),
nor that whole cores are given out (full-pcpus-only).  The devices are a number in the node's status: nobody hands one
to a container.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import samples
import yaml
from ground import JOB, Ground, ground
from rig import images
from rig.api import Json, until
from rig.cluster import Cluster
from rig.containerd import SANDBOX_IMAGE

from jupyter_research_spawner.cli import main
from jupyter_research_spawner.jobs import notebook
from jupyter_research_spawner.pod import check, compose, why_not_pinned
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.schedulers import NO_OBJECTS, SCHEDULERS, describe
from jupyter_research_spawner.site import Site

NODE = "numa"
GPU = "example.com/gpu"
MAIN = notebook.SLOTS.main
OPTIONS = {
    "cpuManagerPolicy": "static",
    "topologyManagerPolicy": "single-numa-node",
    # Rounded up to the one CPU that is never pinned; of two, half a CPU is then left for others beside a pinned one.
    "systemReserved": {"cpu": "500m"},
    "cpuManagerReconcilePeriod": "1s",
}


def sidecar(**resources: Any) -> Json:
    return {"name": "beside", "image": JOB, "command": ["sleep", "600"], "resources": resources}


SLOPPY = sidecar()
FRACTIONAL = sidecar(limits={"cpu": "100m", "memory": "64Mi"})


def settings(ground: Ground) -> Json:
    """Profiles that want one NUMA node, and one that wants a device."""
    written = ground.site()
    small = written["profiles"]["small"] | {"images": {"default": JOB}, "memory": "128Mi"}
    small["pod"] = {"nodeSelector": {"kubernetes.io/hostname": NODE}, "terminationGracePeriodSeconds": 1}
    written["profiles"] = {
        "small": {**small, "cpu": "100m"},
        "pinned": {**small, "cpu": 1, "numa": "single-node"},
        "gpu": {**small, "cpu": "100m", "gpu": {"kind": "whole", "resource": GPU}},
    }
    return written


@dataclass(frozen=True)
class Work:
    """alice's notebooks on that node."""

    ground: Ground

    @property
    def site(self) -> Site:
        return Site.model_validate(settings(self.ground))

    def composed(self, profile: str, name: str, sidecar: Json | None = None) -> Json:
        """A notebook as the hub would send it, but for the check, which a sloppy sidecar does not pass."""
        base = samples.notebook_pod()
        base["metadata"]["name"] = name
        base["spec"]["containers"][0] |= {"image": JOB, "command": ["sleep", "600"]}
        base["spec"]["containers"] += [copy.deepcopy(sidecar)] if sidecar else []
        return compose(self._decided(profile, name), base, notebook.SLOTS)

    def check(self, profile: str, manifest: Json) -> None:
        check(self._decided(profile, manifest["metadata"]["name"]), manifest, notebook.SLOTS)

    def _decided(self, profile: str, name: str) -> Any:
        return samples.decide(self.site, samples.person("alice"), profile=profile, name=name)

    def start(self, manifest: Json) -> Json:
        """Running."""
        self.ground.cluster.api.create(manifest)
        return self.runs(manifest["metadata"]["name"])

    def runs(self, name: str) -> Json:
        running = until(lambda: self._running(name), f"{name} runs")
        assert running
        return running

    def _running(self, name: str) -> Json | None:
        pod = self.pod(name)
        return pod if pod["status"].get("phase") == "Running" else None

    def pod(self, name: str) -> Json:
        return self.ground.cluster.api.get("v1", "Pod", name, self.ground.namespace)

    def why_waiting(self, name: str) -> str:
        """The sentence of our pages."""
        return describe(SCHEDULERS["plain"].status(self.pod(name), NO_OBJECTS, ()))

    def cpus(self, pod: Json, container: str = MAIN) -> set[int]:
        """Those that its programs may run on, as the kernel tells them."""
        status = self.ground.cluster.inside(pod, "grep", "Cpus_allowed_list", "/proc/self/status", container=container)
        return numbers(status.split()[1])

    def clean(self) -> None:
        for pod in self.ground.pods():
            self.ground.cluster.api.delete(pod, gracePeriodSeconds=1)
        until(lambda: not self.ground.pods(), "no pod is left")


def numbers(text: str) -> set[int]:
    """A list as in cpuset(7): 0,2-4."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= {*range(int(first), int(last or first) + 1)}
    return found


@pytest.fixture(scope="module")
def all_work(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    node = cluster.add_node(NODE, options=OPTIONS, labels={"pool": NODE})
    try:
        node.import_images(partial(images.write, names=(SANDBOX_IMAGE, JOB)))
        with ground(cluster, "numa-work", tmp_path_factory.mktemp("numa") / "storage") as here:
            yield Work(here)
    finally:
        node.stop()


@pytest.fixture
def work(all_work: Work) -> Iterator[Work]:
    try:
        yield all_work
    finally:
        all_work.clean()


def test_a_numa_profile_gets_a_cpu_that_nobody_else_may_use(work: Work) -> None:
    other = work.start(work.composed("small", "other"))
    everywhere = work.cpus(other)
    manifest = work.composed("pinned", "pinned")
    work.check("pinned", manifest)
    pinned = work.start(manifest)
    assert pinned["status"]["qosClass"] == "Guaranteed"
    own = work.cpus(pinned)
    assert len(own) == 1
    assert own < everywhere
    until(lambda: work.cpus(other) == everywhere - own, "the other has lost that CPU")
    work.ground.cluster.api.delete(pinned, gracePeriodSeconds=1)
    until(lambda: work.cpus(other) == everywhere, "the other has it back")


def test_a_sidecar_without_limits_costs_the_notebook_its_cpu_and_is_named_before(work: Work) -> None:
    manifest = work.composed("pinned", "sloppy", SLOPPY)
    [(path, _)] = why_not_pinned(manifest, MAIN)
    assert path == "spec.containers[1].resources"
    with pytest.raises(Refusal, match="the kubelet would pin no CPUs of the pod"):
        work.check("pinned", manifest)
    unpinned = work.start(manifest)
    assert unpinned["status"]["qosClass"] == "Burstable"
    assert work.cpus(unpinned) == work.cpus(unpinned, "beside") == all_cpus()


def test_a_sidecar_with_a_part_of_a_cpu_shares_and_the_notebook_is_pinned(work: Work) -> None:
    manifest = work.composed("pinned", "fractional", FRACTIONAL)
    assert why_not_pinned(manifest, MAIN) == []
    work.check("pinned", manifest)
    pinned = work.start(manifest)
    own = work.cpus(pinned)
    assert len(own) == 1
    assert work.cpus(pinned, "beside") == all_cpus() - own


@pytest.mark.parametrize(("beside", "status"), [(SLOPPY, 1), (FRACTIONAL, 0)], ids=["sloppy", "fractional"])
def test_lint_tells_them_apart_beforehand(
    work: Work, beside: Json, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = tmp_path / "values.yaml"
    configure = 'jupyter_research_spawner.configure(c, z2jh.get_config("custom.research"))'
    written = {
        "hub": {
            "image": {"name": "registry.example.edu/research-hub", "tag": "0.1.0"},
            "extraConfig": {"research": f"import jupyter_research_spawner, z2jh\n{configure}"},
        },
        "singleuser": {
            "cloudMetadata": {"blockWithIptables": False},
            "extraContainers": [beside],
            "storage": {"type": "none"},
        },
        "custom": {"research": settings(work.ground)},
    }
    values.write_text(yaml.safe_dump(written))
    assert main(["lint", "--site", str(values)]) == status
    said = capsys.readouterr().err
    assert ("singleuser.extraContainers[0]" in said and "the kubelet would pin no CPUs of the pod" in said) == bool(
        status
    )


def test_devices_of_a_node_are_counted_for_a_profile_that_asks_for_them(work: Work) -> None:
    api = work.ground.cluster.api
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    api.patch(node, {"status": {"capacity": {GPU: "2"}}}, subresource="/status")
    # From what it has the kubelet works out what it gives.
    until(lambda: api.get("v1", "Node", NODE)["status"]["allocatable"].get(GPU) == "2", "both are given out")
    first, _ = (work.start(work.composed("gpu", name)) for name in ("first", "second"))
    api.create(work.composed("gpu", "third"))
    until(lambda: f"enough free {GPU}" in work.why_waiting("third"), "the third is told what is missing")
    api.delete(first, gracePeriodSeconds=1)
    work.runs("third")


def all_cpus() -> set[int]:
    """Of this machine, which has the node."""
    return numbers(Path("/sys/devices/system/cpu/online").read_text())
