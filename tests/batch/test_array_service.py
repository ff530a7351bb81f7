"""Job arrays through the batch service and the client, on the embedded cluster."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Client, small_site
from patience import eventually

from jupyter_research_spawner.embedded.apimachinery.api_resources import JOB

INDEX = "echo index $SLURM_ARRAY_TASK_ID"


async def shown(batch: Client, job: dict[str, Any], who: str = "alices") -> dict[str, Any]:
    status, found = await batch.ask(who, "GET", f"/jobs/{job['id']}")
    assert status == 200, found
    return found


async def until(batch: Client, job: dict[str, Any], what: str, is_so: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def look() -> bool:
        nonlocal found
        found = await shown(batch, job)
        return bool(is_so(found))

    await eventually(look, otherwise=lambda: f"{job['id']} is not {what}, but {found}")
    return found


async def submitted(batch: Client, indexes: str, script: str, **fields: Any) -> dict[str, Any]:
    return await batch.submit("alices", "sh", "-c", script, kind="array", array=indexes, **fields)


def states(job: dict[str, Any]) -> dict[int, str]:
    return {index["index"]: index["state"] for index in job["indexes"]}


async def test_each_index_has_its_state_exit_code_and_output(batch):
    job = await submitted(batch, "1-5:2%2", f"{INDEX}; [ $SLURM_ARRAY_TASK_ID != 3 ] || exit 7")
    assert (job["state"], job["array"], job["counts"]) == ("queued", "1-5:2%2", {"queued": 3})
    ended = await until(batch, job, "over", lambda job: job["state"] == "failed")
    assert states(ended) == {1: "succeeded", 3: "failed", 5: "succeeded"}
    assert [index["exit_code"] for index in ended["indexes"]] == [0, 7, 0]
    assert (ended["message"], ended["exit_code"]) == ("1 of 3 failed: 3.", 7)
    assert ended["command"] == ["sh", "-c", f"{INDEX}; [ $SLURM_ARRAY_TASK_ID != 3 ] || exit 7"]
    for index in (1, 3, 5):
        assert await batch.text("alices", f"/jobs/{job['id']}/logs?index={index}") == f"index {index}\n"
    assert [(attempt["index"], attempt["exit_code"]) for attempt in ended["attempts"]] == [(1, 0), (3, 7), (5, 0)]


async def test_the_list_has_one_row_with_counts_and_no_indexes(batch):
    job = await submitted(batch, "0-1", INDEX)
    await until(batch, job, "over", lambda job: job["state"] == "succeeded")
    (listed,) = (await batch.ask("alices", "GET", "/jobs"))[1]["jobs"]
    assert (listed["id"], listed["counts"], listed["attempts"]) == (job["id"], {"succeeded": 2}, [])
    assert "indexes" not in listed


async def test_one_index_is_cancelled_and_the_others_go_on(batch):
    job = await submitted(batch, "0-2", "[ $SLURM_ARRAY_TASK_ID != 1 ] || exec sleep 600; sleep 1")
    await until(batch, job, "running", lambda job: states(job)[1] == "running")
    status, found = await batch.ask("alices", "DELETE", f"/jobs/{job['id']}?index=1")
    assert (status, found["kind"]) == (200, "array")
    ended = await until(batch, job, "over", lambda job: job["state"] == "failed")
    assert states(ended) == {0: "succeeded", 1: "failed", 2: "succeeded"}
    assert ended["indexes"][1]["message"] == "It was cancelled."
    assert [attempt["reason"] for attempt in ended["attempts"]] in (["", "It was cancelled.", ""], ["", "", ""])


async def test_an_index_that_has_not_started_cannot_be_cancelled_alone(batch):
    job = await submitted(batch, "0-3%1", "sleep 600")
    await until(batch, job, "running", lambda job: job["state"] == "running")
    status, refused = await batch.ask("alices", "DELETE", f"/jobs/{job['id']}?index=3")
    assert (status, refused["error"]["code"], refused["error"]["field"]) == (409, "index-not-started", "index")
    assert "Kubernetes cannot cancel an index before it starts" in refused["error"]["message"]
    assert (await batch.ask("alices", "DELETE", f"/jobs/{job['id']}"))[0] == 200


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "index-missing"),
        ("?index=9", 404, "no-such-index"),
        ("?index=-1", 400, "invalid"),
        ("?index=a", 400, "invalid"),
    ],
)
async def test_the_output_of_an_array_is_that_of_one_index(batch, query, status, code):
    job = await submitted(batch, "0-1", "sleep 600")
    found = await batch.ask("alices", "GET", f"/jobs/{job['id']}/logs{query}")
    assert (found[0], found[1]["error"]["code"], found[1]["error"]["field"]) == (status, code, "index")


async def test_a_single_job_has_no_indexes(batch):
    job = await batch.submit("alices", "sleep", "600")
    for method, path in (("GET", "/logs?index=0"), ("DELETE", "?index=0")):
        status, refused = await batch.ask("alices", method, f"/jobs/{job['id']}{path}")
        assert (status, refused["error"]["code"]) == (404, "no-such-index")


async def test_another_users_array_is_not_there(batch):
    job = await submitted(batch, "0-1", "sleep 600")
    assert (await batch.ask("bobs", "DELETE", f"/jobs/{job['id']}?index=0"))[0] == 404
    assert (await batch.ask("bobs", "GET", f"/jobs/{job['id']}/logs?index=0"))[0] == 404


class TestLimits:
    @pytest.fixture
    def batch_site(self):
        return small_site({"batch": {"max_jobs": 4, "max_array_size": 20}})

    async def test_an_array_counts_as_many_jobs_as_may_run_at_once(self, batch, cluster):
        await submitted(batch, "0-9%3", "sleep 600")
        body = {"kind": "array", "array": "0-9%2", "command": ["true"]}
        status, refused = await batch.ask("alices", "POST", "/jobs", body)
        assert (status, refused["error"]["code"]) == (409, "too-many-jobs")
        assert "You have 3 jobs that have not ended; the limit is 4." in refused["error"]["message"]
        await batch.submit("alices", "true")
        assert len(cluster.store.list(JOB, "jhub")) == 2

    async def test_an_array_is_no_larger_than_the_site_allows(self, batch):
        body = {"kind": "array", "array": "0-20%1", "command": ["true"]}
        status, refused = await batch.ask("alices", "POST", "/jobs", body)
        assert (status, refused["error"]["code"], refused["error"]["field"]) == (400, "array-too-large", "array")
