"""Bounds what one user's jobs take in the API server, and decides which ended jobs make room for a new one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ..jobs import kind_of
from ..refusal import Refusal
from ..settings.units import format_bytes
from ..shape import Json
from ..site import Batch
from .rights_record import result_of

# Ended jobs that one submission removes: each is two requests to the API server.
REMOVED_AT_ONCE = 50


@dataclass(frozen=True)
class StoredJob:
    """What a stored job counts for.  `reference` has as much of the job as its deletion needs."""

    reference: Json
    ended: str | None
    active_pods: int
    size: int


def stored_job(job: Json) -> StoredJob:
    """Return what a job counts for.  The service keeps this, and not the job, when it reads all jobs of a user."""
    metadata, ended = job["metadata"], _ended_at(job)
    reference = {"metadata": {"name": metadata["name"], "uid": metadata.get("uid"), "labels": metadata.get("labels")}}
    return StoredJob(reference, ended, 0 if ended else kind_of(job).active_pod_count(job), _size(job))


def make_room(stored: Sequence[StoredJob], new: Json, pods: int, batch_settings: Batch) -> list[Json]:
    """Return the ended jobs of a user, oldest first, that must be removed to make room for the job `new`.

    Raises Refusal if the jobs that have not ended leave no room.
    """
    ended = sorted((job for job in stored if job.ended is not None), key=lambda job: str(job.ended))
    active = sum(job.active_pods for job in stored)
    if active + pods > batch_settings.max_jobs:
        raise _too_many(active, pods, batch_settings.max_jobs)
    size = _size(new) + sum(job.size for job in stored)
    removed: list[StoredJob] = []
    while ended and (len(ended) > batch_settings.keep_jobs or size > batch_settings.max_size):
        removed.append(ended.pop(0))
        size -= removed[-1].size
    if size > (limit := batch_settings.max_size):
        raise Refusal(
            "too-large",
            f"With this job, your jobs that have not ended take {size} bytes; the limit is {limit} bytes.",
            hint="Wait until some of them end, or put long commands and variables into files.",
            status=409,
        )
    return [job.reference for job in removed[:REMOVED_AT_ONCE]]


def removal_warning(count: int, batch_settings: Batch) -> str:
    """Return a sentence for the user about ended jobs that were removed."""
    which = "Your oldest ended job was" if count == 1 else f"Your {count} oldest ended jobs were"
    size = format_bytes(batch_settings.max_size)
    return f"{which} removed: at most {batch_settings.keep_jobs} ended jobs are kept, and {size} of all your jobs."


def ended_count(jobs: Sequence[Json]) -> int:
    """Return how many of these jobs have ended."""
    return sum(_ended_at(job) is not None for job in jobs)


def kept_note(ended: int, batch_settings: Batch) -> str:
    """Return a note if older jobs may be missing in a list with `ended` ended jobs; "" otherwise."""
    return (
        f"Older ended jobs were removed: {batch_settings.keep_jobs} are kept."
        if ended >= batch_settings.keep_jobs
        else ""
    )


def _ended_at(job: Json) -> str | None:
    """Return when the job ended, or when it was created if its controller does not say; None if it has not ended."""
    result = result_of(job)
    return None if result is None else result.finished or job["metadata"]["creationTimestamp"]


def _size(job: Json) -> int:
    return len(json.dumps(job))


def _too_many(active: int, pods: int, limit: int) -> Refusal:
    counts = f" This job counts as {pods}, because {pods} of its pods may run at once." if pods > 1 else ""
    fewer = " Or let fewer pods of this job run at once." if pods > 1 else ""
    return Refusal(
        "too-many-jobs",
        f"You have {active} jobs that have not ended; the limit is {limit}.{counts}",
        hint=f"Wait until some of them end, or cancel some.{fewer}",
        status=409,
    )
