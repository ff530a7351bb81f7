"""The notebook's own command against the service: both sides of the contract at once."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
import retry_kind
from conftest import Client
from test_service import until

from jupyter_research_spawner import client
from jupyter_research_spawner.client.research_jobs.job_model import job_from
from jupyter_research_spawner.jobs import KINDS

pytestmark = pytest.mark.embedded


COMMAND = "from research_jobs.command import main; import sys; sys.exit(main(sys.argv[1:]))"
# What `job submit --wait` does once the job is submitted.
WAIT = """
import sys
from research_jobs.functions import show
from research_jobs.job_following import follow_to_end

job = follow_to_end(show(sys.argv[1]), write=sys.stdout.buffer.write, say=lambda words: print(words, file=sys.stderr))
sys.exit(job.exit_code)
"""


async def jobs(batch: Client, *arguments: str, code: str = COMMAND) -> tuple[int, str, str]:
    """`jobs ARGUMENTS` as alice types it in her notebook."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(client.__file__).parent),
        "HOME": "/home/alice",
        "RESEARCH_BATCH_URL": batch.url,
        "JUPYTERHUB_API_TOKEN": "alices",
        "RESEARCH_QUEUE": "climate",
        "RESEARCH_PROFILE": "small",
        "JUPYTER_IMAGE_SPEC": "quay.io/jupyter/scipy-notebook:2026-10-01",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *arguments,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


async def test_submit_logs_show_list_cancel(batch):
    status, output, errors = await jobs(batch, "submit", "--name", "train", "--", "sh", "-c", "echo $RESEARCH_QUEUE")
    assert status == 0, errors
    job_id = next(word.strip(".,") for word in output.split() if word.startswith("train-"))

    assert (await jobs(batch, "logs", "--follow", job_id))[1] == "climate\n"
    await until(batch, "alices", job_id, "succeeded")
    status, output, _ = await jobs(batch, "show", job_id)
    assert status == 0 and "succeeded" in output
    status, output, _ = await jobs(batch, "list")
    assert status == 0 and job_id in output
    status, output, errors = await jobs(batch, "cancel", job_id)
    assert status == 0, errors


async def test_a_refusal_is_a_sentence_with_a_way_out(batch):
    status, _, errors = await jobs(batch, "submit", "--queue", "teaching", "--", "true")
    assert status == 1
    assert "Queue 'teaching' requires membership in group stats101-f26; your groups are" in errors
    assert "Traceback" not in errors


async def test_answers_are_jobs_as_the_client_reads_them(batch):
    job = await batch.submit("alices", "sh", "-c", "exit 3")
    assert job_from(job).state == "queued"
    ended = job_from(await until(batch, "alices", job["id"], "failed"))
    assert (ended.exit_code, [attempt.exit_code for attempt in ended.attempts]) == (3, [3])


async def test_waiting_for_a_job_with_retries_ends_after_its_last_attempt(batch, monkeypatch):
    monkeypatch.setattr(retry_kind, "PREREQUISITES", ())
    monkeypatch.setitem(KINDS, retry_kind.KIND, retry_kind)
    # Longer than the client's pauses, so that it sees each attempt.
    job = await batch.submit("alices", "sh", "-c", "echo output; sleep 3; exit 3", kind="retry", retries=1)
    status, output, errors = await jobs(batch, job["id"], code=WAIT)
    assert (status, output) == (3, "output\noutput\n"), errors
    ended = job_from(await until(batch, "alices", job["id"], "failed"))
    assert [attempt.exit_code for attempt in ended.attempts] == [3, 3]
