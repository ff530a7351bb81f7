"""The service on the embedded cluster: from POST to the job's output and its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytestmark = pytest.mark.embedded


async def until(batch: Any, who: str, job_id: str, *states: str, seconds: float = 20) -> dict[str, Any]:
    """The job as soon as it is in one of `states`."""
    job: dict[str, Any] = {}
    for _ in range(int(seconds / 0.1)):
        status, job = await batch.ask(who, "GET", f"/jobs/{job_id}")
        assert status == 200, job
        if job["state"] in states:
            return job
        await asyncio.sleep(0.1)
    raise AssertionError(f"still {job['state']} ({job['message']}) after {seconds} s")


async def test_a_job_runs_prints_and_ends(batch):
    job = await batch.submit("alices", "sh", "-c", "echo hello from $RESEARCH_QUEUE; exit 3", name="train")
    assert await batch.text("alices", f"/jobs/{job['id']}/logs?follow=true") == "hello from climate\n"
    ended = await until(batch, "alices", job["id"], "failed")
    assert ended["exit_code"] == 3
    status, listed = await batch.ask("alices", "GET", "/jobs")
    assert [found["id"] for found in listed["jobs"]] == [job["id"]]
    status, gone = await batch.ask("alices", "DELETE", f"/jobs/{job['id']}")
    assert status == 200
    print(job, ended, gone)
