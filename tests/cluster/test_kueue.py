"""Kueue 0.19.2: notebooks and jobs of ours through one LocalQueue, by the real controllers, in real containers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from ground import ground
from kueue_work import MAIN, SCHEDULER, Work
from rig.api import Json
from rig.cluster import Cluster
from rig.controllers.kueue import Kueue
from rig.node import Node

from jupyter_research_spawner.watch import classify

pytestmark = pytest.mark.programs("kueue")

FULL = "Its queue is full: 500m more of cpu is needed than is free."
PREEMPTED = "Preempted: work of a higher priority needed its place."


@pytest.fixture(scope="module")
def all_work(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    with ground(cluster, "kueue-work", tmp_path_factory.mktemp("kueue") / "storage") as here:
        kueue = Kueue.start(cluster)
        found = Work(kueue, here)
        found.lay_out()
        try:
            yield found
        finally:
            found.clean()
            kueue.stop()


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
        waiting = await jobs.until(job, "full", lambda job: job["message"] == FULL)
        assert (waiting["state"], waiting["attempts"]) == ("queued", [])
        work.api.delete(notebook)
        ended = await jobs.in_state(job, "succeeded")
    assert [attempt["reason"] for attempt in ended["attempts"]] == [""]


def test_a_notebook_waits_until_there_is_quota(work: Work) -> None:
    first = work.notebook("first")
    work.runs("first")
    work.notebook("second")
    waiting = work.waits("second", FULL)
    assert (waiting.phase, waiting.resource) == ("queued", "cpu")
    assert classify(work.pod("second"), waiting, MAIN).name == "queued"
    work.api.delete(first)
    work.runs("second")


def test_a_notebook_makes_room_for_a_more_important_one(work: Work) -> None:
    work.notebook("first", "sh", "-c", "trap 'sleep 1; exit 0' TERM; sleep 600 & wait")
    work.runs("first")
    work.notebook("second", queue="urgent")
    last, reason = work.last_of("first")
    assert reason is not None
    assert (reason.message, reason.preempted) == (PREEMPTED, True)
    over = classify(last, SCHEDULER.status(last, work.objects(last), ()), MAIN, reason)
    assert (over.name, over.preempted) in {("failed", True), ("ending", True)}
    work.runs("second")


async def test_a_preempted_job_comes_back_and_ends(work: Work) -> None:
    async with work.batch() as jobs:
        job = await jobs.submit("sh", "-c", "sleep 8; echo done")
        await jobs.in_state(job, "running")
        urgent = work.notebook("urgent", queue="urgent")
        waiting = await jobs.until(job, "preempted", lambda job: job["state"] == "queued")
        assert waiting["message"].startswith(f"{PREEMPTED} It waits to run again from the start.")
        await asyncio.to_thread(work.runs, "urgent")
        work.api.delete(urgent)
        await jobs.in_state(job, "running")
        ended = await jobs.in_state(job, "succeeded")
    assert [attempt["reason"] for attempt in ended["attempts"]] == [PREEMPTED, ""]
    assert ended["exit_code"] == 0
