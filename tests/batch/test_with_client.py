"""The notebook's own command against the service: both sides of the contract at once."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

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


async def jobs(
    batch: Client, *arguments: str, code: str = COMMAND, stdin: bytes | None = None, cwd: str = "/", **changes: str
) -> tuple[int, str, str]:
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
        **changes,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *arguments,
        env=environ,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(stdin)
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
    assert (status, output) == (0, f"{job_id} succeeded\n")
    assert errors == f"job: {job_id} has already ended; 'job remove {job_id}' deletes it\n"
    assert await jobs(batch, "remove", job_id) == (0, f"{job_id} removed\n", "")
    status, _, errors = await jobs(batch, "show", job_id)
    assert (status, errors.count("You have no job")) == (1, 1)


async def shown(batch: Client, job_id: str) -> dict[str, Any]:
    status, job = await batch.ask("alices", "GET", f"/jobs/{job_id.strip()}")
    assert status == 200, job
    return job


async def test_what_the_notebook_has_is_used_where_it_fits(batch):
    status, output, errors = await jobs(batch, "submit", "--", "true")
    assert status == 0, errors
    job = await shown(batch, output)
    assert (job["profile"], job["queue"]) == ("small", "climate")


async def test_an_image_that_is_no_longer_offered_does_not_refuse_the_job(batch):
    status, output, errors = await jobs(batch, "submit", "--", "true", JUPYTER_IMAGE_SPEC="example/old:1")
    assert status == 0, errors
    assert "job: warning: The image of your notebook, 'example/old:1', is not used for this job." in errors
    assert (await shown(batch, output))["image"] == "quay.io/jupyter/scipy-notebook:2026-10-01"
    # What a user asks for is still refused.
    status, output, errors = await jobs(batch, "submit", "--image", "example/old:1", "--", "true")
    assert (status, output) == (1, "")
    assert "job: --image: Image 'example/old:1' is not allowed for profile 'small'." in errors


async def test_a_queue_and_a_profile_that_are_gone_do_not_refuse_the_job(batch):
    status, _, errors = await jobs(batch, "submit", "--", "true", RESEARCH_QUEUE="gone", RESEARCH_PROFILE="old\x1b")
    assert status == 0, errors
    assert "The queue of your notebook, 'gone', is not used for this job. There is no queue 'gone'." in errors
    assert "The profile of your notebook, 'old" in errors
    assert "\x1b" not in errors


async def test_who_chooses_a_profile_gets_its_own_queue_without_a_word(batch):
    _, output, errors = await jobs(batch, "submit", "--profile", "half", "--", "true", RESEARCH_QUEUE="backfill")
    assert "notebook" not in errors
    assert (await shown(batch, output))["queue"] == "climate"


async def test_the_job_starts_where_the_user_is_if_that_is_on_a_mount(batch, tmp_path):
    for where, directory, words in (
        ("home", "/home/alice/two words; $(id) é", None),
        ("project-climate", "/project/climate/sub", None),
        ("", "/srv/elsewhere", "The job starts in your home directory /home/alice."),
    ):
        if where:
            relative = directory.partition("alice/" if where == "home" else "climate/")[2]
            path = tmp_path / where / ("alice" if where == "home" else "") / relative
            path.mkdir()
            path.chmod(0o777)
        script = f"import os; os.getcwd = lambda: {directory!r}; {COMMAND}"
        status, output, errors = await jobs(batch, "submit", "--wait", "--", "pwd", code=script)
        assert (status, output) == (0, f"{directory if where else '/home/alice'}\n"), errors
        assert ("warning" in errors) == (words is not None)
        assert (words or "") in errors


async def test_a_script_from_stdin_runs_and_ends_with_its_exit_code(batch):
    script = b"#!/bin/bash -u\necho \"$# $1\" '$HOME'\nexit 4\n"
    status, output, errors = await jobs(batch, "submit", "--wait", "-", "a b", stdin=script)
    assert (status, output) == (4, "1 a b $HOME\n"), errors


async def test_a_program_that_is_missing_ends_with_127_and_a_sentence(batch):
    status, output, errors = await jobs(batch, "submit", "--wait", "--", "no-such-program")
    assert (status, output) == (127, "")
    assert "failed: Container job: the image has no program 'no-such-program' (StartError)." in errors
    _, listed, _ = await jobs(batch, "list")
    assert listed.splitlines()[1].endswith("JobLaunchFailure")
    assert "1970" not in (await jobs(batch, "show", listed.splitlines()[1].split()[0]))[1]


@pytest.mark.parametrize(("wall_time", "seconds"), [("4:00:00", 14400), ("0-4", 14400), ("90", 5400), ("1h30m", 5400)])
async def test_a_wall_time_is_written_as_for_sbatch(batch, wall_time, seconds):
    status, output, errors = await jobs(batch, "submit", "--wall-time", wall_time, "--", "true")
    assert status == 0, errors
    assert (await shown(batch, output))["wall_time_hard_seconds"] == seconds


async def test_a_wall_time_is_refused_by_the_notebooks_profile_and_not_moved_to_another(batch):
    for profile, asked, told in (
        ("small", "2d", "2d is longer than 8h"),
        ("a100", "2-1:30", "2d1h30m is longer than 1d"),
    ):
        status, output, errors = await jobs(
            batch, "submit", "--wall-time", asked, "--", "true", RESEARCH_PROFILE=profile
        )
        assert (status, output) == (1, "")
        assert errors.startswith(f"job: --wall-time: Wall time {told}, the maximum for jobs in profile '{profile}'.\n")
        assert "This is the profile of your notebook" in errors


async def test_a_working_directory_that_is_missing_is_a_job_that_was_not_launched(batch):
    status, output, errors = await jobs(batch, "submit", "--wait", "--chdir", "~/missing", "--", "true")
    assert (status, output) == (1, "")
    assert errors.count("The working directory /home/alice/missing does not exist.") == 1
    job_id, *_, reason = (await jobs(batch, "list"))[1].splitlines()[1].split()
    assert reason == "JobLaunchFailure"
    assert (await jobs(batch, "show", job_id))[1].count("The working directory") == 1
    assert "has failed without output: The working directory" in (await jobs(batch, "logs", job_id))[2]


async def test_an_index_that_a_job_does_not_have_is_an_error_of_every_command(batch):
    for job_id, words in (
        ((await jobs(batch, "submit", "--array", "1-2", "--", "true"))[1].strip(), "has no index 9."),
        ((await jobs(batch, "submit", "--", "true"))[1].strip(), "is a single job and has no indexes."),
    ):
        for name in ("show", "logs", "cancel"):
            status, output, errors = await jobs(batch, name, f"{job_id}_9")
            assert (status, output, errors.splitlines()[0]) == (1, "", f"job: {job_id} {words}")


async def test_a_wall_time_that_is_none_is_told_by_its_option(batch):
    status, _, errors = await jobs(batch, "submit", "--wall-time", "8 h", "--", "true")
    assert status == 1
    assert errors.startswith("job: --wall-time: '8 h' is not a valid wall time. Use a unit")


async def test_a_client_of_an_older_version_still_submits_and_is_refused_as_before(batch):
    demands = {"profile": "small", "queue": "climate", "image": "quay.io/jupyter/scipy-notebook:2026-10-01"}
    job = await batch.submit("alices", "true", **demands, workdir="~")
    assert (job["profile"], job["queue"]) == ("small", "climate")
    status, answer = await batch.ask(
        "alices", "POST", "/jobs", {"command": ["true"], **demands, "image": "example/old:1"}
    )
    assert (status, answer["error"]["field"]) == (400, "image")


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
