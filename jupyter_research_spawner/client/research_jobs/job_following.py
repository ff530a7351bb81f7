"""Follows a job until it ends, through the queue, all of its attempts, and restarts of the batch service."""

from __future__ import annotations

import time
from collections.abc import Callable

from . import functions
from .job_errors import JobsError, NotReady, Refused
from .job_model import Job

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0
PATIENCE_SECONDS = 600.0  # how long to retry while the service cannot be reached


def follow_to_end(job: Job, *, write: Callable[[bytes], None], say: Callable[[str], None]) -> Job:
    """Call `write` with a job's output and `say` with each reason why the job waits.  Return the ended job.

    The output of an array is not printed, because its indexes run in parallel.  Raises Refused (404) if the job was
    deleted, and NotReady if the service has not answered for longer than PATIENCE_SECONDS.
    """
    copied: str | None = None
    said = ""
    pause = FIRST_PAUSE_SECONDS
    while True:
        last = job.attempts[-1] if job.attempts else None
        pod = last.pod if last else ""
        if not job.is_array and pod != copied and (job.ended or (last and last.started)):
            copied = pod
            _copy_log(job, write, say)
            pause = FIRST_PAUSE_SECONDS
        elif job.ended:
            return job
        else:
            words = f"{job.id} is {job.state}" + (f": {job.message}" if job.message else "")
            if words != said:
                say(words)
                said = words
                pause = FIRST_PAUSE_SECONDS
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
        job = _show_patiently(job.id, say)


def _copy_log(job: Job, write: Callable[[bytes], None], say: Callable[[str], None]) -> None:
    try:
        for piece in functions.log_bytes(job.id, follow=not job.ended, tail=None):
            write(piece)
    except Refused:
        return  # a job that never ran has no output; the caller prints how it ended
    except NotReady as error:
        say(
            f"{error} 'job submit' still waits for the job, but no longer prints its output. "
            f"'job logs {job.id}' prints all of it."
        )


def _show_patiently(job_id: str, say: Callable[[str], None]) -> Job:
    deadline = time.monotonic() + PATIENCE_SECONDS
    said = False
    while True:
        try:
            return functions.show(job_id)
        except JobsError as error:  # noqa: PERF203 - each try may fail
            if error.exit_code != NotReady.exit_code or time.monotonic() > deadline:
                raise
            if not said:
                say(f"{error} 'job submit' tries again; {job_id} is not affected.")
                said = True
            time.sleep(min(error.retry_after or 5, 30))
