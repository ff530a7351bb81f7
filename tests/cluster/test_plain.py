"""kube-scheduler 1.36 alone: who makes room on a full node, who waits, what becomes of a job that lost its place."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from directory_files import LOCKED
from ground import CLIMATE, JOB, UNTIL_RELEASED, Ground, ground
from rig.api import Json, until
from rig.cluster import Cluster
from rig.node import Node
from work import batch

from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.site import Site

PREEMPTED = "Preempted: work of a higher priority needed its place."
PRIORITY_CLASS = ("scheduling.k8s.io/v1", "PriorityClass")


@dataclass(frozen=True)
class Work:
    """alice is a researcher, bob a student who may only use what is left over; the node has room for one job."""

    ground: Ground
    node: str

    @property
    def site(self) -> Site:
        written = self.ground.site()
        # Two of them do not fit.
        cpus = int(self.ground.cluster.api.get("v1", "Node", self.node)["status"]["allocatable"]["cpu"])
        written["profiles"] = {
            "small": {
                **written["profiles"]["small"],
                "cpu": f"{cpus * 500 + 100}m",
                "images": {"default": JOB},
                "pod": {"nodeSelector": {"kubernetes.io/hostname": self.node}, "terminationGracePeriodSeconds": 2},
            }
        }
        return Site.model_validate(written)

    def job(self, name: str) -> Json:
        """As the cluster has it."""
        return self.ground.cluster.api.get("batch/v1", "Job", name, self.ground.namespace)


@pytest.fixture(scope="module")
def all_work(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    with ground(cluster, "plain-work", tmp_path_factory.mktemp("plain") / "storage") as here:
        yield Work(here, node.name)


@pytest.fixture
def work(all_work: Work) -> Iterator[Work]:
    try:
        yield all_work
    finally:
        all_work.ground.clean()


async def test_a_students_job_makes_room_for_a_researchers_comes_back_and_ends(work: Work) -> None:
    async with batch(work.ground.cluster, work.site) as jobs:
        bobs = jobs.of("bob")
        backfill = await bobs.submit(*UNTIL_RELEASED, queue="backfill")
        await bobs.in_state(backfill, "running")
        research = await jobs.submit("sleep", "600", queue="climate")
        await jobs.in_state(research, "running")
        # kube-scheduler has not yet looked at the second pod in the moment in which it is created: "starting".
        await bobs.until(backfill, "queued", lambda job: len(job["attempts"]) == 2 and job["state"] == "queued")
        await jobs.cancel(research)
        await bobs.in_state(backfill, "running")
        work.ground.release("bob")
        ended = await bobs.in_state(backfill, "succeeded")
    first, second = ended["attempts"]
    assert (first["reason"], second["reason"]) == (PREEMPTED, "")
    assert first["pod"] != second["pod"]
    assert ended["exit_code"] == 0
    # Never two writers of one file.  Times have whole seconds, and each attempt can end in its first.
    assert first["started"] <= first["finished"] <= second["started"] <= second["finished"]
    assert "failed" not in work.job(backfill)["status"]


async def test_a_preempted_job_says_for_what_it_waits(work: Work) -> None:
    async with batch(work.ground.cluster, work.site) as jobs:
        bobs = jobs.of("bob")
        backfill = await bobs.submit("sleep", "600", queue="backfill")
        await bobs.in_state(backfill, "running")
        research = await jobs.submit("sleep", "600", queue="climate")
        lost = await bobs.until(backfill, "preempted", lambda job: job["attempts"][0]["reason"] != "")
        assert (lost["state"], lost["started"]) == ("queued", None)
        assert lost["message"] == f"{PREEMPTED} It waits to run again from the start."
        await jobs.in_state(research, "running")
        await bobs.until(backfill, "told by the scheduler", lambda job: "enough free CPUs" in job["message"])


async def test_work_of_the_same_priority_waits_for_its_turn(work: Work) -> None:
    async with batch(work.ground.cluster, work.site) as jobs:
        first = await jobs.submit("sleep", "600", queue="climate")
        await jobs.in_state(first, "running")
        second = await jobs.submit("true", queue="climate")
        await jobs.until(second, "told why it waits", lambda job: "enough free CPUs" in job["message"])
        assert (await jobs.in_state(first, "running"))["attempts"][0]["reason"] == ""
        await jobs.cancel(first)
        ended = await jobs.in_state(second, "succeeded")
    assert [attempt["reason"] for attempt in ended["attempts"]] == [""]


async def test_a_job_ends_at_its_hard_wall_time_with_that_reason(work: Work) -> None:
    async with batch(work.ground.cluster, work.site) as jobs:
        job = await jobs.submit("sleep", "600", wall_time="3s")
        ended = await jobs.in_state(job, "failed")
    assert ended["message"] == "It reached its hard wall time."
    assert len(ended["attempts"]) == 1


async def test_the_hard_wall_time_begins_anew_when_a_preempted_job_comes_back(work: Work) -> None:
    async with batch(work.ground.cluster, work.site) as jobs:
        bobs = jobs.of("bob")
        backfill = await bobs.submit(*UNTIL_RELEASED, queue="backfill", wall_time="15s")
        await bobs.in_state(backfill, "running")
        # Longer than what is left of the first attempt's time.
        research = await jobs.submit("sleep", "15", queue="climate")
        await jobs.in_state(research, "succeeded")
        await bobs.in_state(backfill, "running")
        work.ground.release("bob")
        ended = await bobs.in_state(backfill, "succeeded")
    assert [attempt["reason"] for attempt in ended["attempts"]] == [PREEMPTED, ""]


async def test_a_program_that_ends_well_when_it_loses_its_place_has_ended(work: Work) -> None:
    """Kubernetes asks how the program ended, not why: who saves on SIGTERM and wants to come back must not exit 0."""
    saves = "trap 'kill $!; exit 0' TERM; sleep 600 & wait"
    async with batch(work.ground.cluster, work.site) as jobs:
        bobs = jobs.of("bob")
        backfill = await bobs.submit("sh", "-c", saves, queue="backfill")
        await bobs.in_state(backfill, "running")
        await jobs.submit("sleep", "600", queue="climate")
        ended = await bobs.in_state(backfill, "succeeded")
    assert [(attempt["reason"], attempt["exit_code"]) for attempt in ended["attempts"]] == [(PREEMPTED, 0)]


async def test_a_priority_class_that_is_not_there_is_named_before_anything_is_created(work: Work) -> None:
    api = work.ground.cluster.api
    low = api.get(*PRIORITY_CLASS, "research-low")
    api.delete(low)
    try:
        async with batch(work.ground.cluster, work.site) as jobs:
            with pytest.raises(Refusal, match="The cluster has no PriorityClass 'research-low'") as refused:
                await jobs.of("bob").submit("true", queue="backfill")
    finally:
        kept = {key: low["metadata"][key] for key in ("name", "labels", "annotations") if key in low["metadata"]}
        api.apply({**low, "metadata": kept})
    assert (refused.value.field, refused.value.status) == ("priority", 503)
    assert not api.all_of("batch/v1", "Job", work.ground.namespace)


# Rights that are withdrawn after the submission.  The service decides again every second.
EVERY = 1.0
READS = ("sh", "-c", "id -G; cat /project/climate/secret || echo denied")


async def test_a_waiting_job_does_not_read_files_of_a_group_that_its_user_has_left(work: Work, tmp_path: Path) -> None:
    secret = work.ground.climate / "secret"
    secret.write_text("the result\n")
    os.chown(secret, 0, CLIMATE)
    secret.chmod(0o640)
    directory = work.ground.directory(tmp_path)
    async with batch(work.ground.cluster, directory.used_by(work.site), every=EVERY) as jobs:
        allowed = await jobs.submit(*READS, queue="teaching")
        await jobs.in_state(allowed, "succeeded")
        assert "the result" in await jobs.output(allowed)
        bobs = jobs.of("bob")
        first = await bobs.submit(*UNTIL_RELEASED, queue="teaching")
        await bobs.in_state(first, "running")
        waiting = await jobs.submit(*READS, queue="teaching")
        await jobs.until(waiting, "waiting", lambda job: "enough free CPUs" in job["message"])
        directory.alice_leaves_climate()
        left = "Group climate is no longer yours."
        await jobs.until(waiting, "made anew", lambda job: any(left in text for text in job["warnings"]))
        work.ground.release("bob")
        await jobs.in_state(waiting, "succeeded")
        output = await jobs.output(waiting)
    assert str(CLIMATE) not in output and "the result" not in output
    assert "denied\n" in output  # cat writes to the other stream


async def test_a_waiting_job_of_a_locked_account_never_starts(work: Work, tmp_path: Path) -> None:
    directory = work.ground.directory(tmp_path)
    async with batch(work.ground.cluster, directory.used_by(work.site), every=EVERY) as jobs:
        bobs = jobs.of("bob")
        first = await bobs.submit(*UNTIL_RELEASED, queue="teaching")
        await bobs.in_state(first, "running")
        waiting = await jobs.submit("true", queue="teaching")
        await jobs.until(waiting, "waiting", lambda job: "enough free CPUs" in job["message"])
        directory.lock("alice")
        refused = await jobs.in_state(waiting, "failed")
        assert LOCKED in refused["message"]
        work.ground.release("bob")
        await bobs.in_state(first, "succeeded")
        await asyncio.sleep(3 * EVERY)
        assert (await jobs.in_state(waiting, "failed"))["started"] is None
    assert work.job(waiting)["spec"]["suspend"] is True
    assert [pod["metadata"]["labels"]["job-name"] for pod in work.ground.pods()] == [first]


async def test_a_preempted_job_of_a_locked_account_does_not_run_again(work: Work, tmp_path: Path) -> None:
    directory = work.ground.directory(tmp_path)
    async with batch(work.ground.cluster, directory.used_by(work.site), every=EVERY) as jobs:
        bobs = jobs.of("bob")
        backfill = await bobs.submit("sleep", "600", queue="backfill")
        await bobs.in_state(backfill, "running")
        directory.lock("bob")
        await bobs.until(backfill, "told", lambda job: any(LOCKED in text for text in job["warnings"]))
        assert (await bobs.in_state(backfill, "running"))["attempts"][0]["reason"] == ""
        research = await jobs.submit("true", queue="climate")
        refused = await bobs.in_state(backfill, "failed")
        assert LOCKED in refused["message"]
        await jobs.in_state(research, "succeeded")
        await asyncio.sleep(3 * EVERY)
        last = await bobs.in_state(backfill, "failed")
    assert last["attempts"][0]["reason"] == PREEMPTED
    assert all(attempt["started"] is None for attempt in last["attempts"][1:])


async def test_a_running_job_is_stopped_where_the_site_says_so(work: Work, tmp_path: Path) -> None:
    directory = work.ground.directory(tmp_path)
    stops = directory.used_by(work.site).model_copy(update={"on_lost_right": "stop"})
    async with batch(work.ground.cluster, stops, every=EVERY) as jobs:
        job = await jobs.submit("sleep", "600", queue="teaching")
        await jobs.in_state(job, "running")
        directory.lock("alice")
        stopped = await jobs.in_state(job, "failed")
        assert stopped["message"].startswith(f"It was stopped, because you may no longer run it: {LOCKED}")
        until(lambda: not work.ground.pods(), "its pod is gone")
        await asyncio.sleep(2 * EVERY)
    assert not work.ground.pods()
