"""The annotations that record on a job that its user's rights have changed.

A waiting job that is refused now is kept from starting, and REFUSED has the reason.  A waiting job whose rights differ
is recreated: SUCCESSOR on the old job names the new one, which keeps the id that the user knows.
NOTE tells the user of a running job what has changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from ..api_object import annotations_of, parse_map
from ..jobs import Result, kind_of
from ..shape import OUR_PREFIX, Json

REFUSED = OUR_PREFIX + "refused"
SUCCESSOR = OUR_PREFIX + "successor"
# On a recreated job: sentences about the differences.
RENEWED = OUR_PREFIX + "renewed"
NOTE = OUR_PREFIX + "rights-note"
# The label of a recreated job: the id of the first one.
ID = OUR_PREFIX + "id"
_TEXT_LIMIT = 2000
# All annotations of an object have at most 256 KiB.  The names of 7,000 pods are shorter than this.
_NAMES_LIMIT = 64_000
T = TypeVar("T", "Refused", "Successor")


@dataclass(frozen=True)
class Refused:
    """Why a job does not start or no longer runs, since an RFC 3339 time.

    `running` names the pods of a job array that ran at this time and continue; see `names_of_pods`.
    """

    at: str
    message: str
    running: str = ""

    def continues(self, pod: Json) -> bool:
        """Return whether the pod ran when the job was refused."""
        return names_of_pods([pod]) in self.running.split()


@dataclass(frozen=True)
class Successor:
    """The name of the job that replaces this one, when that was decided, and what has changed."""

    at: str
    name: str
    message: str


def names_of_pods(pods: Iterable[Json]) -> str:
    """Return the first part of the uid of each pod, which differs between the pods of a job."""
    return " ".join(str(pod["metadata"]["uid"])[:8] for pod in pods)


def refused(job: Json) -> Refused | None:
    return _read(job, REFUSED, Refused)


def successor(job: Json) -> Successor | None:
    return _read(job, SUCCESSOR, Successor)


def why_held(job: Json) -> str:
    """Return why the service deletes pods of the job that have not ended; "" if it does not."""
    why = refused(job) or successor(job)
    return "" if why is None else why.message


def _read(job: Json, key: str, type_: type[T]) -> T | None:
    """Return the record in an annotation; None without it.  A field of the record that is not valid is ""."""
    written = annotations_of(job).get(key)
    if written is None:
        return None
    values = parse_map(written)
    return type_(**{name: str(values.get(name, "")) for name in type_.__dataclass_fields__})


def written(value: Refused | Successor) -> str:
    """Return the value of the annotation."""
    limits = {"running": _NAMES_LIMIT}
    return json.dumps(
        {name: text[: limits.get(name, _TEXT_LIMIT)] for name, text in asdict(value).items()}, ensure_ascii=False
    )


def result_of(job: Json) -> Result | None:
    """Return the result of a job: that of its controller, or the reason why it is kept from starting."""
    result, why = kind_of(job).result(job), refused(job)
    if result is None and why is not None and is_suspended(job):
        return Result(False, why.message, why.at or None)
    return result


def is_suspended(job: Json) -> bool:
    """Return whether the job is to have no pods, also if its controller has not done that yet."""
    return contains(job, kind_of(job).SUSPENSION)


def contains(obj: Any, patch: Any) -> bool:
    """Return whether the patch (RFC 7396, without null) would change nothing."""
    if isinstance(patch, Mapping):
        return isinstance(obj, Mapping) and all(contains(obj.get(key), value) for key, value in patch.items())
    return bool(obj == patch)


def id_of(job: Json) -> str:
    """Return the id by which the user knows the job."""
    return str((job["metadata"].get("labels") or {}).get(ID) or job["metadata"]["name"])


def told(job: Json) -> list[str]:
    """Return the sentences for the user about changed rights."""
    found = [annotations_of(job).get(key) for key in (RENEWED, NOTE)]
    return [str(sentence) for sentence in found if sentence]


def renewed_text(changes: Sequence[str]) -> str:
    """Return the sentences for the user of a job that was recreated."""
    return _bounded(
        f"Your rights changed while this job waited, so it was recreated with those that you have now: "
        f"{' '.join(changes)} It lost its place in the queue."
    )


def changed_text(changes: Sequence[str]) -> str:
    """Return the note for the user of a running job whose rights have changed."""
    return _bounded(
        f"Your rights changed after this job was submitted: {' '.join(changes)} It continues with those that it has."
    )


def lost_text(reason: str) -> str:
    """Return the note for the user of a running job who may no longer run it."""
    return _bounded(
        f"You may no longer run this job: {reason} It continues, but it does not run again if it is stopped."
    )


def not_started_text(reason: str) -> str:
    """Return why a waiting job does not start whose user may no longer run it."""
    return _bounded(f"It was not started, because you may no longer run it: {reason} Submit it again when you may.")


def not_renewed_text(changes: Sequence[str], why: str) -> str:
    """Return why a waiting job with other rights, or the rest of an array, does not start."""
    return _bounded(f"Your rights changed: {' '.join(changes)} {why}")


def _bounded(text: str) -> str:
    return text if len(text) <= _TEXT_LIMIT else f"{text[: _TEXT_LIMIT - 4]} ..."
