"""YuniKorn 1.8: notebooks and jobs of ours in its queues, by the real scheduler, in real containers."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from alice import CYCLES_SECONDS, Alice
from doc_pages import scheduler_examples
from ground import JOB, UNTIL_RELEASED, Ground, ground
from rig import apart
from rig.api import Json, Refused, until
from rig.cluster import Cluster
from rig.controllers.yunikorn import PORT, SCHEDULER, YuniKorn
from rig.node import Node
from work import batch

from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.schedulers import why
from jupyter_research_spawner.site import Site

pytestmark = pytest.mark.programs("yunikorn")

# Room for one pod of profile small.
ROOM = {"max": {"vcore": "150m"}}
SHARED: Json = {
    "name": "research",
    "parent": True,
    "submitacl": "*",
    "resources": ROOM,
    "queues": [
        {"name": "climate", "resources": {"guaranteed": {"vcore": "100m"}}, "properties": {"preemption.delay": "1s"}},
        {"name": "backfill"},
        {"name": "teaching", "properties": {"preemption.policy": "disabled"}},
    ],
}
QUEUES: list[Json] = [
    *({"name": name, "resources": ROOM, "submitacl": "*"} for name in ("climate", "backfill")),
    {"name": "climatologists", "submitacl": " climate"},
    {"name": "students", "submitacl": " students"},
    SHARED,
]
APPLICATION = "yunikorn.apache.org/app-id"
PREEMPTION = "yunikorn.apache.org/allow-preemption"
TAKEN = "Evicted by the cluster before it ended."
PREEMPTED = "Preempted: work of a higher priority, or of a queue below its share, needed its place."


def settings(ground: Ground) -> Json:
    """SITE with YuniKorn, and pods that end soon after they are asked to."""
    site = ground.site(scheduler={"kind": "yunikorn"})
    for profile, cpu in (("small", "100m"), ("large", 3)):
        site["profiles"][profile] |= {
            "cpu": cpu,
            "memory": "64Mi",
            "images": {"default": JOB},
            "pod": {"terminationGracePeriodSeconds": 2},
        }
    return site


@pytest.fixture(scope="module")
def yunikorn(cluster: Cluster, node: Node) -> YuniKorn:
    """It ends with its cluster."""
    return YuniKorn.start(cluster, *QUEUES)


@pytest.fixture(scope="module")
def here(yunikorn: YuniKorn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(
        yunikorn.cluster, "yunikorn-work", tmp_path_factory.mktemp("yunikorn") / "storage", leave=True
    ) as found:
        yield found


@pytest.fixture
def alice(here: Ground) -> Iterator[Alice]:
    """In queues of YuniKorn's with the names of ours, each with room for one pod."""
    found = Alice(here, settings(here))
    found.api.apply(*found.priorities())
    try:
        yield found
    finally:
        found.clean()


@pytest.fixture
def together(here: Ground) -> Iterator[Alice]:
    """With our queues below one of YuniKorn's, which has room for one pod: researchers' by right."""
    site = settings(here)
    for name in ("climate", "backfill", "teaching"):
        site["queues"][name]["yunikorn"] = {"queue": f"root.research.{name}"}
    found = Alice(here, site)
    found.api.apply(*found.priorities())
    try:
        yield found
    finally:
        found.clean()


def application_of(yunikorn: YuniKorn, pod: Json) -> Json:
    """As YuniKorn has it, as soon as it does."""
    name = pod["metadata"]["labels"][APPLICATION]
    found = until(lambda: yunikorn.application(name), f"YuniKorn has the application {name}")
    assert found
    return found


FULL = "It starts when its queue is open and has room, and nodes have room."


def not_taken(queue: str) -> str:
    return f"YuniKorn rejected the pod: queue {queue} does not exist, is not a leaf queue, or does not admit you."


def test_a_notebook_runs_as_its_person_in_the_queue(alice: Alice, yunikorn: YuniKorn) -> None:
    alice.notebook("jupyter-alice")
    running = alice.runs("jupyter-alice")
    assert running["spec"]["schedulerName"] == "yunikorn"
    assert alice.ground.cluster.inside(running, "id", "-u") == "20001"
    assert alice.phase("jupyter-alice").name == "running"
    found = application_of(yunikorn, running)
    assert (found["queueName"], found["user"], found["groups"]) == ("root.climate", "alice", ["alice", "climate"])
    (allocation,) = found["allocations"]
    assert (allocation["allocationKey"], allocation["nodeId"]) == (running["metadata"]["uid"], "node")
    assert yunikorn.queue("root.climate")["allocatedResource"]["vcore"] == 100


async def test_a_job_waits_for_the_notebook_before_it_in_the_same_queue(alice: Alice, yunikorn: YuniKorn) -> None:
    notebook = alice.notebook("jupyter-alice")
    alice.runs("jupyter-alice")
    async with batch(alice.ground.cluster, alice.site) as jobs:
        job = await jobs.submit("sh", "-c", f"id -u; {UNTIL_RELEASED[-1]}")
        waiting = await jobs.until(job, "queued", lambda job: job["message"].endswith(FULL))
        assert waiting["state"] == "queued"
        (pod,) = alice.pods_of(job)
        found = application_of(yunikorn, pod)
        assert (found["queueName"], found["user"], found["groups"]) == ("root.climate", "alice", ["alice", "climate"])
        assert found["applicationID"] != application_of(yunikorn, alice.pod("jupyter-alice"))["applicationID"]
        alice.api.delete(notebook)
        await jobs.in_state(job, "running")
        (pod,) = alice.pods_of(job)
        assert until(lambda: alice.api.logs(alice.namespace, pod["metadata"]["name"]), "it has said who it is")
        assert alice.api.logs(alice.namespace, pod["metadata"]["name"]) == "20001\n"
        alice.ground.release()
        ended = await jobs.in_state(job, "succeeded")
    assert [attempt["reason"] for attempt in ended["attempts"]] == [""]


def test_a_notebook_waits_until_its_queue_has_room(alice: Alice) -> None:
    first = alice.notebook("first")
    alice.runs("first")
    alice.notebook("second")
    time.sleep(CYCLES_SECONDS)
    assert alice.pod("second")["status"] == {"phase": "Pending", "qosClass": "Guaranteed"}
    assert (alice.phase("second").name, why(alice.status("second"))) == ("queued", FULL)
    alice.api.delete(first)
    alice.runs("second")


def test_a_notebook_that_no_node_can_take_waits_with_yunikorns_words(alice: Alice) -> None:
    def elsewhere(pod: Json) -> None:
        pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "nowhere"}

    alice.notebook("first", edit=elsewhere)
    assert alice.waits("first", "It starts when a node can take it.").phase == "queued"


def test_a_notebook_in_a_queue_that_does_not_exist_is_told_so(alice: Alice, here: Ground) -> None:
    site = settings(here)
    site["queues"]["climate"]["yunikorn"] = {"queue": "root.nowhere"}
    lost = Alice(here, site)
    lost.notebook("lost")
    until(lambda: lost.phase("lost").name == "failed", "it has failed")
    assert lost.pod("lost")["status"]["reason"] == "ApplicationRejected"
    assert (lost.status("lost").phase, lost.phase("lost").message) == ("refused", not_taken("root.nowhere"))


async def test_a_job_in_a_queue_that_does_not_exist_fails_and_says_so(here: Ground, alice: Alice) -> None:
    site = settings(here)
    site["queues"]["climate"]["yunikorn"] = {"queue": "root.research"}
    async with batch(here.cluster, Site.model_validate(site)) as jobs:
        ended = await jobs.in_state(await jobs.submit("true"), "failed")
    assert ended["message"] == not_taken("root.research")


def test_yunikorn_lets_people_in_by_the_groups_that_we_tell_it(alice: Alice, here: Ground) -> None:
    for queue, group in (("root.climatologists", "climate"), ("root.students", "students")):
        site = settings(here)
        site["queues"]["climate"]["yunikorn"] = {"queue": queue}
        person = Alice(here, site)
        person.notebook(group)
    alice.runs("climate")
    until(lambda: alice.phase("students").name == "failed", "it has failed")
    assert alice.phase("students").message == not_taken("root.students")


def runs_after(attempts: int) -> Callable[[Json], bool]:
    return lambda job: job["state"] == "running" and len(job["attempts"]) == attempts + 1


async def test_a_preempted_job_comes_back_and_ends(together: Alice) -> None:
    async with batch(together.ground.cluster, together.site) as jobs:
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


async def test_a_preempted_job_that_ends_at_once_comes_back_too(together: Alice) -> None:
    """The mark must be there before the kubelet has said that the pod failed."""
    async with batch(together.ground.cluster, together.site) as jobs:
        job = await jobs.submit("sh", "-c", "trap 'exit 143' TERM; sleep 600 & wait", queue="backfill")
        await jobs.in_state(job, "running")
        for times in (1, 2, 3):
            researcher = together.notebook(f"researcher-{times}")
            await asyncio.to_thread(together.runs, f"researcher-{times}")
            together.api.delete(researcher)
            again = await jobs.until(job, "again", runs_after(times))
    assert [attempt["reason"] for attempt in again["attempts"]] == [TAKEN, TAKEN, TAKEN, ""]
    assert [attempt["exit_code"] for attempt in again["attempts"]] == [143, 143, 143, None]


async def test_a_job_that_is_preempted_while_no_service_runs_has_failed(together: Alice) -> None:
    """Nobody marks its pod then; YuniKorn's event tells why. YuniKorn sends its events every 2 s, so it can be late."""
    cluster, site = together.ground.cluster, together.site
    async with batch(cluster, site) as jobs:
        job = await jobs.submit("sleep", "600", queue="backfill")
        await jobs.in_state(job, "running")
    (pod,) = together.pods_of(job)
    together.notebook("researcher")
    await asyncio.to_thread(together.runs, "researcher")
    until(lambda: not together.pods_of(job), "its pod is gone")

    def is_reported() -> bool:
        about = f"involvedObject.uid={pod['metadata']['uid']}"
        events = together.api.all_of("v1", "Event", together.namespace, fieldSelector=about)
        return any(event["message"].startswith("Preempted by ") for event in events)

    until(is_reported, "YuniKorn has sent its event")
    async with batch(cluster, site) as jobs:
        ended = await jobs.until(job, "told", lambda job: job["message"] == PREEMPTED)
    assert ended["state"] == "failed"


async def test_a_job_whose_pod_is_deleted_by_hand_comes_back(alice: Alice) -> None:
    """Nothing tells it from a preemption."""
    async with batch(alice.ground.cluster, alice.site) as jobs:
        job = await jobs.submit("sleep", "600")
        await jobs.in_state(job, "running")
        (pod,) = alice.pods_of(job)
        alice.api.delete(pod)
        again = await jobs.until(job, "again", runs_after(1))
    assert [attempt["reason"] for attempt in again["attempts"]] == [TAKEN, ""]


async def test_a_job_that_is_cancelled_does_not_come_back(alice: Alice) -> None:
    async with batch(alice.ground.cluster, alice.site) as jobs:
        job = await jobs.submit("sleep", "600")
        await jobs.in_state(job, "running")
        await jobs.cancel(job)
        until(lambda: not alice.pods_of(job), "its pod is gone")
    until(lambda: alice.api.find("batch/v1", "Job", job, alice.namespace) is None, "the job is gone after it")
    assert not alice.pods_of(job)


def test_a_students_notebook_makes_room_for_a_researchers(together: Alice) -> None:
    together.notebook("student", queue="backfill")
    together.runs("student")
    together.notebook("researcher")
    last, reason = together.last_of("student")
    assert reason is None
    assert together.phase_of(last).name in {"ending", "failed"}
    together.runs("researcher")


@pytest.fixture
def unprotected(together: Alice) -> Alice:
    """With our queue teaching, which is not preemptible, in one of YuniKorn's that may be preempted."""
    site = together.site.model_dump(mode="json", by_alias=True, exclude_unset=True)
    site["queues"]["teaching"]["yunikorn"] = {"queue": "root.research.backfill"}
    return Alice(together.ground, site)


def test_a_notebook_that_is_not_preemptible_makes_room_all_the_same(unprotected: Alice) -> None:
    """The annotation is a wish: such pods are only taken after the others."""
    unprotected.notebook("teacher", queue="teaching")
    teacher = unprotected.runs("teacher")
    assert teacher["metadata"]["annotations"][PREEMPTION] == "false"
    unprotected.notebook("researcher")
    unprotected.runs("researcher")
    # Its place is free as soon as its program has ended.
    until(lambda: unprotected.api.find("v1", "Pod", "teacher", unprotected.namespace) is None, "teacher is gone")


def test_nobody_makes_room_from_a_queue_whose_preemption_is_disabled(together: Alice) -> None:
    together.notebook("teacher", queue="teaching")
    together.runs("teacher")
    together.notebook("researcher")
    time.sleep(CYCLES_SECONDS)
    assert together.phase("teacher").name == "running"
    assert why(together.status("researcher")) == FULL


def test_nobody_makes_room_for_another_of_the_same_queue(unprotected: Alice) -> None:
    unprotected.notebook("first", queue="backfill")
    unprotected.runs("first")
    unprotected.notebook("second", queue="teaching")
    time.sleep(CYCLES_SECONDS)
    assert unprotected.phase("first").name == "running"
    assert why(unprotected.status("second")) == FULL


async def test_a_job_ends_at_its_hard_wall_time_with_that_reason(alice: Alice) -> None:
    async with batch(alice.ground.cluster, alice.site) as jobs:
        job = await jobs.submit("sleep", "600", wall_time="3s")
        ended = await jobs.in_state(job, "failed")
    assert ended["message"] == "It reached its hard wall time."
    assert len(ended["attempts"]) == 1


def test_a_notebook_ends_at_its_hard_wall_time_with_that_reason(alice: Alice) -> None:
    def soon(pod: Json) -> None:
        pod["spec"]["activeDeadlineSeconds"] = 3

    alice.notebook("first", edit=soon)
    until(lambda: alice.phase("first").name == "failed", "first has failed")
    assert alice.phase("first").message == "It reached its hard wall time."


def why_invalid(yunikorn: YuniKorn, configuration: str) -> str:
    """Return why YuniKorn would not take this text as queues.yaml; "" if it would."""
    url = f"http://{apart.address(yunikorn.cluster, SCHEDULER)}:{PORT}/ws/v1/validate-conf"
    with urllib.request.urlopen(url, data=configuration.encode(), timeout=10) as answer:
        found: Json = json.load(answer)
    return "" if found["allowed"] else str(found["reason"])


def test_yunikorn_accepts_the_queues_of_the_documentation(yunikorn: YuniKorn) -> None:
    [configuration] = scheduler_examples()["yunikorn"].objects
    queues = configuration["data"]["queues.yaml"]
    assert why_invalid(yunikorn, queues) == ""
    more_than_the_parent_has = queues.replace('vcore: "16"', 'vcore: "65"')
    assert "guaranteed" in why_invalid(yunikorn, more_than_the_parent_has)


async def test_its_admission_controller_refuses_who_may_not_say_whose_it_is(
    alice: Alice, yunikorn: YuniKorn, caplog: pytest.LogCaptureFixture
) -> None:
    """As it is installed it trusts nobody but the controllers of Kubernetes."""
    said = "user administrator with groups [system:masters,system:authenticated] is not allowed to set user annotation"
    with yunikorn.admitting(""):
        with pytest.raises(Refused, match=re.escape(said)):
            alice.notebook("first")
        async with alice.batch() as jobs:
            with pytest.raises(Refusal, match="The cluster did not accept the job"):
                await jobs.submit("true")
    assert said in caplog.text
    assert not alice.ground.pods()
    assert not alice.api.all_of("batch/v1", "Job", alice.namespace)


async def test_its_admission_controller_leaves_what_those_say_whom_it_trusts(alice: Alice, yunikorn: YuniKorn) -> None:
    with yunikorn.admitting("^administrator$"):
        notebook = alice.notebook("jupyter-alice")
        # So that older programs of YuniKorn's read the same.
        assert notebook["metadata"]["labels"]["queue"] == "root.climate"
        assert notebook["metadata"]["annotations"][PREEMPTION] == "false"
        found = application_of(yunikorn, alice.runs("jupyter-alice"))
        assert (found["queueName"], found["user"], found["groups"]) == ("root.climate", "alice", ["alice", "climate"])
        alice.api.delete(notebook)
        async with alice.batch() as jobs:
            job = await jobs.submit(*UNTIL_RELEASED)
            await jobs.in_state(job, "running")
            (pod,) = alice.pods_of(job)
            assert application_of(yunikorn, pod)["user"] == "alice"
            alice.ground.release()
            await jobs.in_state(job, "succeeded")
