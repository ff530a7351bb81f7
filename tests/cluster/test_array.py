"""Job arrays on a real Kubernetes 1.36: the Job controller, kube-scheduler, and Kueue's partial admission."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from ground import ground
from kueue_work import Work as KueueWork
from rig.api import Json
from rig.cluster import Cluster
from rig.controllers.kueue import Kueue
from rig.node import Node
from test_plain import PREEMPTED, Work
from work import Jobs, batch

from jupyter_research_spawner.site import Site

SMALL = {"cpu": "50m", "memory": "32Mi"}


@pytest.fixture(scope="module")
def all_work(cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    with ground(cluster, "array-work", tmp_path_factory.mktemp("array") / "storage") as here:
        yield Work(here, node.name)


@pytest.fixture
def work(all_work: Work) -> Iterator[Work]:
    try:
        yield all_work
    finally:
        all_work.ground.clean()


def small(site: Site) -> Site:
    """Return the site with a profile of which many fit on the node."""
    written = site.model_dump(mode="json", by_alias=True, exclude_unset=True)
    written["profiles"]["small"] |= SMALL
    return Site.model_validate(written)


async def array(jobs: Jobs, indexes: str, script: str, **fields: str) -> str:
    return await jobs.submit("sh", "-c", script, kind="array", array=indexes, **fields)


async def output(jobs: Jobs, job_id: str, index: int) -> str:
    pieces = await jobs.service.read(jobs.person, job_id, follow=False, tail=None, index=index)
    return b"".join([piece async for piece in pieces]).decode()


def states(job: Json) -> dict[int, str]:
    return {index["index"]: index["state"] for index in job["indexes"]}


async def test_each_index_runs_once_with_its_own_output_and_exit_code(work: Work) -> None:
    async with batch(work.ground.cluster, small(work.site)) as jobs:
        says = 'echo "index $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_JOB_ID as $(id -u)"'
        job = await array(jobs, "1-7:2%2", f"{says}; [ $RESEARCH_ARRAY_INDEX != 5 ] || exit 3")
        ended = await jobs.in_state(job, "failed")
        assert states(ended) == {1: "succeeded", 3: "succeeded", 5: "failed", 7: "succeeded"}
        assert ended["message"] == "1 of 4 failed: 5."
        assert [index["exit_code"] for index in ended["indexes"]] == [0, 0, 3, 0]
        assert ended["exit_code"] == 3
        for index in (1, 3, 5, 7):
            assert await output(jobs, job, index) == f"index {index} of {job} as 20001\n"
        (listed,) = await jobs.all()
        assert (listed["counts"], listed["array"]) == ({"succeeded": 3, "failed": 1}, "1-7:2%2")


async def test_no_more_indexes_run_at_once_than_were_asked_for(work: Work) -> None:
    async with batch(work.ground.cluster, small(work.site)) as jobs:
        job = await array(jobs, "0-3%2", "sleep 600")
        await jobs.until(job, "running twice", lambda job: job["counts"].get("running") == 2)
        assert len(work.ground.pods()) == 2
        shown = await jobs.service.show("alice", job)
        assert shown["counts"] == {"running": 2, "queued": 2}
        await jobs.cancel(job)


async def test_one_index_is_cancelled_and_the_others_go_on(work: Work) -> None:
    async with batch(work.ground.cluster, small(work.site)) as jobs:
        job = await array(jobs, "0-2", '[ "$SLURM_ARRAY_TASK_ID" != 1 ] || exec sleep 600; sleep 5; echo done')
        await jobs.until(job, "running", lambda job: states(job)[1] == "running")
        cancelled = await jobs.service.cancel("alice", job, 1)
        assert states(cancelled)[1] == "cancelling"
        ended = await jobs.in_state(job, "failed")
        assert states(ended) == {0: "succeeded", 1: "failed", 2: "succeeded"}
        assert ended["indexes"][1]["message"] == "It was cancelled."
        assert await output(jobs, job, 2) == "done\n"
    assert work.job(job)["status"]["failedIndexes"] == "1"


async def test_a_preempted_index_runs_again_and_its_attempts_are_its_own(work: Work) -> None:
    async with batch(work.ground.cluster, work.site) as jobs:
        bobs = jobs.of("bob")
        backfill = await array(bobs, "4-5%1", "sleep 8; echo done", queue="backfill")
        await bobs.until(backfill, "running", lambda job: "running" in states(job).values())
        research = await jobs.submit("sleep", "600", queue="climate")
        await jobs.in_state(research, "running")
        await jobs.cancel(research)
        ended = await bobs.in_state(backfill, "succeeded")
    assert ended["message"] == "All 2 indexes succeeded."
    lost = [attempt for attempt in ended["attempts"] if attempt["reason"] == PREEMPTED]
    assert len(lost) == 1
    again = [attempt for attempt in ended["attempts"] if attempt["index"] == lost[0]["index"]]
    assert [(attempt["reason"], attempt["exit_code"]) for attempt in again[1:]] == [("", 0)]
    assert len(ended["attempts"]) == 3
    assert "failedIndexes" not in {key: value for key, value in work.job(backfill)["status"].items() if value}


@pytest.mark.programs("kueue")
async def test_an_array_larger_than_the_quota_runs_in_turns_under_kueue(
    cluster: Cluster, node: Node, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Kueue admits a Job as a whole, so without partial admission an array of three would wait for ever."""
    with ground(cluster, "array-kueue", tmp_path_factory.mktemp("array-kueue") / "storage") as here:
        kueue = Kueue.start(cluster)
        work = KueueWork(kueue, here)
        work.lay_out()
        try:
            async with work.batch() as jobs:
                job = await array(jobs, "1-3", "sleep 1; echo $SLURM_ARRAY_TASK_ID")
                ended = await jobs.in_state(job, "succeeded")
                assert [index["exit_code"] for index in ended["indexes"]] == [0, 0, 0]
                begun = sorted((index["started"], index["finished"]) for index in ended["indexes"])
                # The quota is one pod's.
                assert all(before[1] <= after[0] for before, after in pairwise(begun))
                assert await output(jobs, job, 3) == "3\n"
        finally:
            work.clean()
            kueue.stop()
