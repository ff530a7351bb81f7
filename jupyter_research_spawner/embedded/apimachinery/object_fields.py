"""Fields that Kubernetes objects share: times, conditions, owner references.  Objects are plain dicts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

Json = dict[str, Any]


_SECONDS = "%Y-%m-%dT%H:%M:%SZ"


def now(seconds: float = 0) -> str:
    """Return the time `seconds` from now, in the API server's format: UTC, whole seconds."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime(_SECONDS)


def later(time: str, seconds: float) -> str:
    return (datetime.strptime(time, _SECONDS) + timedelta(seconds=seconds)).strftime(_SECONDS)


def micro_now() -> str:
    """Return the current time in the format of `eventTime` and of leases: UTC, microseconds."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_since(time: str) -> float:
    """Return how many seconds ago `time` was.  `time` has the format that `now` returns (RFC 3339)."""
    then = datetime.strptime(time, _SECONDS).replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - then).total_seconds()


def condition(obj: Json, type_: str) -> Json:
    """Return the condition of type `type_` in the object's status, or an empty dict."""
    conditions: Iterable[Json] = (obj.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c.get("type") == type_), {})


def is_true(obj: Json, type_: str) -> bool:
    return condition(obj, type_).get("status") == "True"


def with_condition(
    conditions: Iterable[Json] | None, type_: str, status: str, reason: str = "", message: str = ""
) -> list[Json]:
    """Return the conditions with one added or replaced.  lastTransitionTime changes only if `status` changes."""
    kept = [c for c in conditions or [] if c.get("type") != type_]
    before = next((c for c in conditions or [] if c.get("type") == type_), {})
    unchanged = before.get("status") == status
    new = {"type": type_, "status": status, "lastTransitionTime": before["lastTransitionTime"] if unchanged else now()}
    if reason:
        new["reason"] = reason
    if message:
        new["message"] = message
    return [*kept, new]


def controller_of(obj: Json) -> Json | None:
    """Return the object's owner reference with `controller: true`, or None."""
    owners: list[Json] = obj["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def controller_reference(owner: Json) -> Json:
    """Return the owner reference that a controller writes into the objects that it creates for `owner`."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
