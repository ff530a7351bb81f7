"""A job as the batch service describes it.  Times are in the format of RFC 3339."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypedDict

from .job_errors import JobsError

QUEUED = "queued"
STARTING = "starting"
RUNNING = "running"
SUCCEEDED = "succeeded"
FAILED = "failed"


@dataclass(frozen=True)
class Attempt:
    """One pod of a job.  A preempted job has several pods.  `reason` says why the command did not finish in it."""

    pod: str
    started: datetime | None
    finished: datetime | None
    exit_code: int | None
    reason: str
    index: int | None = None


@dataclass(frozen=True)
class Index:
    """One index of a job array; `attempts` is the number of its pods so far."""

    index: int
    state: str
    message: str
    started: datetime | None
    finished: datetime | None
    exit_code: int | None
    attempts: int


@dataclass(frozen=True)
class Job:
    """A job.  `message` says why it waits or why it failed; `answer` is the service's JSON with all its fields.

    `reason` is squeue's word for the message, such as Resources; "" if there is none.  `place` says in a few words
    where a waiting job stands, such as "place 2 of 5, 1 more NVIDIA GPU".

    For a job array, `counts` is the number of indexes in each state.  Only `show` returns the `indexes` and `attempts`
    of an array.  `array` is the argument of `submit`, such as "0-9%3".
    """

    id: str
    name: str
    kind: str
    state: str
    message: str
    queue: str
    profile: str
    priority: str
    image: str
    command: tuple[str, ...]
    created: datetime
    started: datetime | None
    finished: datetime | None
    exit_code: int | None
    attempts: tuple[Attempt, ...]
    wall_time: timedelta
    wall_time_hard: timedelta
    warnings: tuple[str, ...]
    answer: Mapping[str, Any] = field(repr=False, compare=False)
    workdir: str = ""
    array: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    indexes: tuple[Index, ...] = ()
    reason: str = ""
    place: str = ""

    @property
    def ended(self) -> bool:
        return self.state in (SUCCEEDED, FAILED)

    @property
    def is_array(self) -> bool:
        """Return whether the job is an array.  Each index of an array has its own output."""
        return bool(self.counts)


def job_from(answer: Mapping[str, Any]) -> Job:
    """Return the job that a JSON object describes.  Ignores unknown fields.  Raises JobsError for another object."""
    try:
        return Job(
            id=_text(answer["id"]),
            name=_text(answer["name"]),
            kind=_text(answer["kind"]),
            state=_text(answer["state"]),
            message=_text(answer["message"]),
            queue=_text(answer["queue"]),
            profile=_text(answer["profile"]),
            priority=_text(answer["priority"]),
            image=_text(answer["image"]),
            command=tuple(_text(word) for word in answer["command"]),
            created=_time(answer["created"]),
            **_run_of(answer),
            attempts=tuple(_attempt(attempt) for attempt in answer["attempts"]),
            wall_time=timedelta(seconds=answer["wall_time_seconds"]),
            wall_time_hard=timedelta(seconds=answer["wall_time_hard_seconds"]),
            warnings=tuple(_text(sentence) for sentence in answer["warnings"]),
            answer=answer,
            workdir=_text(answer.get("workdir", "")),
            array=_text(answer.get("array", "")),
            counts={_text(state): int(count) for state, count in answer.get("counts", {}).items()},
            indexes=tuple(_index(index) for index in answer.get("indexes", ())),
            reason=_text(answer.get("reason", "")),
            place=_text((answer.get("waiting") or {}).get("summary", "")),
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise JobsError(
            f"This client cannot read the batch service's answer ({type(error).__name__}: {error}). "
            "The service may have another version: restart your server to get the matching client."
        ) from error


def _attempt(answer: Mapping[str, Any]) -> Attempt:
    return Attempt(
        pod=_text(answer["pod"]),
        **_run_of(answer),
        reason=_text(answer["reason"]),
        index=_number_or_none(answer.get("index")),
    )


def _index(answer: Mapping[str, Any]) -> Index:
    return Index(
        index=int(answer["index"]),
        state=_text(answer["state"]),
        message=_text(answer["message"]),
        **_run_of(answer),
        attempts=int(answer["attempts"]),
    )


class _Run(TypedDict):
    started: datetime | None
    finished: datetime | None
    exit_code: int | None


def _run_of(answer: Mapping[str, Any]) -> _Run:
    """Return the fields that a job, an attempt and an index have in common: start, end and exit code."""
    return {
        "started": _time_or_none(answer["started"]),
        "finished": _time_or_none(answer["finished"]),
        "exit_code": _number_or_none(answer["exit_code"]),
    }


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, not {value!r}")
    return value


def _number_or_none(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise TypeError(f"expected a number, not {value!r}")


def _time_or_none(value: object) -> datetime | None:
    """Return the time; None for the zero time of Unix too, which older services send for a time that is not set."""
    time = None if value is None else _time(value)
    return None if time is not None and time.timestamp() <= 0 else time


def _time(value: object) -> datetime:
    # Python 3.8 to 3.10 do not read the Z of RFC 3339.
    time = datetime.fromisoformat(_text(value).replace("Z", "+00:00"))
    if time.tzinfo is None:
        raise ValueError(f"expected a time with a time zone, not {value!r}")
    return time
