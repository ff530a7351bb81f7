"""A job's attempts: one per pod.  A pod that lost its place is deleted, so what it was is written on the Job.

The Job's annotation `research-spawner/attempts` has them as JSON, oldest first, at most KEPT of them.  The service
writes it when it sees a pod go.  What happened while no service ran is read off the cluster's events at the next start;
those live for an hour by default, and know neither exit code nor, of a pod that was never preempted, the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from ..jobs.job import MAIN
from ..schedulers import DELETED, NO_OBJECTS, SCHEDULERS, Objects, Scheduler
from ..shape import OUR_PREFIX, Json

ATTEMPTS = OUR_PREFIX + "attempts"
PLAN = OUR_PREFIX + "plan"
KEPT = 50
_REASON_LIMIT = 500
TAKEN = DELETED["message"]
# The reason of an event on a pod that is taken away, and what it means: kube-scheduler's and Volcano's.
EVICTIONS = {
    "Preempted": "Preempted: work of a higher priority needed its place.",
    "Evict": "Preempted: work of a higher priority, or of a queue below its share, needed its place.",
}
# YuniKorn's reason for whatever it has to tell, and how it tells of a preemption (seen with 1.8).
INFORMATIONAL = "Informational"
_PREEMPTED_BY = "Preempted by "
_CREATED = "Created pod: "


@dataclass(frozen=True)
class Attempt:
    """One pod of a job.  Times as Kubernetes writes them; `reason` says why it ended before its work did, else ""."""

    pod: str
    started: str | None = None
    finished: str | None = None
    exit_code: int | None = None
    reason: str = ""


def scheduler_of(job: Json) -> Scheduler:
    """The scheduler that the job was planned for, whatever the settings say now."""
    return SCHEDULERS.get(plan_of(job).get("scheduler", ""), SCHEDULERS["plain"])


def plan_of(job: Json) -> Json:
    """The plan as it was written on the Job, {} if it is not there or nobody can read it."""
    try:
        found = json.loads((job["metadata"].get("annotations") or {}).get(PLAN, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def attempt_of(pod: Json, scheduler: Scheduler, objects: Objects = NO_OBJECTS, *, gone: bool = False) -> Attempt:
    """What a pod and its scheduler's objects tell.  `gone`: this is the last that was seen of it."""
    metadata = pod["metadata"]
    ended, running = _main_states(pod)
    eviction = scheduler.eviction(pod, objects)
    if eviction is not None:
        reason = eviction.message
    else:
        reason = TAKEN if (gone or "deletionTimestamp" in metadata) and not _ended_by_itself(ended, metadata) else ""
    return Attempt(
        pod=metadata["name"],
        started=ended.get("startedAt") or running.get("startedAt"),
        finished=ended.get("finishedAt") or (metadata.get("deletionTimestamp") if gone else None),
        exit_code=ended.get("exitCode"),
        reason=reason[:_REASON_LIMIT],
    )


def _ended_by_itself(ended: Json, metadata: Json) -> bool:
    """Whether the program had ended before anybody asked for its pod's end, or ended well for all that."""
    if "deletionTimestamp" not in metadata or ended.get("exitCode") == 0:
        return bool(ended)
    # A node that was lost says of its containers that they ended, and not when.
    if not ended.get("finishedAt"):
        return False
    asked = _time(metadata["deletionTimestamp"]) - timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
    return _time(ended["finishedAt"]) < asked


def _time(text: str) -> datetime:
    # Python 3.10 does not read the Z of RFC 3339.
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _main_states(pod: Json) -> tuple[Json, Json]:
    """The main container's `terminated` and `running` states, {} where it is not in them."""
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        if container.get("name") == MAIN:
            state = container.get("state") or {}
            return state.get("terminated") or {}, state.get("running") or {}
    return {}, {}


def recorded(job: Json) -> list[Attempt]:
    """What is written on the Job; what cannot be read is nothing."""
    try:
        found = json.loads((job["metadata"].get("annotations") or {}).get(ATTEMPTS, "[]"))
        return [Attempt(**attempt) for attempt in found]
    except (ValueError, TypeError):
        return []


def written(attempts: Sequence[Attempt]) -> str:
    """The annotation's value.  The oldest are dropped: a job that is preempted for weeks must stay an object."""
    return json.dumps([asdict(attempt) for attempt in attempts[-KEPT:]], ensure_ascii=False)


def merged(before: Iterable[Attempt], now: Iterable[Attempt]) -> list[Attempt]:
    """One per pod: what is known `now` over what was known before, and never less than was known."""
    found = {attempt.pod: attempt for attempt in before}
    for attempt in now:
        known = found.get(attempt.pod)
        found[attempt.pod] = attempt if known is None else _completed(attempt, known)
    return list(found.values())


def _completed(attempt: Attempt, known: Attempt) -> Attempt:
    return replace(
        attempt,
        started=attempt.started or known.started,
        finished=attempt.finished or known.finished,
        exit_code=known.exit_code if attempt.exit_code is None else attempt.exit_code,
        reason=known.reason or attempt.reason if attempt.reason in ("", TAKEN) else attempt.reason,
    )


def from_events(job: Json, events: Iterable[Json]) -> list[Attempt]:
    """The attempts that the cluster's events tell of, oldest first: pods made for this Job, and what became of them."""
    uid = job["metadata"]["uid"]
    pods: dict[str, Attempt] = {}
    told = sorted(events, key=_when)
    for event in told:
        about, message = event.get("involvedObject") or {}, str(event.get("message", ""))
        if event.get("reason") == "SuccessfulCreate" and about.get("uid") == uid and message.startswith(_CREATED):
            name = message.removeprefix(_CREATED).strip()
            pods[name] = Attempt(name)
    for event in told:
        about = event.get("involvedObject") or {}
        known = pods.get(str(about.get("name"))) if about.get("kind") == "Pod" else None
        if known is None:
            continue
        if event.get("reason") == "Started":
            pods[known.pod] = replace(known, started=known.started or _when(event) or None)
        elif reason := _eviction(event):
            pods[known.pod] = replace(known, finished=_when(event) or None, reason=reason)
    return list(pods.values())


def _eviction(event: Json) -> str | None:
    reason = str(event.get("reason"))
    if reason == INFORMATIONAL and str(event.get("message")).startswith(_PREEMPTED_BY):
        return EVICTIONS["Evict"]
    return EVICTIONS.get(reason)


def _when(event: Json) -> str:
    """An event has one of these times (core/v1 Event), the newer API's with microseconds."""
    at = str(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or "")
    return at[:19] + "Z" if "." in at else at
