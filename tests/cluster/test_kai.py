"""KAI 0.12: notebooks and jobs of ours in its queues, by the real scheduler and binder, in real containers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from alice import CYCLES_SECONDS, Alice
from doc_pages import scheduler_examples
from ground import JOB, UNTIL_RELEASED, Ground, ground
from queue_answers import queue_answers
from rig.api import Json, Refused, until
from rig.cluster import Cluster
from rig.controllers.kai import GPU_INDEX, GROUPS, QUEUES, RESERVATIONS, Kai
from rig.node import Node

from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.schedulers import why

pytestmark = pytest.mark.programs("kai")

# Room for one pod of profile small, in thousandths of a CPU.
ROOM = 150
FULL = (
    "OverLimit: climate quota has reached the allowable limit of CPU cores. "
    "Limit is 0.15 cores, currently 0.1 cores allocated and workload requested 0.1 cores."
)
OVER_QUOTA = (
    "NonPreemptibleOverQuota: Non-preemptible workload is over quota. Workload requested 0.1 CPU cores, but climate "
    "quota is 0.15 cores, while 0.1 cores are already allocated for non-preemptible pods. "
    "Use a preemptible workload to go over quota.."
)
NOT_YET = "KAI has not scheduled the pod yet. It schedules nothing while the queue or its parent queue does not exist."
NO_REASON = "KAI cannot schedule the pod and gives no reason. One known cause is a queue without a parent queue."
TAKEN = "Evicted by the cluster before it ended."
NO_GPU = "no nodes with enough resources were found: 1 node(s) didn't have enough resources: GPUs."
PREEMPTED = "Preempted: work of a higher priority, or of a queue below its share, needed its place."
GPU = "nvidia.com/gpu"


def settings(ground: Ground) -> Json:
    """SITE with KAI, its queues below `research`, and pods that end soon after they are asked to."""
    site = ground.site(scheduler={"kind": "kai"})
    site["priorities"] = {**site["priorities"], "high": {"value": 100}}
    site["queues"]["urgent"] = {"groups": {"climate": True}, "priority": "high", "order": 50}
    for name in site["queues"]:
        site["queues"][name]["kai"] = {"parent": "research"}
    for profile, cpu in (("small", "100m"), ("large", 3)):
        site["profiles"][profile] |= {
            "cpu": cpu,
            "memory": "64Mi",
            "images": {"default": JOB},
            "pod": {"terminationGracePeriodSeconds": 2},
        }
    return site


def queue(name: str, parent: str | None = "research", **cpu: int) -> Json:
    """Without limits, but for what is said of CPUs."""
    free = {"quota": -1, "limit": -1, "overQuotaWeight": 1}
    spec: Json = {"resources": {"cpu": {**free, **cpu}, "gpu": free, "memory": free}}
    if parent is not None:
        spec["parentQueue"] = parent
    return {"apiVersion": QUEUES, "kind": "Queue", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def kai(cluster: Cluster, node: Node) -> Kai:
    """It ends with its cluster."""
    return Kai.start(cluster)


@pytest.fixture(scope="module")
def here(kai: Kai, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(kai.cluster, "kai-work", tmp_path_factory.mktemp("kai") / "storage", leave=True) as found:
        yield found


def person(here: Ground, site: Json, *queues: Json) -> Iterator[Alice]:
    found = Alice(here, site)
    found.api.apply(*found.priorities(), queue("research", None), *queues)
    try:
        yield found
    finally:
        found.clean()
        found.api.delete_all(QUEUES, "Queue")


@pytest.fixture
def alice(here: Ground) -> Iterator[Alice]:
    """In queues of KAI's with the names of ours, each with room for one pod."""
    site = settings(here)
    yield from person(here, site, *(queue(name, limit=ROOM) for name in site["queues"]))


@pytest.fixture
def together(here: Ground) -> Iterator[Alice]:
    """With all of our queues in one of KAI's, which has room for one pod."""
    site = settings(here)
    for options in site["queues"].values():
        options["kai"] = {"queue": "climate", "parent": "research"}
    yield from person(here, site, queue("climate", quota=ROOM, limit=ROOM))


@pytest.fixture
def marking(kai: Kai) -> Iterator[Kai]:
    """With the flag by which KAI says on a pod that it preempts it."""
    kai.schedule("--update-pod-eviction-condition=true")
    try:
        yield kai
    finally:
        kai.schedule()


def group_of(alice: Alice, pod: Json) -> Json:
    """The PodGroup that KAI put that pod into."""
    name = pod["metadata"]["annotations"]["pod-group-name"]
    return alice.api.get(GROUPS, "PodGroup", name, alice.namespace)


def phases(pods: list[Json]) -> list[str]:
    return sorted(pod["status"]["phase"] for pod in pods)


def test_a_notebook_runs_as_its_person_in_the_queue(alice: Alice) -> None:
    created = alice.notebook("jupyter-alice")
    running = alice.runs("jupyter-alice")
    assert running["spec"]["schedulerName"] == "kai-scheduler"
    assert alice.ground.cluster.inside(running, "id", "-u") == "20001"
    assert alice.phase("jupyter-alice").name == "running"
    group = group_of(alice, running)
    assert [owner["uid"] for owner in group["metadata"]["ownerReferences"]] == [created["metadata"]["uid"]]
    assert group["metadata"]["labels"]["user"] == "alice"
    spec = group["spec"]
    assert (spec["queue"], spec["minMember"]) == ("climate", 1)
    assert (spec["priorityClassName"], spec["preemptibility"]) == ("research-normal", "non-preemptible")


async def test_a_job_waits_for_the_notebook_before_it_in_the_same_queue(alice: Alice) -> None:
    notebook = alice.notebook("jupyter-alice")
    alice.runs("jupyter-alice")
    async with alice.batch() as jobs:
        job = await jobs.submit("id", "-u")
        waiting = await jobs.until(job, "full", lambda job: job["message"].endswith(FULL))
        assert waiting["state"] == "queued"
        (pod,) = alice.pods_of(job)
        group = group_of(alice, pod)
        assert [(owner["kind"], owner["name"]) for owner in group["metadata"]["ownerReferences"]] == [("Job", job)]
        assert (group["spec"]["queue"], group["metadata"]["labels"]["user"]) == ("climate", "alice")
        alice.api.delete(notebook)
        ended = await jobs.in_state(job, "succeeded")
    assert [attempt["reason"] for attempt in ended["attempts"]] == [""]


def test_a_notebook_waits_until_its_queue_has_room(alice: Alice) -> None:
    first = alice.notebook("first")
    alice.runs("first")
    alice.notebook("second")
    assert alice.waits("second", FULL).phase == "queued"
    assert (alice.phase("second").name, alice.phase("first").name) == ("queued", "running")
    alice.api.delete(first)
    alice.runs("second")


def test_what_is_not_preemptible_waits_at_the_quota_and_other_work_does_not(alice: Alice) -> None:
    alice.api.delete(queue("climate"))
    alice.api.apply(queue("climate", quota=ROOM), queue("backfill", quota=0))
    alice.notebook("first")
    alice.runs("first")
    alice.notebook("second")
    assert alice.waits("second", OVER_QUOTA).phase == "queued"
    alice.notebook("student", queue="backfill")
    alice.runs("student")


def test_what_no_node_has_is_told_on_one_line(alice: Alice) -> None:
    alice.api.delete(queue("climate"))
    alice.api.apply(queue("climate"))
    alice.notebook("big", profile="large")
    told = (
        "MaxNodePoolResources: The pod kai-work/big requires GPU: 0, CPU: 3 (cores), memory: 0.067 (GB). "
        "Max CPU resources available in a single node in the default node-pool is topped at 2 cores."
    )
    assert alice.waits("big", told).phase == "queued"


@pytest.fixture
def documented(here: Ground) -> Iterator[Alice]:
    """With the Queues of the documentation."""
    yield from person(here, settings(here), *scheduler_examples()["kai"].objects)


def test_a_notebook_runs_within_the_quotas_of_the_documentation(documented: Alice) -> None:
    documented.notebook("first")
    documented.runs("first")


async def test_a_queue_or_its_parent_that_does_not_exist_is_refused_before(alice: Alice) -> None:
    for name in ("climate", "research"):
        before = alice.api.get(QUEUES, "Queue", name)
        alice.api.delete(before)
        async with alice.batch() as jobs:
            with pytest.raises(Refusal, match=f"The cluster has no Queue '{name}'") as missing:
                await jobs.submit("true")
            assert (missing.value.field, missing.value.status) == ("queue", 503)
            assert not alice.api.all_of("batch/v1", "Job", alice.namespace)
            alice.api.apply({**queue(name), "spec": before["spec"]})
            await jobs.in_state(await jobs.submit("true"), "succeeded")
        alice.ground.clean()


@pytest.mark.parametrize("gone", ["climate", "research"])
def test_who_waits_for_a_queue_that_does_not_exist_is_told_and_runs_when_it_does(alice: Alice, gone: str) -> None:
    before = alice.api.get(QUEUES, "Queue", gone)
    alice.api.delete(before)
    until(lambda: alice.api.find(QUEUES, "Queue", gone) is None, f"{gone} is gone")
    alice.notebook("first")
    time.sleep(CYCLES_SECONDS)
    assert (alice.phase("first").name, why(alice.status("first"))) == ("queued", NOT_YET)
    assert alice.pod("first")["status"].get("conditions") is None
    group = group_of(alice, alice.pod("first"))
    assert "schedulingConditions" not in group.get("status", {})
    alice.api.apply({**queue(gone), "spec": before["spec"]})
    alice.runs("first")


def test_a_queue_below_no_other_starts_nobody(alice: Alice) -> None:
    alice.api.delete(queue("climate"))
    alice.api.apply(queue("climate", None))
    alice.notebook("first")
    assert alice.waits("first", NO_REASON).phase == "queued"


async def test_a_job_ends_at_its_hard_wall_time_with_that_reason(alice: Alice) -> None:
    async with alice.batch() as jobs:
        job = await jobs.submit("sleep", "600", wall_time="3s")
        ended = await jobs.in_state(job, "failed")
    assert ended["message"] == "It reached its hard wall time."


async def test_a_preempted_job_comes_back_and_ends(together: Alice) -> None:
    async with together.batch() as jobs:
        job = await jobs.submit(*UNTIL_RELEASED, queue="backfill")
        await jobs.in_state(job, "running")
        researcher = together.notebook("researcher")
        waiting = await jobs.until(job, "preempted", lambda job: job["state"] == "queued")
        assert waiting["message"] == f"{TAKEN} It waits to run again from the start."
        await asyncio.to_thread(together.runs, "researcher")
        together.api.delete(researcher)
        await jobs.in_state(job, "running")
        together.ground.release()
        ended = await jobs.in_state(job, "succeeded")
    assert [attempt["reason"] for attempt in ended["attempts"]] == [TAKEN, ""]
    assert ended["exit_code"] == 0
    assert together.api.get("batch/v1", "Job", job, together.namespace)["status"].get("failed", 0) == 0


async def test_a_preempted_job_comes_back_by_itself_where_kai_marks_it(together: Alice, marking: Kai) -> None:
    async with together.batch() as jobs:
        job = await jobs.submit(*UNTIL_RELEASED, queue="backfill")
        await jobs.in_state(job, "running")
    (victim,) = together.pods_of(job)
    researcher = together.notebook("researcher")
    last, reason = await asyncio.to_thread(together.last_of, victim["metadata"]["name"])
    assert reason is not None
    assert (reason.message, reason.preempted) == (PREEMPTED, True)
    assert together.phase_of(last).message == PREEMPTED
    await asyncio.to_thread(together.runs, "researcher")
    together.api.delete(researcher)
    async with together.batch() as jobs:
        await jobs.in_state(job, "running")
        together.ground.release()
        ended = await jobs.in_state(job, "succeeded")
    assert ended["exit_code"] == 0


async def test_a_job_that_is_preempted_while_no_service_runs_fails(together: Alice) -> None:
    """As it is installed, KAI deletes the pod and no more, which a Job takes for a failure of its own."""
    async with together.batch() as jobs:
        job = await jobs.submit("sleep", "600", queue="backfill")
        await jobs.in_state(job, "running")
    together.notebook("researcher")
    together.runs("researcher")

    def reasons() -> list[str]:
        status = together.api.get("batch/v1", "Job", job, together.namespace)["status"]
        return [found["reason"] for found in status.get("conditions", []) if found["type"] == "Failed"]

    assert until(reasons, "the job has failed") == ["BackoffLimitExceeded"]


def test_a_students_notebook_makes_room_for_a_researchers_and_only_an_event_tells(together: Alice) -> None:
    together.notebook("student", queue="backfill")
    group = group_of(together, together.runs("student"))
    together.notebook("researcher")
    _, reason = together.last_of("student")
    assert reason is None

    def told() -> list[str]:
        events = together.api.events(together.namespace, group["metadata"]["name"])
        return [event["message"] for event in events if event["reason"] == "Evict"]

    said, *_ = until(told, "an event tells")
    assert said.startswith("Pod kai-work/student was preempted by higher priority workload kai-work/pg-researcher-")
    together.runs("researcher")


def test_a_researchers_notebook_makes_room_for_nobody(together: Alice) -> None:
    together.notebook("first")
    together.runs("first")
    together.notebook("second", queue="urgent")
    time.sleep(CYCLES_SECONDS)
    assert (together.phase("first").name, together.phase("second").name) == ("running", "queued")


async def test_a_queue_takes_back_its_share_from_another(alice: Alice, marking: Kai) -> None:
    for name in ("climate", "backfill", "research"):
        alice.api.delete(queue(name))
    alice.api.apply(queue("research", None, limit=ROOM, quota=ROOM), queue("climate", quota=ROOM))
    alice.api.apply(queue("backfill", quota=0))
    async with alice.batch() as jobs:
        job = await jobs.submit(*UNTIL_RELEASED, queue="backfill")
        await jobs.in_state(job, "running")
        researcher = alice.notebook("researcher")
        waiting = await jobs.until(job, "preempted", lambda job: job["state"] == "queued")
        assert waiting["message"] == f"{PREEMPTED} It waits to run again from the start."
        await asyncio.to_thread(alice.runs, "researcher")
        alice.api.delete(researcher)
        await jobs.in_state(job, "running")
        alice.ground.release()
        await jobs.in_state(job, "succeeded")


def test_a_gang_of_a_job_does_not_start_together(together: Alice) -> None:
    """KAI 0.12 makes a PodGroup of each pod of a Job, and knows nothing of batch-min-member."""
    together.api.apply(queue("climate", quota=250, limit=250))
    together.gang("array", 3, "sleep", "600")
    until(lambda: phases(together.pods_of("array")) == ["Pending", "Running", "Running"], "two of three run")
    groups = [group_of(together, pod) for pod in together.pods_of("array")]
    assert [group["spec"]["minMember"] for group in groups] == [1, 1, 1]


def test_nothing_is_created_while_the_webhook_is_down(alice: Alice, kai: Kai) -> None:
    kai.down()
    try:
        with pytest.raises(Refused, match="failed calling webhook"):
            alice.notebook("first")
    finally:
        kai.up()
    alice.notebook("first")
    alice.runs("first")


@dataclass(frozen=True)
class Devices:
    """GPUs that a node only says it has, and what KAI's own pods on them would do."""

    alice: Alice

    def reservations(self) -> list[Json]:
        return self.alice.api.all_of("v1", "Pod", RESERVATIONS)

    def found(self) -> Json:
        """KAI's pod that holds a whole GPU has asked its driver which it is.  The pod."""
        (pod,) = until(self.reservations, "KAI reserves a GPU")
        self.alice.api.patch(pod, {"metadata": {"annotations": {GPU_INDEX: "0"}}})
        return pod


def part(**of_what: Any) -> Json:
    return {"kind": "kai-fraction", **of_what}


@pytest.fixture
def devices(here: Ground) -> Iterator[Devices]:
    """alice on a node with one GPU of 8 GiB, with profiles `half`, `memory` and `whole`."""
    site = settings(here)
    for name, gpu in (
        ("half", part(fraction=0.5)),
        ("memory", part(memory="2Gi")),
        ("whole", {"kind": "whole", "count": 1}),
    ):
        site["profiles"][name] = {**site["profiles"]["small"], "title": name, "order": 60, "gpu": gpu}
    api = here.cluster.api
    (node,) = api.all_of("v1", "Node")
    api.patch(node, {"metadata": {"labels": {"nvidia.com/gpu.count": "1", "nvidia.com/gpu.memory": "8192"}}})
    api.patch(node, {"status": {"capacity": {GPU: "1"}, "allocatable": {GPU: "1"}}}, subresource="/status")
    try:
        for alice in person(here, site, *(queue(name) for name in site["queues"])):
            yield Devices(alice)
            alice.clean()
            until(lambda: not api.all_of("v1", "Pod", RESERVATIONS), "KAI has given the GPU back")
    finally:
        api.patch(node, {"metadata": {"labels": {"nvidia.com/gpu.count": None, "nvidia.com/gpu.memory": None}}})
        api.patch(node, {"status": {"capacity": {GPU: None}, "allocatable": {GPU: None}}}, subresource="/status")


def test_two_notebooks_are_each_given_half_of_one_gpu_and_a_third_waits(devices: Devices) -> None:
    alice = devices.alice
    alice.notebook("first", profile="half")
    reservation = devices.found()
    running = alice.runs("first")
    group = reservation["metadata"]["labels"]["runai-gpu-group"]
    assert running["metadata"]["labels"]["runai-gpu-group"] == group
    assert running["metadata"]["annotations"]["received-resource-type"] == "Fraction"
    assert running["spec"]["runtimeClassName"] == "nvidia"
    told = alice.ground.cluster.inside(running, "sh", "-c", "echo $NVIDIA_VISIBLE_DEVICES $GPU_PORTION")
    assert told == "0 0.50"

    alice.notebook("second", profile="half")
    assert alice.runs("second")["metadata"]["labels"]["runai-gpu-group"] == group
    alice.notebook("third", profile="half")
    assert alice.waits("third", NO_GPU).phase == "queued"
    assert len(devices.reservations()) == 1
    alice.api.delete(alice.pod("first"))
    alice.runs("third")


def test_a_notebook_waits_for_a_gpu_whose_number_nobody_finds_out(devices: Devices) -> None:
    alice = devices.alice
    alice.notebook("first", profile="half")
    until(devices.reservations, "KAI reserves a GPU")

    def told() -> str:
        return alice.phase("first").message if alice.phase("first").message != NOT_YET else ""

    said = until(told, "KAI has given up for this time")
    assert "Failed to bind pod kai-work/first to node node: failed waiting for GPU reservation pod" in said
    assert alice.phase("first").name == "queued"
    devices.found()
    alice.runs("first")


def test_a_notebook_is_given_memory_of_a_gpu(devices: Devices) -> None:
    alice = devices.alice
    alice.notebook("first", profile="memory")
    devices.found()
    running = alice.runs("first")
    assert running["metadata"]["annotations"]["gpu-memory"] == "2048"
    # KAI counts a GPU's memory in hundreds of MiB and rounds parts up.
    assert alice.ground.cluster.inside(running, "sh", "-c", "echo $GPU_PORTION") == "0.26"


async def test_a_job_is_given_half_of_a_gpu(devices: Devices) -> None:
    alice = devices.alice
    async with alice.batch() as jobs:
        job = await jobs.submit("sh", "-c", "echo $GPU_PORTION; sleep 600", profile="half")
        await asyncio.to_thread(devices.found)
        await jobs.in_state(job, "running")
    (pod,) = alice.pods_of(job)
    until(lambda: alice.api.logs(alice.namespace, pod["metadata"]["name"]) == "0.50\n", "it says so")


def test_a_whole_gpu_is_counted_and_kai_takes_no_part_beside_it(devices: Devices) -> None:
    alice = devices.alice
    alice.notebook("first", profile="whole")
    alice.runs("first")
    assert devices.reservations() == []
    alice.notebook("second", profile="half")
    assert alice.waits("second", NO_GPU).phase == "queued"

    def both(pod: Json) -> None:
        pod["metadata"]["annotations"]["gpu-fraction"] = "0.5"

    with pytest.raises(Refused, match="cannot have both GPU fraction request and whole GPU resource request"):
        alice.notebook("third", profile="whole", edit=both)


async def test_form_and_my_work_say_of_a_queue_what_kai_does(alice: Alice, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue climate has a quota for one pod of profile small. Its neighbour only has a limit."""
    bounded = queue("climate", quota=ROOM, limit=ROOM)
    bounded["spec"]["resources"]["memory"] = {"quota": 1000, "limit": 1000, "overQuotaWeight": 1}
    alice.api.delete(queue("climate"))
    alice.api.apply(bounded)
    async with queue_answers(alice, monkeypatch.setattr) as answers:
        await answers.follow_one_place(
            {"cpu": "0/0.15", "memory": "0/953.6 MiB"}, {"cpu": "0.1/0.15", "memory": "64 MiB/953.6 MiB"}, FULL
        )
