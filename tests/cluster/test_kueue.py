"""Kueue 0.19.2: notebooks and jobs of ours through one LocalQueue, by the real controllers, in real containers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from alice import MAIN
from directory_files import LOCKED
from doc_pages import scheduler_examples
from ground import JOB, UNTIL_RELEASED, ground
from hub import Hub
from kueue_work import Work, local_queue, queue_objects
from queue_answers import queue_answers
from rig.api import Json, Refused, until
from rig.cluster import Cluster
from rig.controllers.kueue import API, Kueue
from rig.node import Node
from rig.registry import registry
from work import batch

from jupyter_research_spawner.api_object import condition
from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.schedulers import Shortage
from jupyter_research_spawner.watch import classify

pytestmark = pytest.mark.programs("kueue")

FULL = "It starts when 0.5 more CPU is free in its queue."
PREEMPTED = "Preempted: work of a higher priority needed its place."


PENDING = "/apis/visibility.kueue.x-k8s.io/v1beta2/namespaces/{}/localqueues/climate/pendingworkloads"
NOT_READY = "It was not ready within Kueue's waitForPodsReady timeout, for example because pulling its image was slow."


@pytest.fixture(scope="module")
def all_work(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    with ground(cluster, "kueue-work", tmp_path_factory.mktemp("kueue") / "storage", leave=True) as here:
        found = Work(Kueue.start(cluster), here)  # Kueue ends with its cluster
        found.lay_out()
        yield found
        found.clean()


@pytest.fixture
def work(all_work: Work) -> Iterator[Work]:
    try:
        yield all_work
    finally:
        all_work.clean()


def gates(pod: Json) -> set[str]:
    return {gate["name"] for gate in pod["spec"].get("schedulingGates", [])}


def test_a_notebook_is_gated_admitted_and_runs(work: Work) -> None:
    created = work.notebook("jupyter-alice")
    assert "kueue.x-k8s.io/admission" in gates(created)
    running = work.runs("jupyter-alice")
    assert not gates(running)
    assert work.ground.cluster.inside(running, "id", "-u") == "20001"
    assert work.status("jupyter-alice").phase == "running"
    spec = work.workload(created)["spec"]
    assert (spec["queueName"], spec["priorityClassRef"]["name"]) == ("climate", "research-normal")
    assert spec["maximumExecutionTimeSeconds"] == 8 * 3600 + 300


async def test_a_job_waits_for_the_notebook_before_it_in_the_same_queue(work: Work) -> None:
    notebook = work.notebook("jupyter-alice")
    work.runs("jupyter-alice")
    async with work.batch() as jobs:
        job = await jobs.submit("id", "-u")
        waiting = await jobs.until(job, "full", lambda job: job["message"].endswith(FULL))
        assert (waiting["state"], waiting["attempts"]) == ("queued", [])
        work.api.delete(notebook)
        ended = await jobs.in_state(job, "succeeded")
    assert [attempt["reason"] for attempt in ended["attempts"]] == [""]


def test_a_notebook_waits_until_there_is_quota(work: Work) -> None:
    first = work.notebook("first")
    work.runs("first")
    work.notebook("second")
    waiting = work.waits("second", FULL)
    assert (waiting.phase, waiting.missing) == ("queued", (Shortage("cpu", "500m", "any-node"),))
    assert "kueue.x-k8s.io/admission" in gates(work.pod("second"))
    assert classify(work.pod("second"), waiting, MAIN).name == "queued"
    work.api.delete(first)
    work.runs("second")


async def test_jobs_that_wait_are_told_their_places(work: Work) -> None:
    first = work.notebook("first")
    await asyncio.to_thread(work.runs, "first")
    async with work.batch() as jobs:
        second = await jobs.submit("true")
        await jobs.until(second, "alone", lambda job: ", at place 1 of 1. " in job["message"])
        await asyncio.sleep(1.1)  # Kueue compares times in seconds
        third = await jobs.submit("true")
        waiting = await jobs.until(third, "behind it", lambda job: ", at place 2 of 2. " in job["message"])
        assert (waiting["waiting"]["place"], waiting["waiting"]["places"]) == (2, 2)
        assert waiting["message"].endswith("It starts when it is its turn and its queue has room.")
        assert (waiting["reason"], waiting["waiting"]["summary"]) == ("Priority", "place 2 of 2")
        work.api.delete(first)
        for job in (second, third):
            await jobs.in_state(job, "succeeded")


def test_a_notebook_makes_room_for_a_more_important_one(work: Work) -> None:
    work.notebook("first", "sh", "-c", "trap 'sleep 1; exit 0' TERM; sleep 600 & wait")
    work.runs("first")
    work.notebook("second", queue="urgent")
    last, reason = work.last_of("first")
    assert reason is not None
    assert (reason.message, reason.preempted) == (PREEMPTED, True)
    over = classify(last, work.scheduler.status(last, work.objects(last), ()), MAIN, reason)
    assert (over.name, over.preempted) in {("failed", True), ("ending", True)}
    work.runs("second")


async def test_a_preempted_job_comes_back_and_ends(work: Work) -> None:
    async with work.batch() as jobs:
        job = await jobs.submit(*UNTIL_RELEASED)
        await jobs.in_state(job, "running")
        urgent = work.notebook("urgent", queue="urgent")
        waiting = await jobs.until(job, "preempted", lambda job: job["state"] == "queued")
        assert waiting["message"].startswith(f"{PREEMPTED} It waits to run again from the start.")
        await asyncio.to_thread(work.runs, "urgent")
        work.api.delete(urgent)
        await jobs.in_state(job, "running")
        work.ground.release()
        ended = await jobs.in_state(job, "succeeded")
    assert [attempt["reason"] for attempt in ended["attempts"]] == [PREEMPTED, ""]
    assert ended["exit_code"] == 0


async def test_a_job_of_more_than_the_whole_queue_is_told_that_it_cannot_start(work: Work) -> None:
    async with work.batch() as jobs:
        job = await jobs.submit("true", profile="large")
        told = "It cannot start, because it requests 3 CPUs, but its queue has only 0.5 CPU in total."
        await jobs.until(job, "told", lambda job: job["state"] == "queued" and told in job["message"])


async def test_a_job_that_was_put_out_of_its_queue_says_so(work: Work) -> None:
    async with work.batch() as jobs:
        job = await jobs.submit("sleep", "600")
        await jobs.in_state(job, "running")
        work.api.patch(work.workload(work.api.get("batch/v1", "Job", job, work.namespace)), {"spec": {"active": False}})
        put_out = "Kueue deactivated its Workload (The workload is deactivated)."
        out = await jobs.until(job, "put out", lambda job: put_out in job["message"])
    assert [attempt["reason"] for attempt in out["attempts"]] == [
        "Evicted by Kueue (Deactivated): The workload is deactivated."
    ]


async def test_kueues_own_limit_would_leave_a_job_suspended_for_ever(work: Work) -> None:
    first = work.notebook("first")
    await asyncio.to_thread(work.runs, "first")
    async with work.batch() as jobs:
        job = await jobs.submit("sleep", "600")
        suspended = work.api.get("batch/v1", "Job", job, work.namespace)
        work.api.patch(suspended, {"metadata": {"labels": {"kueue.x-k8s.io/max-exec-time-seconds": "3"}}})
        work.api.delete(first)
        out = await jobs.until(job, "put out", lambda job: "exceeding the maximum execution time" in job["message"])
    assert (out["state"], [attempt["reason"] for attempt in out["attempts"]]) == (
        "queued",
        ["Ended by its hard wall time."],
    )
    left = work.api.get("batch/v1", "Job", job, work.namespace)
    assert left["spec"]["suspend"] is True
    assert [found["type"] for found in left["status"]["conditions"]] == ["Suspended"]


async def test_a_job_ends_at_its_hard_wall_time_with_that_reason(work: Work) -> None:
    """Kueue's own limit would leave it suspended for ever, so the pod has it, and a job's marks have none."""
    async with work.batch() as jobs:
        job = await jobs.submit("sleep", "600", wall_time="3s")
        ended = await jobs.in_state(job, "failed")
    assert ended["message"] == "It reached its hard wall time."
    verdict = work.api.get("batch/v1", "Job", job, work.namespace)
    assert verdict["spec"]["suspend"] is False
    assert "kueue.x-k8s.io/max-exec-time-seconds" not in verdict["metadata"]["labels"]


def test_a_notebook_reaches_its_hard_wall_time_before_kueue_takes_it_away(work: Work) -> None:
    def soon(pod: Json) -> None:
        pod["spec"]["activeDeadlineSeconds"] = 3

    work.notebook("first", edit=soon)
    until(lambda: work.pod("first")["status"]["phase"] == "Failed", "first has failed")
    pod = work.pod("first")
    phase = classify(pod, work.status("first"), MAIN, work.scheduler.eviction(pod, work.objects(pod)))
    assert (phase.name, phase.message) == ("failed", "It reached its hard wall time.")


def test_kueue_takes_a_notebook_away_whose_own_deadline_did_not_come(work: Work) -> None:
    def only_kueues(pod: Json) -> None:
        pod["metadata"]["labels"]["kueue.x-k8s.io/max-exec-time-seconds"] = "10"

    work.notebook("first", edit=only_kueues)
    work.runs("first")
    _, reason = work.last_of("first")
    assert reason is not None
    assert (reason.message, reason.preempted) == ("Ended by its hard wall time.", False)


@pytest.mark.parametrize(
    ("absent", "field"),
    [("LocalQueue/climate", "queue"), ("WorkloadPriorityClass/research-normal", "priority")],
)
async def test_what_kueue_would_never_tell_of_is_refused_before(work: Work, absent: str, field: str) -> None:
    kind, name = absent.split("/")
    obj = work.api.get(API, kind, name, work.namespace)
    work.api.delete(obj)
    until(lambda: not work.api.find(obj["apiVersion"], kind, name, work.namespace), f"{absent} is gone")
    async with work.batch() as jobs:
        with pytest.raises(Refusal, match=f"The cluster has no {kind} '{name}'") as refused:
            await jobs.submit("true")
    assert (refused.value.field, refused.value.status) == (field, 503)
    assert not work.api.all_of("batch/v1", "Job", work.namespace)


def test_who_waits_in_a_queue_that_went_or_was_stopped_is_told(work: Work) -> None:
    queue = local_queue("climate", work.namespace)
    work.api.apply(local_queue("climate", work.namespace, stopPolicy="Hold"))
    work.notebook("first")
    assert work.waits("first", "LocalQueue climate is inactive.").phase == "refused"
    work.api.delete(queue)
    assert work.waits("first", "LocalQueue climate doesn't exist.").phase == "refused"
    work.api.apply(queue)
    work.runs("first")


def test_a_priority_class_that_went_leaves_a_notebook_without_a_workload(work: Work) -> None:
    work.api.delete(work.api.get(API, "WorkloadPriorityClass", "research-normal"))
    created = work.notebook("first")
    work.waits("first", "Kueue has not added the pod to its queue yet.")
    assert work.workload(created) == {}


def test_the_roles_of_a_site_let_hub_and_service_see_what_kueue_keeps(work: Work) -> None:
    work.api.apply(*everything(work.site, Release(), only=["rbac"]))
    until(
        lambda: condition(work.api.get(API, "LocalQueue", "climate", work.namespace), "Active"), "Kueue knows climate"
    )
    for account in ("hub", "research-batch"):
        api = work.as_account(account)
        assert api.all_of(API, "Workload", work.namespace) == []
        assert api.find(API, "LocalQueue", "climate", work.namespace)
        assert api.find(API, "WorkloadPriorityClass", "research-normal")
        assert api.call("GET", PENDING.format(work.namespace))["items"] == []
        for kind in ("ClusterQueue", "Cohort", "ResourceFlavor"):
            assert len(api.all_of(API, kind)) == len(work.api.all_of(API, kind))
        assert len(api.all_of("v1", "Node")) == len(work.api.all_of("v1", "Node"))
        assert api.all_of("apps/v1", "DaemonSet") == []
    with pytest.raises(Refused, match="cannot list resource") as refused:
        work.as_account("default").all_of(API, "Workload", work.namespace)
    assert refused.value.status == 403


def test_the_cluster_queue_of_the_documentation_is_active(work: Work) -> None:
    """Kueue's webhooks accept it, and Kueue finds its ResourceFlavor."""
    flavor, queue = (
        {**one, "metadata": {"name": name}} if one["kind"] == "ClusterQueue" else one
        for one, name in zip(scheduler_examples()["kueue"].objects, ("any-node", "of-documentation"), strict=True)
    )
    work.api.apply(flavor, queue)
    try:
        until(
            lambda: condition(work.api.get(API, "ClusterQueue", "of-documentation"), "Active").get("status") == "True",
            "the ClusterQueue is active",
        )
    finally:
        work.api.delete(queue)


FREE, WAIT = "Free now", "You would wait"


def used(cpu: str, memory: str) -> dict[str, str]:
    return {"cpu": cpu, "memory": memory}


async def test_form_and_my_work_say_of_a_queue_what_kueue_does(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for one pod of profile small, which asks for 0.5 CPU and 256 MiB."""
    async with queue_answers(work, monkeypatch.setattr) as answers:
        await answers.becomes("climate", FREE, used("0/0.5", "0/1 GiB"))
        first = work.notebook("first")
        await answers.runs("first")
        await answers.becomes("climate", WAIT, used("0.5/0.5", "256 MiB/1 GiB"))
        second = work.notebook("second")
        await answers.waits("second", FULL)
        await answers.becomes("climate", f"{WAIT} (1 waiting)", used("0.5/0.5", "256 MiB/1 GiB"))
        # All LocalQueues have this ClusterQueue.
        await answers.becomes("teaching", f"{WAIT} (1 waiting)", used("0.5/0.5", "256 MiB/1 GiB"))
        use = await answers.use("climate")
        assert use is not None and use.waiting == 1
        work.api.apply(local_queue("teaching", work.namespace, stopPolicy="Hold"))
        await answers.becomes("teaching", "Queue stopped", used("0.5/0.5", "256 MiB/1 GiB"))
        work.api.delete(first)
        await answers.runs("second")
        await answers.becomes("climate", WAIT, used("0.5/0.5", "256 MiB/1 GiB"))
        work.api.delete(second)
        await answers.becomes("climate", FREE, used("0/0.5", "0/1 GiB"))


async def test_form_and_my_work_say_what_a_queue_can_borrow(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    _, queue, *_ = queue_objects(work.site)
    spec = {**queue["spec"], "cohortName": "university"}
    other = {**queue, "metadata": {"name": "lender"}, "spec": spec}
    work.api.apply({**queue, "spec": spec}, other)
    try:
        async with queue_answers(work, monkeypatch.setattr) as answers:
            await answers.becomes("climate", FREE, used("0/0.5", "0/1 GiB"))
            work.notebook("first")
            await answers.runs("first")
            await answers.becomes("climate", FREE, used("0.5/0.5", "256 MiB/1 GiB"))
            work.notebook("second")
            await answers.runs("second")
            await answers.becomes("climate", WAIT, used("1/0.5", "512 MiB/1 GiB"))
            work.notebook("third")
            await answers.waits("third", FULL)
            await answers.becomes("climate", f"{WAIT} (1 waiting)", used("1/0.5", "512 MiB/1 GiB"))
    finally:
        work.clean()
        work.api.remove(other)


async def test_nothing_is_submitted_while_kueue_is_down(work: Work) -> None:
    with work.kueue.away():
        async with work.batch() as jobs:
            with pytest.raises(Refusal, match=r"its admission webhook mjob\.kb\.io does not answer") as refused:
                await jobs.submit("true")
        assert refused.value.status == 503
        assert not work.api.all_of("batch/v1", "Job", work.namespace)


# As docs/reference/schedulers.md has it: no limit for what starts slowly, and none for what is not ready any more.
PATIENT = {"waitForPodsReady": {"timeout": "48h", "recoveryTimeout": "0s"}}
IMPATIENT = {"waitForPodsReady": {"timeout": "5s"}}


def with_image(work: Work, image: str) -> Work:
    """The image has no `sh`, with which the home is looked for."""
    storage = {**work.written["storage"], "home_check_image": JOB}
    return Work(work.kueue, work.ground, batch={"images": {"slow": image}}, storage=storage)


async def test_an_image_that_comes_slowly_costs_nobody_the_place_in_the_queue(work: Work) -> None:
    program = work.kueue.cluster.binary("ctr")
    with registry(program, seconds=8) as image:
        work.kueue.configure(PATIENT)
        async with with_image(work, image).batch() as jobs:
            job = await jobs.submit("/program", "--version", image="slow")
            ended = await jobs.in_state(job, "succeeded")
    assert [attempt["reason"] for attempt in ended["attempts"]] == [""]


async def test_kueue_as_it_is_set_up_by_default_takes_slow_images_for_ill(work: Work) -> None:
    """Its limit is 30 minutes then; here it is 5 s."""
    program = work.kueue.cluster.binary("ctr")
    with registry(program, seconds=60) as image:
        work.kueue.configure(IMPATIENT)
        try:
            async with with_image(work, image).batch() as jobs:
                job = await jobs.submit("/program", "--version", image="slow")
                seen = await jobs.until(job, "evicted", lambda job: NOT_READY in job["message"])
        finally:
            work.kueue.configure({})
    assert (seen["state"], [attempt["reason"] for attempt in seen["attempts"]]) == ("queued", [NOT_READY])


@pytest_asyncio.fixture
async def hub(work: Work, tmp_path: Path) -> AsyncIterator[Hub]:
    """A hub of this machine whose notebooks run in the cluster."""
    cluster = work.ground.cluster
    found = Hub(6, tmp_path / "hub", cluster, cluster.network.address)
    site = {**work.written, "hub": {**work.written["hub"], "stop_limit": "10s"}}
    program = f'c.KubeSpawner.cmd = ["python3", "-c", Path("{found.state}/notebook.py").read_text()]'
    found.write(site, extra=program)
    await found.start()
    await found.person("alice")
    try:
        yield found
    finally:
        await found.close()


async def test_a_person_reads_why_the_notebook_waits_until_it_starts(work: Work, hub: Hub) -> None:
    first = work.notebook("first")
    await asyncio.to_thread(work.runs, "first")
    await hub.start_server("alice", {"profile": "small"})
    async for told in hub.progress("alice"):
        if re.fullmatch(
            rf"Waiting in queue climate since .* UTC, at place 1 of 1\. {re.escape(FULL)}", told["message"]
        ):
            work.api.delete(first)
        if told.get("ready"):
            break
        assert not told.get("failed"), told
    assert (await hub.ready("alice"))["ready"]


async def test_a_preempted_notebook_of_the_hub_is_told_why_after_it_is_gone(work: Work, hub: Hub) -> None:
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    work.notebook("second", queue="urgent")
    end = await hub.one_end("alice", "preempted")
    assert (end["message"], end["continues"]) == (PREEMPTED, False)
    await hub.stopped("alice")
    await hub.kill()
    await hub.start()
    assert await hub.ends("alice") == [end]


async def test_a_notebook_whose_queue_is_stopped_is_told_why(work: Work, hub: Hub) -> None:
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    work.api.apply(local_queue("climate", work.namespace, stopPolicy="HoldAndDrain"))
    try:
        end = await hub.one_end("alice", "evicted")
    finally:
        work.api.apply(local_queue("climate", work.namespace))
    assert end["message"].startswith("Evicted by Kueue (LocalQueueStopped): ")


async def test_a_stop_says_that_it_waits_for_kueue_and_a_start_that_it_cannot_do_without(work: Work, hub: Hub) -> None:
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")
    with work.kueue.away():
        stopping = asyncio.ensure_future(hub.api("DELETE", "users/alice/server"))
        said = (
            "The pod's containers have ended, but Kueue has not removed its finalizer kueue.x-k8s.io/managed. "
            "The pod is deleted when Kueue runs again."
        )
        while await stop_waits_for(hub) != said:
            assert not stopping.done(), f"nobody said what it waits for:\n{hub.log[-3000:]}"
            await asyncio.sleep(0.2)
        assert said in hub.log
        await stopping
        await hub.stopped("alice")

        answer = await hub.start_server("alice", {"profile": "small"})
        assert answer.status == 503
        assert (
            "The cluster accepts no new objects at the moment, because its admission webhook mpod.kb.io does not answer"
            in answer.message
        )
    await hub.start_server("alice", {"profile": "small"})
    await hub.ready("alice")


async def stop_waits_for(hub: Hub) -> str | None:
    """What admins read in alice's server's state."""
    server = await hub.server("alice") or {}
    state = server.get("state") or {}
    return state.get("research_spawner", {}).get("stop_waits_for")


async def test_a_waiting_job_is_made_anew_without_the_group_that_its_user_has_left(work: Work, tmp_path: Path) -> None:
    directory = work.ground.directory(tmp_path)
    async with batch(work.ground.cluster, directory.used_by(work.site), every=1) as jobs:
        first = await jobs.of("bob").submit(*UNTIL_RELEASED, queue="teaching")
        await jobs.of("bob").in_state(first, "running")
        waiting = await jobs.submit("id", "-G", queue="teaching")
        await jobs.until(waiting, "full", lambda job: job["message"].endswith(FULL))
        directory.alice_leaves_climate()
        left = "Group climate is no longer yours."
        await jobs.until(waiting, "made anew", lambda job: any(left in text for text in job["warnings"]))
        await jobs.until(waiting, "full again", lambda job: job["message"].endswith(FULL))
        work.ground.release("bob")
        await jobs.in_state(waiting, "succeeded")
        assert (await jobs.output(waiting)).split() == ["20001"]


async def test_a_waiting_job_of_a_locked_account_is_never_admitted(work: Work, tmp_path: Path) -> None:
    directory = work.ground.directory(tmp_path)
    async with batch(work.ground.cluster, directory.used_by(work.site), every=1) as jobs:
        first = await jobs.of("bob").submit(*UNTIL_RELEASED, queue="teaching")
        await jobs.of("bob").in_state(first, "running")
        waiting = await jobs.submit("true", queue="teaching")
        await jobs.until(waiting, "full", lambda job: job["message"].endswith(FULL))
        directory.lock("alice")
        assert LOCKED in (await jobs.in_state(waiting, "failed"))["message"]
        stored = work.api.get("batch/v1", "Job", waiting, work.namespace)
        await asyncio.to_thread(until, lambda: work.workload(stored)["spec"]["active"] is False, "deactivated")
        work.ground.release("bob")
        await jobs.of("bob").in_state(first, "succeeded")
        await asyncio.sleep(3)
        assert not work.pods_of(waiting)
        assert LOCKED in (await jobs.in_state(waiting, "failed"))["message"]


async def test_a_preempted_job_of_a_locked_account_is_not_admitted_again(work: Work, tmp_path: Path) -> None:
    directory = work.ground.directory(tmp_path)
    async with batch(work.ground.cluster, directory.used_by(work.site), every=1) as jobs:
        job = await jobs.of("bob").submit("sleep", "600", queue="teaching")
        await jobs.of("bob").in_state(job, "running")
        directory.lock("bob")
        await jobs.of("bob").until(job, "told", lambda job: any(LOCKED in text for text in job["warnings"]))
        urgent = await jobs.submit("true", queue="urgent")
        refused = await jobs.of("bob").in_state(job, "failed")
        assert LOCKED in refused["message"]
        await jobs.in_state(urgent, "succeeded")
        await asyncio.sleep(3)
        assert not work.pods_of(job)
