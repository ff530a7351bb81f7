"""What one user's jobs take in the API server is bounded: ended jobs make room, and jobs that run are never removed."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Client, small_site
from hypothesis import given
from hypothesis import strategies as st
from patience import eventually

from jupyter_research_spawner.batch.job_limits import _size, stored_job
from jupyter_research_spawner.batch.job_limits import make_room as room_for
from jupyter_research_spawner.embedded.apimachinery.api_resources import JOB
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.site import Batch, Site

Json = dict[str, Any]


def job(name: str, *, ended: str = "", padding: int = 0) -> Json:
    conditions = [{"type": "Complete", "status": "True", "lastTransitionTime": ended}] if ended else []
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": "2026-11-01T00:00:00Z",
            "labels": {"research-spawner/kind": "job"},
            "annotations": {"padding": "x" * padding},
        },
        "spec": {"parallelism": 1, "completions": 1},
        "status": {"conditions": conditions, "completionTime": ended or None},
    }


def ended(count: int, padding: int = 0) -> list[Json]:
    return [job(f"ended-{index}", ended=f"2026-11-02T00:00:{index:02}Z", padding=padding) for index in range(count)]


def make_room(jobs: list[Json], new: Json, pods: int, limits: Batch) -> list[Json]:
    """The jobs that must be removed, of which `make_room` returns only references."""
    by_name = {found["metadata"]["name"]: found for found in jobs}
    removed = room_for([stored_job(found) for found in jobs], new, pods, limits)
    assert not any("spec" in found or "annotations" in found["metadata"] for found in removed)
    return [by_name[found["metadata"]["name"]] for found in removed]


def names(jobs: list[Json]) -> list[str]:
    return [found["metadata"]["name"] for found in jobs]


def test_oldest_ended_jobs_above_the_number_are_removed_and_no_others() -> None:
    limits = Batch(keep_jobs=3)
    assert make_room(ended(3), job("new"), 1, limits) == []
    found = [job("running"), *reversed(ended(5))]
    assert names(make_room(found, job("new"), 1, limits)) == ["ended-0", "ended-1"]


def test_oldest_ended_jobs_make_room_for_the_size_of_a_new_one() -> None:
    limits = Batch.model_validate({"max_size": "1Mi"})
    found = [job("running", padding=400_000), *ended(3, padding=200_000)]
    assert names(make_room(found, job("new", padding=300_000), 1, limits)) == ["ended-0", "ended-1"]


def test_job_is_refused_if_the_running_jobs_leave_no_room() -> None:
    limits = Batch.model_validate({"max_size": "1Mi"})
    found = [job("running", padding=900_000), *ended(2)]
    with pytest.raises(Refusal) as refused:
        make_room(found, job("new", padding=300_000), 1, limits)
    assert (refused.value.code, refused.value.status) == ("too-large", 409)
    assert "the limit is 1048576 bytes" in refused.value.message


@given(
    st.lists(st.booleans(), max_size=12),
    st.integers(1, 5),
    st.integers(0, 400_000),
)
def test_what_stays_is_within_the_limits_and_nothing_that_runs_is_removed(
    are_ended: list[bool], keep: int, padding: int
) -> None:
    limits = Batch.model_validate({"keep_jobs": keep, "max_size": "2Mi"})
    found = [
        job(f"job-{index}", ended=f"2026-11-02T00:00:{index:02}Z" if is_ended else "", padding=padding)
        for index, is_ended in enumerate(are_ended)
    ]
    new = job("new", padding=padding)
    try:
        removed = make_room(found, new, 1, limits)
    except Refusal:
        assert _size(new) + sum(_size(one) for one in found if not one["status"]["conditions"]) > limits.max_size
        return
    assert all(one["status"]["conditions"] for one in removed)
    stays = [one for one in found if one not in removed]
    assert sum(bool(one["status"]["conditions"]) for one in stays) <= keep
    assert _size(new) + sum(map(_size, stays)) <= limits.max_size


@pytest.fixture
def batch_site() -> Site:
    return small_site({"batch": {"keep_jobs": 2}})


@pytest.mark.embedded
async def test_jobs_in_a_loop_leave_as_many_as_are_kept_and_the_user_is_told(batch: Client, cluster: Any) -> None:
    async def ends(job_id: str) -> None:
        async def has_ended() -> bool:
            return (await batch.ask("alices", "GET", f"/jobs/{job_id}"))[1]["state"] == "succeeded"

        await eventually(has_ended)

    submitted = []
    for _ in range(5):
        submitted.append(await batch.submit("alices", "true"))
        await ends(submitted[-1]["id"])
    warning = "Your oldest ended job was removed: at most 2 ended jobs are kept, and 8Mi of all your jobs."
    assert [made["warnings"][-1:] for made in submitted] == [[], [], [], [warning], [warning]]

    async def are_left() -> bool:
        return len(list(cluster.store.list(JOB))) == 3

    await eventually(are_left)
    status, listed = await batch.ask("alices", "GET", "/jobs")
    # Times have whole seconds, so which of the others is the oldest is not certain.
    left = {found["id"] for found in listed["jobs"]}
    assert (status, len(left), submitted[-1]["id"] in left) == (200, 3, True)
    assert listed["note"] == "Older ended jobs were removed: 2 are kept."
    assert "note" not in (await batch.ask("bobs", "GET", "/jobs"))[1]
