"""Virtual GPUs (`volcano-vgpu`) by Volcano 1.14.1's own plugin, on a real node that only says it has one GPU.

What volcano-vgpu-device-plugin would do on a node with a GPU, and HAMi-core in its containers, is not seen here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alice import Alice
from ground import Ground, ground
from rig import processes
from rig.api import Json, until
from rig.controllers.volcano import ACTIONS, SCHEDULER, Volcano
from test_volcano import FULL, queue, settings

pytestmark = pytest.mark.programs("volcano")

# As docs/reference/schedulers.md has it.
PLUGIN = {"name": "deviceshare", "arguments": {"deviceshare.VGPUEnable": True}}
# As the device plugin writes them: id, how many may share it, MiB, type, whether it is well, how it is cut.
REGISTER = "volcano.sh/node-vgpu-register"
HANDSHAKE = "volcano.sh/node-vgpu-handshake"
GPU = "GPU-0,3,8192,NVIDIA-NVIDIA A100,true,hami-core:"
COUNTED = {"volcano.sh/vgpu-number": "3", "volcano.sh/vgpu-memory": "8192", "volcano.sh/vgpu-cores": "100"}
PERCENTAGE = "volcano.sh/vgpu-memory-percentage"
ALLOCATED = "volcano.sh/vgpu-ids-new"
NO_PART = "No node here has a free part of a GPU of the requested size and mode."


GPUS: dict[str, Json] = {
    "three-gib": {"memory": "3Gi"},
    "third": {"memory": "2Gi", "cores": 30},
    "alone": {"cores": 100},
    "mig": {"memory": "2Gi", "mode": "mig"},
    "hami-core": {"memory": "2Gi", "mode": "hami-core"},
    "two": {"count": 2},
}


@pytest.fixture(scope="module")
def sharing(volcano: Volcano) -> Volcano:
    volcano.schedule(ACTIONS, PLUGIN)
    return volcano


def say(volcano: Volcano, annotations: Json, amounts: Json) -> None:
    api = volcano.cluster.api
    (node,) = api.all_of("v1", "Node")
    api.patch(node, {"status": {"capacity": amounts, "allocatable": amounts}}, subresource="/status")
    api.patch(node, {"metadata": {"annotations": annotations}})


@pytest.fixture(scope="module")
def here(sharing: Volcano, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(sharing.cluster, "vgpu", tmp_path_factory.mktemp("vgpu") / "storage", leave=True) as found:
        yield found


@pytest.fixture
def alice(sharing: Volcano, here: Ground) -> Iterator[Alice]:
    """On a node with one GPU of 8 GiB that three may share."""
    site = settings(here)
    for name, gpu in GPUS.items():
        virtual = {"kind": "volcano-vgpu", **gpu}
        site["profiles"][name] = {**site["profiles"]["small"], "title": name, "order": 70, "gpu": virtual}
    found = Alice(here, site)
    found.api.apply(*found.priorities(), *(queue(name) for name in found.site.queues))
    # Registered before it counts them: until then Volcano gives nothing of a GPU with a place on that node.
    say(sharing, {REGISTER: GPU, HANDSHAKE: "Reported 2026.01.01 00:00:00"}, {})
    until(lambda: handshake(found).startswith("Requesting_"), "the scheduler answers the device plugin")
    say(sharing, {}, COUNTED)
    try:
        yield found
    finally:
        found.clean()
        say(sharing, {REGISTER: None, HANDSHAKE: None}, dict.fromkeys((*COUNTED, PERCENTAGE)))


def allocated(alice: Alice, name: str) -> str:
    """What Volcano wrote on the pod for the device plugin: of each container the devices, their memory and cores."""
    alice.runs(name)
    return str(alice.pod(name)["metadata"]["annotations"][ALLOCATED])


def handshake(alice: Alice) -> str:
    (node,) = alice.api.all_of("v1", "Node")
    return str(node["metadata"]["annotations"][HANDSHAKE])


def test_two_share_one_gpu_and_a_third_waits_until_there_is_memory(alice: Alice) -> None:
    for name in ("first", "second"):
        alice.notebook(name, profile="three-gib")
        assert allocated(alice, name) == "GPU-0,NVIDIA,3072,0:"
    alice.notebook("third", profile="three-gib")
    alice.keeps_waiting("third", FULL)
    alice.api.delete(alice.pod("first"))
    assert allocated(alice, "third") == "GPU-0,NVIDIA,3072,0:"


def test_who_asks_for_all_cores_waits_until_nobody_else_is_on_the_gpu(alice: Alice) -> None:
    alice.notebook("first", profile="third")
    assert allocated(alice, "first") == "GPU-0,NVIDIA,2048,30:"
    alice.notebook("second", profile="alone")
    alice.keeps_waiting("second", FULL)
    alice.api.delete(alice.pod("first"))
    assert allocated(alice, "second") == "GPU-0,NVIDIA,8192,100:"


def test_a_mode_is_that_of_the_node(alice: Alice) -> None:
    alice.notebook("first", profile="mig")
    alice.keeps_waiting("first", NO_PART)
    alice.notebook("second", profile="hami-core")
    assert allocated(alice, "second") == "GPU-0,NVIDIA,2048,0:"


def test_two_gpus_are_not_two_parts_of_one(alice: Alice) -> None:
    alice.notebook("first", profile="two")
    alice.keeps_waiting("first", NO_PART)


def test_a_percentage_of_memory_is_not_what_a_person_would_get(alice: Alice, sharing: Volcano) -> None:
    """Why there is no such setting: no node counts it, and where one does, all of the memory is given."""

    def percentage(pod: Json) -> None:
        resources = pod["spec"]["containers"][0]["resources"]
        for kind in ("requests", "limits"):
            del resources[kind]["volcano.sh/vgpu-memory"]
            resources[kind][PERCENTAGE] = "25"

    alice.notebook("first", profile="three-gib", edit=percentage)
    alice.keeps_waiting("first", FULL)
    say(sharing, {}, {PERCENTAGE: "100"})
    assert allocated(alice, "first") == "GPU-0,NVIDIA,8192,0:"


def test_a_device_plugin_that_is_gone_costs_everybody_the_scheduler(alice: Alice, sharing: Volcano) -> None:
    """It crashes at the first pod that asks for such a GPU."""
    cluster = alice.ground.cluster
    say(sharing, {HANDSHAKE: "Requesting_2026.01.01 00:00:00"}, {})
    until(lambda: handshake(alice).startswith("Deleted_"), "the scheduler takes it for gone")

    def is_down() -> bool:
        return SCHEDULER not in {process.name for process in processes.running(cluster.state)}

    try:
        alice.notebook("first", profile="three-gib")
        until(is_down, "the scheduler has crashed")
    finally:
        alice.api.delete(alice.pod("first"))
        sharing.schedule(ACTIONS, PLUGIN)
    assert "nil pointer dereference" in processes.log_of(cluster.state, SCHEDULER).read_text()
