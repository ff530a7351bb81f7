"""Formats jobs for a terminal, similar to Slurm's squeue and scontrol."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from .batch_script import told_command
from .job_model import QUEUED, RUNNING, STARTING, Attempt, Index, Job
from .terminal import table, visible

LIST_HEADS = ("ID", "NAME", "STATE", "QUEUE", "TIME", "REASON")
# NAME is shortened before most other columns, because the id begins with the name.
LIST_SHRINK = (("REASON", 26), ("NAME", 8), ("QUEUE", 8), ("REASON", 10), ("NAME", 4), ("QUEUE", 4))
LONGEST_ID = 22
LONGEST_POD = 32
ATTEMPT_HEADS = ("ATTEMPT", "POD", "STARTED (UTC)", "TIME", "EXIT")
INDEX_HEADS = ("INDEX", "STATE", "STARTED (UTC)", "TIME", "EXIT", "PODS")
LABEL_WIDTH = 11


def job_table(jobs: Sequence[Job], *, now: datetime, width: int) -> list[str]:
    """Return a table with a row for each job.  TIME is its run time, or "wait" and the time that it has waited.

    REASON is squeue's word for what a job waits for, with the job's place and what is missing, as far as it has space.
    """
    rows = [(_short_id(job), job.name, job.state, job.queue, _time_spent(job, now), _short_reason(job)) for job in jobs]
    head, *body = table(LIST_HEADS, rows, width=width, shrink=LIST_SHRINK)
    lines = [head]
    for job, line in zip(jobs, body):  # noqa: B905 - Python 3.8 has no strict
        if not _short_id(job):
            lines.append(visible(job.id))
        lines.append(line)
    return lines


def _short_id(job: Job) -> str:
    """Return the id, or "" if the id is too long for its column, so that the table shows it in a separate line."""
    return job.id if len(job.id) <= LONGEST_ID else ""


def job_details(job: Job, *, now: datetime, width: int, only: int | None = None) -> list[str]:
    """Return the lines that describe one job.  Fields without a value, such as a running job's exit code, are left out.

    An array has one line for each index.  If `only` is an index, only this index and its attempts are described.
    """
    lines: list[str] = []
    for label, value in _fields(job):
        lines += _labelled(label, value, width)
    for warning in job.warnings:
        lines += _labelled("Warning", warning, width)
    if job.indexes:
        found = [index for index in job.indexes if only in (None, index.index)]
        rows = [_index_row(index, now) for index in found]
        head, *body = table(INDEX_HEADS, rows, width=width, shrink=())
        lines += ["", head]
        for index, line in zip(found, body):  # noqa: B905 - Python 3.8 has no strict
            lines += [line, *_labelled("", index.message, width)]
    attempts = [attempt for attempt in job.attempts if not job.indexes or attempt.index == only]
    if attempts:
        rows = [_attempt_row(number, attempt, job, now) for number, attempt in enumerate(attempts, start=1)]
        head, *body = table(ATTEMPT_HEADS, rows, width=width, shrink=())
        lines += ["", head]
        for attempt, line in zip(attempts, body):  # noqa: B905 - Python 3.8 has no strict
            is_told = attempt is attempts[-1] and _message(job, only).startswith(attempt.reason)
            lines += [line] if is_told else [line, *_labelled("", attempt.reason, width)]
    return lines


def _message(job: Job, index: int | None) -> str:
    """Return the message of a job, or of one index, which is that of its last attempt where this has ended it."""
    return next((found.message for found in job.indexes if found.index == index), job.message)


def _index_row(index: Index, now: datetime) -> tuple[str, ...]:
    until = index.finished or (now if index.state == RUNNING else None)
    spent = "" if index.started is None or until is None else slurm_time(until - index.started)
    exit_code = "" if index.exit_code is None else str(index.exit_code)
    started = _moment(index.started).replace(" UTC", "")
    pods = str(index.attempts) if index.attempts else ""
    return (str(index.index), index.state, started, spent, exit_code, pods)


def _fields(job: Job) -> list[tuple[str, str]]:
    return [
        ("Job", job.id),
        ("Name", job.name),
        ("Kind", job.kind),
        ("Array", job.array),
        ("State", job.state),
        ("Reason", _reason(job)),
        ("Queue", job.queue),
        ("Priority", job.priority),
        ("Profile", job.profile),
        ("Image", job.image),
        ("Command", shlex.join(told_command(job.command))),
        ("Directory", job.workdir),
        ("Created", _moment(job.created)),
        ("Started", _moment(job.started)),
        ("Finished", _moment(job.finished)),
        ("Wall time", _limits(job)),
        ("Exit code", "" if job.exit_code is None else str(job.exit_code)),
    ]


def _labelled(label: str, value: str, width: int) -> list[str]:
    text = visible(value)
    if not text:
        return []
    start = label.ljust(LABEL_WIDTH)
    if label in ("Image", "Command", "Directory"):  # users copy these, so they are not wrapped
        return [start + text]
    return textwrap.wrap(
        text,
        max(width, 2 * LABEL_WIDTH),
        initial_indent=start,
        subsequent_indent=" " * LABEL_WIDTH,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _attempt_row(number: int, attempt: Attempt, job: Job, now: datetime) -> tuple[str, ...]:
    running = attempt.finished is None and not job.ended
    until = now if running else attempt.finished
    spent = "" if attempt.started is None or until is None else slurm_time(until - attempt.started)
    exit_code = "" if attempt.exit_code is None else str(attempt.exit_code)
    # The name of a pod begins with the job's id.
    pod = attempt.pod if len(attempt.pod) <= LONGEST_POD else f"…{attempt.pod[1 - LONGEST_POD :]}"
    return (str(number), pod, _moment(attempt.started).replace(" UTC", ""), spent, exit_code)


def _reason(job: Job) -> str:
    if not job.message and job.exit_code:
        return f"exit code {job.exit_code}"
    return job.message


def _short_reason(job: Job) -> str:
    """Return squeue's word and where a waiting job stands, or without them the message."""
    return ": ".join(filter(None, (job.reason, job.place))) or _reason(job)


def _time_spent(job: Job, now: datetime) -> str:
    """Return how long a job has run or waited.  After a preemption, the wait begins at the end of the last attempt."""
    last = job.attempts[-1] if job.attempts else None
    if job.state in (QUEUED, STARTING):
        since = last.finished if last and last.finished else job.created
        return f"wait {slurm_time(now - since)}"
    started = last.started if last and last.started else job.started
    if started is None:
        return ""
    until = job.finished or (None if job.ended else now)
    return "" if until is None else slurm_time(until - started)


def _limits(job: Job) -> str:
    text = slurm_time(job.wall_time)
    if job.wall_time_hard != job.wall_time:
        text += f", at most {slurm_time(job.wall_time_hard)}"
    if job.is_array:
        return f"{text} for each index"
    if job.state == RUNNING and job.attempts and job.attempts[-1].started:
        text += f": ends by {_moment(job.attempts[-1].started + job.wall_time_hard)}"
    return text


def _moment(time: datetime | None) -> str:
    return "" if time is None else time.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def slurm_time(duration: timedelta) -> str:
    """Return a duration as squeue prints it: 0:07, 12:03, 1:02:03, 1-02:03:04.  A negative duration is 0:00."""
    total = max(int(duration.total_seconds()), 0)
    minutes, seconds = divmod(total, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}-{hours:02}:{minutes:02}:{seconds:02}"
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}"
