"""What the batch service keeps in memory about each unfinished job, to decide again about it.

The stored jobs of all users can be larger than the memory of the service.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from ..api_object import annotations_of
from ..jobs import kind_of, stored_submission
from ..plan import Granted, Request
from ..pod.overlay import KIND, USER_NAME, granted_to
from ..refusal import Refusal
from ..shape import Json
from .attempts import scheduler_of
from .rights_record import NOTE, Refused, is_suspended, refused, successor

T = TypeVar("T")
# Equal requests and equal grants are in memory once.
_SHARED: WeakValueDictionary[Any, Any] = WeakValueDictionary()


@dataclass(frozen=True)
class Unfinished:
    """An unfinished job.  `request` is a Refusal if the request that is stored on the job is not valid now."""

    uid: str
    name: str
    kind: str
    hub_user: str
    scheduler: str
    request: Request | Refusal
    granted: Granted | None
    refused: Refused | None
    has_successor: bool
    is_suspended: bool
    is_array: bool
    note: str

    @property
    def reference(self) -> Json:
        """Return as much of the job as is needed to find its pods."""
        return {"metadata": {"name": self.name, "uid": self.uid, "labels": {KIND: self.kind}}}

    def is_same(self, job: Json) -> bool:
        """Return whether this is the job, and it is not being deleted."""
        return bool(job["metadata"]["uid"] == self.uid) and "deletionTimestamp" not in job["metadata"]


def is_unfinished(job: Json) -> bool:
    """Return whether the controller of the job can still create pods for it."""
    return kind_of(job).result(job) is None and "deletionTimestamp" not in job["metadata"]


def unfinished(job: Json) -> Unfinished:
    """Return the part of a job that the service keeps in memory."""
    kind, hub_user = kind_of(job), str(annotations_of(job).get(USER_NAME, ""))
    try:
        # With the same name for all, so that the requests of two jobs can be equal.
        request: Request | Refusal = _once(stored_submission(job).plan_request(hub_user, kind.KIND))
    except Refusal as refusal:
        request = replace(refusal)
    return Unfinished(
        uid=job["metadata"]["uid"],
        name=job["metadata"]["name"],
        kind=kind.KIND,
        hub_user=hub_user,
        scheduler=scheduler_of(job).KIND,
        request=request,
        granted=_once(granted_to(kind.SLOTS.pods(job)[0][1])),
        refused=refused(job),
        has_successor=successor(job) is not None,
        is_suspended=is_suspended(job),
        is_array=bool(kind.indexes(job)),
        note=str(annotations_of(job).get(NOTE, "")),
    )


def _once(value: T) -> T:
    """Return the equal value that is already in memory; this value if there is none."""
    found: T = value if value is None else _SHARED.setdefault(value, value)
    return found
