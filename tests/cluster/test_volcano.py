"""Volcano 1.14.1: notebooks and jobs of ours in its queues, by the real controllers, in real containers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alice import CYCLES_SECONDS, Alice
from doc_pages import scheduler_examples
from ground import JOB, UNTIL_RELEASED, Ground, ground
from hub import Hub
from queue_answers import queue_answers
from rig.api import Json, until
from rig.controllers.volcano import ACTIONS, API, Volcano
from work import batch

from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.schedulers import why

pytestmark = pytest.mark.programs("volcano")

# Room for one pod of profile small.
ROOM = {"cpu": "150m"}
FULL = "It starts when its queue is open and has room, and nodes have room."
NOT_YET = "Volcano has not added the pod to its queue yet. It adds nothing while that queue is closed."
PREEMPTED = "Preempted: work of a higher priority, or of a queue below its share, needed its place."
# Without `enqueue`: with it, nothing is preempted in a queue that is at its capability.
PREEMPTING = "allocate, preempt, reclaim, backfill"
RECLAIMING = "enqueue, allocate, preempt, reclaim, backfill"
SLOW_TO_END = ("sh", "-c", "trap 'sleep 1; exit 0' TERM; sleep 600 & wait")


def settings(ground: Ground) -> Json:
    """SITE with Volcano, and pods that end soon after they are asked to."""
    site = ground.site(scheduler={"kind": "volcano"})
    site["priorities"] = {**site["priorities"], "high": {"value": 100}}
    site["queues"]["urgent"] = {"groups": {"climate": True}, "priority": "high", "order": 50}
    site["profiles"]["wide"] = {**site["profiles"]["small"], "title": "Wide", "order": 60}
    for profile, cpu in (("small", "100m"), ("wide", "800m"), ("large", 3)):
        site["profiles"][profile] |= {
            "cpu": cpu,
            "memory": "64Mi",
            "images": {"default": JOB},
            "pod": {"terminationGracePeriodSeconds": 2},
        }
    return site


def queue(name: str, **spec: Any) -> Json:
    return {"apiVersion": API, "kind": "Queue", "metadata": {"name": name}, "spec": {"weight": 1, **spec}}


@pytest.fixture(scope="module")
def here(volcano: Volcano, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(volcano.cluster, "volcano-work", tmp_path_factory.mktemp("volcano") / "storage", leave=True) as found:
        yield found


@pytest.fixture
def alice(here: Ground) -> Iterator[Alice]:
    """In queues of Volcano's with the names of ours, each with room for one pod."""
    found = Alice(here, settings(here))
    found.api.apply(*found.priorities(), *(queue(name, capability=ROOM) for name in found.site.queues))
    try:
        yield found
    finally:
        found.clean()


@pytest.fixture
def together(here: Ground) -> Iterator[Alice]:
    """With all of our queues in one of Volcano's, which has room for one pod."""
    site = settings(here)
    for options in site["queues"].values():
        options["volcano"] = {"queue": "research"}
    found = Alice(here, site)
    found.api.apply(*found.priorities(), queue("research", capability=ROOM))
    try:
        yield found
    finally:
        found.clean()


@pytest.fixture(autouse=True)
def scheduled(request: pytest.FixtureRequest, volcano: Volcano) -> None:
    """Volcano's scheduler has the actions that the test is marked with, or those of its installation."""
    marked = request.node.get_closest_marker("actions")
    volcano.ensure(marked.args[0] if marked else ACTIONS)


def pod_groups(alice: Alice, owner: str = "Pod") -> list[Json]:
    """Those of pods, or of objects of another kind."""
    found = alice.api.all_of(API, "PodGroup", alice.namespace)
    return [group for group in found if group["metadata"]["ownerReferences"][0]["kind"] == owner]


def phases(pods: list[Json]) -> list[str]:
    return [pod["status"]["phase"] for pod in pods]


def test_a_notebook_gets_its_pod_group_and_runs(alice: Alice) -> None:
    created = alice.notebook("jupyter-alice")
    running = alice.runs("jupyter-alice")
    (group,) = pod_groups(alice)
    assert [owner["uid"] for owner in group["metadata"]["ownerReferences"]] == [created["metadata"]["uid"]]
    spec = group["spec"]
    assert (spec["queue"], spec["minMember"], spec["priorityClassName"]) == ("climate", 1, "research-normal")
    assert running["spec"]["schedulerName"] == "volcano"
    assert alice.ground.cluster.inside(running, "id", "-u") == "20001"
    assert alice.phase("jupyter-alice").name == "running"


def test_a_notebook_waits_until_its_queue_has_room(alice: Alice) -> None:
    first = alice.notebook("first")
    alice.runs("first")
    alice.notebook("second")
    assert alice.waits("second", FULL).phase == "queued"
    assert (alice.phase("second").name, alice.phase("first").name) == ("queued", "running")
    alice.api.delete(first)
    alice.runs("second")


async def test_a_job_larger_than_any_node_is_told_so_at_once(alice: Alice) -> None:
    alice.api.apply(queue("climate", capability={"cpu": 8}))
    async with alice.batch() as jobs:
        job = await jobs.submit("true", profile="large")
        told = "No node here is this big now: the largest has 2 CPUs. It starts only if such a node is added."
        waiting = await jobs.until(job, "told", lambda job: job["message"].endswith(told))
    assert (waiting["state"], waiting["reason"]) == ("queued", "BadConstraints")
    assert waiting["waiting"]["summary"] == "larger than any node"


async def test_a_job_waits_for_the_notebook_before_it_in_the_same_queue(alice: Alice) -> None:
    notebook = alice.notebook("jupyter-alice")
    alice.runs("jupyter-alice")
    async with alice.batch() as jobs:
        job = await jobs.submit("id", "-u")
        waiting = await jobs.until(job, "full", lambda job: job["message"].endswith(FULL))
        assert waiting["state"] == "queued"
        (group,) = pod_groups(alice, "Job")
        assert (group["spec"]["queue"], group["spec"]["minMember"]) == ("climate", 1)
        alice.api.delete(notebook)
        ended = await jobs.in_state(job, "succeeded")
    assert [attempt["reason"] for attempt in ended["attempts"]] == [""]


async def test_a_job_ends_at_its_hard_wall_time_with_that_reason(alice: Alice) -> None:
    async with alice.batch() as jobs:
        job = await jobs.submit("sleep", "600", wall_time="3s")
        ended = await jobs.in_state(job, "failed")
    assert ended["message"] == "It reached its hard wall time."


def test_a_notebook_ends_at_its_hard_wall_time_with_that_reason(alice: Alice) -> None:
    def soon(pod: Json) -> None:
        pod["spec"]["activeDeadlineSeconds"] = 3

    alice.notebook("first", edit=soon)
    until(lambda: alice.phase("first").name == "failed", "first has failed")
    assert alice.phase("first").message == "It reached its hard wall time."


def test_the_queue_of_the_documentation_is_open(alice: Alice) -> None:
    """Volcano's webhooks accept it too."""
    [found] = scheduler_examples()["volcano"].objects
    alice.api.delete(queue("teaching"))
    alice.api.apply(found)
    name = found["metadata"]["name"]
    until(lambda: alice.api.get(API, "Queue", name).get("status", {}).get("state") == "Open", f"{name} is open")


async def test_a_queue_that_does_not_exist_or_is_closed_is_refused_before(alice: Alice, volcano: Volcano) -> None:
    volcano.close("climate")
    async with alice.batch() as jobs:
        with pytest.raises(Refusal, match=r"Queue 'climate' is clos(ed|ing)\b") as shut:
            await jobs.submit("true")
        alice.api.delete(queue("climate"))
        with pytest.raises(Refusal, match="The cluster has no Queue 'climate'") as missing:
            await jobs.submit("true")
        assert not alice.api.all_of("batch/v1", "Job", alice.namespace)
        for refused in (shut, missing):
            assert (refused.value.field, refused.value.status) == ("queue", 503)

        alice.api.apply(queue("climate"))
        await jobs.in_state(await jobs.submit("true"), "succeeded")


def test_who_is_in_a_queue_that_does_not_exist_is_told_and_runs_when_it_does(alice: Alice) -> None:
    alice.api.delete(queue("climate"))
    alice.notebook("first")
    time.sleep(CYCLES_SECONDS)
    assert (alice.phase("first").name, why(alice.status("first"))) == ("queued", NOT_YET)
    assert (alice.pod("first")["status"].get("conditions"), pod_groups(alice)) == (None, [])
    alice.api.apply(queue("climate"))
    alice.runs("first")


def test_a_queue_that_closes_starts_nobody_until_it_opens(alice: Alice, volcano: Volcano) -> None:
    alice.notebook("running")
    alice.runs("running")
    alice.notebook("waiting")
    alice.waits("waiting", FULL)
    volcano.close("climate")
    alice.notebook("late")
    assert alice.phase("running").name == "running"
    alice.api.delete(alice.pod("running"))
    until(lambda: alice.api.find("v1", "Pod", "running", alice.namespace) is None, "the first is gone")
    time.sleep(CYCLES_SECONDS)
    assert [why(alice.status(name)) for name in ("waiting", "late")] == [FULL, NOT_YET]
    volcano.open("climate")
    alice.runs("waiting")


def test_nobody_is_put_into_a_queue_while_the_webhooks_are_down(alice: Alice, volcano: Volcano) -> None:
    volcano.down()
    try:
        alice.notebook("first")
        time.sleep(CYCLES_SECONDS)
        assert alice.status("first").message == NOT_YET
    finally:
        volcano.up()
    alice.runs("first")


def starts_whole_or_not_at_all(alice: Alice, told: set[str]) -> None:
    """There is room for two of three; `told` is what the three pods say meanwhile."""
    alice.api.apply(queue("climate", capability={"cpu": "350m"}))
    first = alice.notebook("first")
    alice.runs("first")
    created = alice.gang("array", 3, "sleep", "600")
    assert created["metadata"]["annotations"]["scheduling.volcano.sh/group-min-member"] == "3"
    until(lambda: {alice.why(pod) for pod in alice.pods_of("array")} == told, f"they say {told}")
    time.sleep(CYCLES_SECONDS)
    waiting = alice.pods_of("array")
    assert phases(waiting) == ["Pending"] * 3
    assert {alice.phase_of(pod).name for pod in waiting} == {"queued"}
    assert {alice.why(pod) for pod in waiting} == told
    alice.api.delete(first)
    until(lambda: phases(alice.pods_of("array")) == ["Running"] * 3, "all three run")
    (group,) = pod_groups(alice, "Job")
    assert group["spec"]["minMember"] == 3


FULL_FOR_THREE = FULL.replace("room", "room for its 3 pods, which start together", 1)


def test_a_gang_starts_whole_or_not_at_all(alice: Alice) -> None:
    starts_whole_or_not_at_all(alice, {FULL_FOR_THREE})


def test_nobody_is_preempted_by_volcano_as_it_is_installed(together: Alice) -> None:
    together.notebook("student", queue="backfill")
    together.runs("student")
    together.notebook("researcher")
    together.keeps_waiting("researcher", FULL)
    assert together.phase("student").name == "running"


@pytest.mark.actions(PREEMPTING)
def test_a_gang_starts_whole_or_not_at_all_where_others_are_preempted(alice: Alice) -> None:
    placed = "It has a node, and waits until other pods there have ended or until the rest of its group has nodes."
    starts_whole_or_not_at_all(alice, {FULL_FOR_THREE, placed})


@pytest.mark.actions(PREEMPTING)
def test_a_students_notebook_makes_room_for_a_researchers(together: Alice) -> None:
    together.notebook("student", *SLOW_TO_END, queue="backfill")
    together.runs("student")
    together.notebook("researcher")
    last, reason = together.last_of("student")
    assert reason is not None
    assert (reason.message, reason.preempted) == (PREEMPTED, True)
    over = together.phase_of(last)
    assert (over.name, over.message) in {("ending", PREEMPTED), ("failed", PREEMPTED)}
    together.runs("researcher")


@pytest.mark.actions(PREEMPTING)
async def test_a_preempted_notebook_of_the_hub_is_told_why(together: Alice, tmp_path: Path) -> None:
    cluster = together.ground.cluster
    hub = Hub(6, tmp_path / "hub", cluster, cluster.network.address)
    program = f'c.KubeSpawner.cmd = ["python3", "-c", Path("{hub.state}/notebook.py").read_text()]'
    hub.write(together.settings, extra=program)
    try:
        await hub.start()
        await hub.person("alice")
        await hub.start_server("alice", {"profile": "small", "queue": "backfill"})
        await hub.ready("alice")
        together.notebook("researcher")
        end = await hub.one_end("alice", "preempted")
        assert end["message"] == PREEMPTED
        await hub.stopped("alice")
        assert await hub.ends("alice") == [end]
    finally:
        await hub.close()


@pytest.mark.actions(PREEMPTING)
def test_a_researchers_notebook_makes_room_for_nobody(together: Alice) -> None:
    together.notebook("first")
    together.runs("first")
    together.notebook("second", queue="urgent")
    together.keeps_waiting("second", FULL)
    assert together.phase("first").name == "running"


@pytest.mark.actions(PREEMPTING)
async def test_a_preempted_job_comes_back_and_ends(together: Alice) -> None:
    async with together.batch() as jobs:
        job = await jobs.submit(*UNTIL_RELEASED, queue="backfill")
        await jobs.in_state(job, "running")
        researcher = together.notebook("researcher")
        waiting = await jobs.until(job, "preempted", lambda job: job["state"] == "queued")
        assert waiting["message"] == f"{PREEMPTED} It waits to run again from the start."
        await asyncio.to_thread(together.runs, "researcher")
        together.api.delete(researcher)
        await jobs.in_state(job, "running")
        together.ground.release()
        ended = await jobs.in_state(job, "succeeded")
    assert [attempt["reason"] for attempt in ended["attempts"]] == [PREEMPTED, ""]
    assert ended["exit_code"] == 0
    assert together.api.get("batch/v1", "Job", job, together.namespace)["status"].get("failed", 0) == 0


@pytest.mark.actions(PREEMPTING)
async def test_what_was_preempted_while_no_service_ran_is_told_by_events(together: Alice) -> None:
    cluster, site = together.ground.cluster, together.site
    async with batch(cluster, site) as jobs:
        job = await jobs.submit("sleep", "600", queue="backfill")
        await jobs.in_state(job, "running")
    (victim,) = together.pods_of(job)
    researcher = together.notebook("researcher")
    await asyncio.to_thread(together.last_of, victim["metadata"]["name"])
    together.api.delete(researcher)
    async with batch(cluster, site) as jobs:
        again = await jobs.until(job, "running again", lambda job: job["state"] == "running" and job["attempts"][1:])
    assert [attempt["reason"] for attempt in again["attempts"]] == [PREEMPTED, ""]
    assert again["attempts"][0]["pod"] == victim["metadata"]["name"]


@pytest.mark.actions(PREEMPTING)
def test_one_of_a_gang_is_preempted_alone_and_comes_back_alone(together: Alice) -> None:
    """`gang` is not asked for victims as Volcano is installed, so that the rest of its pods run on without it."""
    together.api.apply(queue("research", capability={"cpu": "350m"}))
    together.gang("array", 3, *UNTIL_RELEASED, queue="backfill")
    until(lambda: phases(together.pods_of("array")) == ["Running"] * 3, "all three run")
    before = {pod["metadata"]["name"] for pod in together.pods_of("array")}
    researcher = together.notebook("researcher")
    together.runs("researcher")

    def staying() -> set[str]:
        # The one that has to go may still be on its way out when the researcher's runs.
        pods = [pod for pod in together.pods_of("array") if pod["status"]["phase"] == "Running"]
        return {pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}

    assert until(lambda: staying() if len(staying()) == 2 else set(), "two of three run on") < before
    together.api.delete(researcher)
    until(lambda: phases(together.pods_of("array")) == ["Running"] * 3, "all three run again")
    together.ground.release()

    def is_complete() -> bool:
        status = together.api.get("batch/v1", "Job", "array", together.namespace)["status"]
        return any(found["type"] == "Complete" for found in status.get("conditions", []))

    until(is_complete, "the whole array has ended well")
    assert len({pod["metadata"]["name"] for pod in together.pods_of("array")} & before) == 2


@pytest.mark.actions(RECLAIMING)
def test_nobody_is_preempted_in_a_full_queue_by_the_actions_alone(together: Alice) -> None:
    together.notebook("student", queue="backfill")
    together.runs("student")
    together.notebook("researcher")
    together.keeps_waiting("researcher", FULL)
    assert together.phase("student").name == "running"


@pytest.mark.actions(RECLAIMING)
def test_a_queue_takes_back_its_share_from_another(alice: Alice) -> None:
    for name in ("climate", "backfill"):
        alice.api.delete(queue(name))
        alice.api.apply(queue(name))
    for name in ("first", "second"):
        alice.notebook(name, *SLOW_TO_END, queue="backfill", profile="wide")
        alice.runs(name)
    alice.notebook("researcher", profile="wide")
    until(lambda: any(alice.scheduler.eviction(pod) for pod in alice.ground.pods()), "one is taken", every=0.03)
    (victim,) = (pod for pod in alice.ground.pods() if alice.scheduler.eviction(pod))
    assert alice.phase_of(victim).message == PREEMPTED
    alice.runs("researcher")
    left = {"first", "second", "researcher"} - {victim["metadata"]["name"]}
    until(lambda: {pod["metadata"]["name"] for pod in alice.ground.pods()} == left, f"there are {left}")


async def test_form_and_my_work_say_of_a_queue_what_volcano_does(alice: Alice, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue climate keeps room for one pod of profile small free. Its neighbour only has a limit."""
    kept = {"cpu": "150m", "memory": "256Mi"}
    capability = {"cpu": "150m", "memory": "1Gi"}
    alice.api.apply(queue("climate", capability=capability, deserved=kept, guarantee={"resource": kept}))
    async with queue_answers(alice, monkeypatch.setattr) as answers:
        await answers.follow_one_place(
            {"cpu": "0/0.15", "memory": "0/1 GiB"}, {"cpu": "0.1/0.15", "memory": "64 MiB/1 GiB"}, FULL
        )
        await answers.becomes("climate", "Larger than its queue", {"cpu": "0/0.15", "memory": "0/1 GiB"}, "wide")
