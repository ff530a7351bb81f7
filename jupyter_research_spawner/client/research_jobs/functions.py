"""The functions of the package.  They call the batch service's paths /jobs, /jobs/ID and /jobs/ID/logs."""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlencode

from .job_errors import JobsError, Refused
from .job_model import Job, job_from
from .notebook_environment import Notebook, current_directory, this_notebook

ID = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", re.ASCII)
# One index of an array in Slurm's notation: 1234_7, or 1234_[7] as squeue prints it.
INDEXED = re.compile(r"([^_\[]+)(?:_([0-9]{1,6})|_?\[([0-9]{1,6})\])", re.ASCII)

NOWHERE = (
    "The current directory was removed, or its path has characters that cannot be sent. The job starts in your home "
    "directory."
)
# Pages of a list of jobs that are read at most.
PAGES = 10_000


def submit(  # noqa: PLR0913 - one for each field of the request
    command: Sequence[str],
    *,
    name: str | None = None,
    profile: str | None = None,
    queue: str | None = None,
    wall_time: str | None = None,
    image: str | None = None,
    env: Mapping[str, str] | None = None,
    workdir: str | None = None,
    array: str | None = None,
) -> Job:
    """Submit `command`, a list of words that no shell reads, as a batch job.

    Queue, profile and image are by default those of this notebook, as far as they fit, and `workdir` is the current
    directory if jobs have it.  `wall_time` is "8h", "1h30m", or as for sbatch.  With `array` the command runs once for
    each index: "0-9%3" means the indexes 0 to 9, of which at most 3 run at a time.  The job's `warnings` say what was
    not used.  Raises Refused with the invalid field, NotReady or JobsError.
    """
    notebook = this_notebook(os.environ)
    here = current_directory(os.environ) if workdir is None else []
    wishes = {
        "name": name,
        "command": _words(command),
        "image": image,
        "profile": profile,
        "queue": queue,
        "wall_time": wall_time,
        "env": None if env is None else dict(env),
        "workdir": None if workdir is None else _workdir(workdir),
        "kind": None if array is None else "array",
        "array": array,
        "inherited": _inherited(notebook, here),
    }
    body = {field: wish for field, wish in wishes.items() if wish is not None}
    _check_text(body)
    job = job_from(notebook.batch.ask("POST", "/jobs", body))
    return job if here or workdir is not None else replace(job, warnings=(NOWHERE, *job.warnings))


def list_jobs() -> tuple[Job, ...]:
    """Return your jobs, newest first.  Raises NotReady, JobsError."""
    return jobs_and_note()[0]


def jobs_and_note() -> tuple[tuple[Job, ...], str]:
    """Return your jobs, newest first, and a note if older jobs were removed, else "".  Raises NotReady, JobsError."""
    batch = this_notebook(os.environ).batch
    jobs: list[Job] = []
    path = "/jobs"
    for _ in range(PAGES):
        answer = batch.ask("GET", path)
        listed = answer.get("jobs")
        if not isinstance(listed, list):
            raise JobsError("The batch service's answer is not a list of jobs. Check RESEARCH_BATCH_URL.")
        jobs += map(job_from, listed)
        place = answer.get("continue")
        if not place:
            # The service sorts each page, and pages have no order.
            jobs.sort(key=lambda job: job.created, reverse=True)
            return tuple(jobs), str(answer.get("note") or "")
        path = f"/jobs?{urlencode({'continue': str(place)})}"
    raise JobsError(f"The batch service's list of jobs has no end after {PAGES} pages.")


def show(job_id: str) -> Job:
    """Return one of your jobs.  Raises Refused (404) for a job that is not yours."""
    return job_from(this_notebook(os.environ).batch.ask("GET", _path(split_index(job_id)[0])))


def logs(job_id: str, *, follow: bool = False, tail: int | None = None, index: int | None = None) -> Iterator[str]:
    """Return the output of a job, or of one index of an array, line by line.

    `tail` is the number of last lines to return.  With `follow` the iterator ends when the job ends.  The call raises
    Refused (404) if you have no such job.  The iterator raises NotReady if the connection is lost.
    """
    return _lines(log_bytes(job_id, follow=follow, tail=tail, index=index))


def log_bytes(job_id: str, *, follow: bool, tail: int | None, index: int | None = None) -> Iterator[bytes]:
    """Return the output as `logs` does, but as bytes in the pieces that the service sends."""
    job_id, named = split_index(job_id)
    query = {"follow": "true" if follow else "false"}
    if tail is not None:
        query["tail"] = str(tail)
    if index is not None or named is not None:
        query["index"] = str(named if index is None else index)
    path = f"{_path(job_id)}/logs?{urlencode(query)}"
    return this_notebook(os.environ).batch.stream(path, silence_allowed=follow)


def cancel(job_id: str) -> Job:
    """Cancel one of your jobs, or one index of an array (`ID_3`).  A job that has ended stays as it is.

    Raises Refused (404) for a job that is not yours, and 409 for an index that has not started.
    """
    job_id, index = split_index(job_id)
    query = "" if index is None else f"?index={index}"
    return job_from(this_notebook(os.environ).batch.ask("DELETE", _path(job_id) + query))


def remove(job_id: str) -> Job:
    """Delete one of your jobs that has ended, with its output.  Raises Refused (409) for a job that has not ended."""
    whole, index = split_index(job_id)
    if index is not None:
        hint = f"'job remove {whole}' removes the whole array."
        raise Refused("invalid", None, "One index of a job array cannot be removed alone.", hint)
    return job_from(this_notebook(os.environ).batch.ask("DELETE", f"{_path(job_id)}?remove=true"))


def split_index(job_id: str) -> tuple[str, int | None]:
    """Split `ID_3` or `ID[3]` into the id of the job and the index.  The index of a plain `ID` is None."""
    found = INDEXED.fullmatch(job_id)
    return (job_id, None) if found is None else (found[1], int(found[2] or found[3]))


def require_index(job: Job, index: int | None) -> None:
    """Raise Refused (404) if the job has no such index."""
    if index is None or any(found.index == index for found in job.indexes):
        return
    message, hint = f"{job.id} is a single job and has no indexes.", "Leave the index out."
    if job.is_array:
        message, hint = f"{job.id} has no index {index}.", f"'job show {job.id}' lists its indexes."
    raise Refused("no-such-index", "index", message, hint, 404)


def _inherited(notebook: Notebook, here: Sequence[str]) -> dict[str, object] | None:
    """Return what the job inherits of this notebook where it fits.  The service leaves out what does not fit."""
    values = {"profile": notebook.profile, "queue": notebook.queue, "image": notebook.image, "workdir": list(here)}
    return {field: value for field, value in values.items() if value} or None


def _path(job_id: str) -> str:
    # Refuse everything else here, because it could be another path of the service.
    if not ID.fullmatch(job_id):
        raise Refused("not_found", "id", f"You have no job {job_id!r}.", "'job list' prints the ids.", 404)
    return f"/jobs/{job_id}"


def _words(command: Sequence[str]) -> list[str]:
    if isinstance(command, str):
        hint = 'Split it into words, ["python", "train.py"], or ask for a shell: ["bash", "-c", "..."].'
        raise Refused("invalid", "command", "The command is one string; it must be a list of words.", hint)
    words = list(command)
    if not words:
        raise Refused("invalid", "command", "The command is empty.", 'Give at least one word, as in ["hostname"].')
    return words


def _workdir(workdir: str) -> str:
    if not workdir:
        raise Refused("invalid", "workdir", "The directory must not be empty.", "Leave it out for the current one.")
    if workdir == "~" or workdir.startswith("~/"):  # the shell expands this only at the start of a word
        return workdir
    if not workdir.startswith("/"):
        here = current_directory(os.environ)
        if not here:
            message = f"The directory {workdir!r} is relative, and the current directory cannot be used."
            raise Refused("invalid", "workdir", message, "Give an absolute path, which begins with '/'.")
        # If the home is a link, jobs may have only the path that HOME has.
        home = f"{os.environ.get('HOME', '').rstrip('/')}/"
        workdir = f"{next((path for path in here if f'{path}/'.startswith(home)), here[0])}/{workdir}"
    # Not Path.resolve(), because the target of a symbolic link may have another path in the job.
    return os.path.abspath(workdir)  # noqa: PTH100


def _check_text(body: Mapping[str, object]) -> None:
    """Raise Refused if a text has bytes that are not UTF-8, which Python has decoded to surrogates."""
    for field, wish in body.items():
        try:
            json.dumps(wish, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:  # noqa: PERF203 - the field must be named
            message = f"{field}: It has bytes that are not UTF-8, but a job's fields must be text."
            hint = "Write these bytes into a script, and submit the script." if field in ("command", "env") else ""
            raise Refused("not-text", field, message, hint) from error


def _lines(pieces: Iterator[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    begun = ""
    for piece in pieces:
        *whole, begun = (begun + decoder.decode(piece)).split("\n")
        for line in whole:
            yield line + "\n"
    begun += decoder.decode(b"", final=True)
    if begun:
        yield begun
