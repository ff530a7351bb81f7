"""Jobs as people read them, in the manner of Slurm's squeue and scontrol."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from .job_model import QUEUED, RUNNING, STARTING, Attempt, Job
from .terminal import table, visible

LIST_HEADS = ("ID", "NAME", "STATE", "QUEUE", "TIME", "REASON")
# A name gives way early, for the id begins with it.
LIST_SHRINK = (("REASON", 26), ("NAME", 8), ("QUEUE", 8), ("REASON", 10), ("NAME", 4), ("QUEUE", 4))
LONGEST_ID = 22
ATTEMPT_HEADS = ("ATTEMPT", "POD", "STARTED (UTC)", "TIME", "EXIT")
LABEL_WIDTH = 11


def job_table(jobs: Sequence[Job], *, now: datetime, width: int) -> list[str]:
    """One line for each job.  TIME is "wait" and how long it waits; once it started, how long it has run."""
    rows = [(_short_id(job), job.name, job.state, job.queue, _time_spent(job, now), _reason(job)) for job in jobs]
    head, *body = table(LIST_HEADS, rows, width=width, shrink=LIST_SHRINK)
    lines = [head]
    for job, line in zip(jobs, body):  # noqa: B905 - Python 3.8 has no strict
        if not _short_id(job):
            lines.append(visible(job.id))
        lines.append(line)
    return lines


def _short_id(job: Job) -> str:
    """An id is there to be copied, so it is never cut: one that is too long has a line to itself, as in df."""
    return job.id if len(job.id) <= LONGEST_ID else ""


def job_details(job: Job, *, now: datetime, width: int) -> list[str]:
    """Everything about one job; what it does not have (an exit code before its end) is left out."""
    lines: list[str] = []
    for label, value in _fields(job):
        lines += _labelled(label, value, width)
    for warning in job.warnings:
        lines += _labelled("Warning", warning, width)
    if job.attempts:
        rows = [_attempt_row(number, attempt, job, now) for number, attempt in enumerate(job.attempts, start=1)]
        head, *body = table(ATTEMPT_HEADS, rows, width=width, shrink=())
        lines += ["", head]
        for attempt, line in zip(job.attempts, body):  # noqa: B905 - Python 3.8 has no strict
            lines += [line, *_labelled("", attempt.reason, width)]
    return lines


def _fields(job: Job) -> list[tuple[str, str]]:
    return [
        ("Job", job.id),
        ("Name", job.name),
        ("Kind", job.kind),
        ("State", job.state),
        ("Reason", _reason(job)),
        ("Queue", job.queue),
        ("Priority", job.priority),
        ("Profile", job.profile),
        ("Image", job.image),
        ("Command", shlex.join(job.command)),
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
    if label in ("Image", "Command"):  # to be copied: the terminal may break it, we do not
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
    return (str(number), attempt.pod, _moment(attempt.started).replace(" UTC", ""), spent, exit_code)


def _reason(job: Job) -> str:
    if not job.message and job.exit_code:
        return f"exit code {job.exit_code}"
    return job.message


def _time_spent(job: Job, now: datetime) -> str:
    """After a preemption a job waits again, from the end of its last attempt on."""
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
    if job.state == RUNNING and job.attempts and job.attempts[-1].started:
        text += f": ends by {_moment(job.attempts[-1].started + job.wall_time_hard)}"
    return text


def _moment(time: datetime | None) -> str:
    return "" if time is None else time.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def slurm_time(duration: timedelta) -> str:
    """As squeue prints it: 0:07, 12:03, 1:02:03, 1-02:03:04.  A clock that is behind gives 0:00."""
    total = max(int(duration.total_seconds()), 0)
    minutes, seconds = divmod(total, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}-{hours:02}:{minutes:02}:{seconds:02}"
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}"
