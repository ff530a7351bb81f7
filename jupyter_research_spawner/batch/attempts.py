"""The attempts of a job, one for each of its pods.

Attempts are recorded on the job, because the pod of an attempt may have been deleted.  The annotation
`research-spawner/attempts` contains the last KEPT attempts as JSON, oldest first.  The service writes it when a pod is
deleted.  When the service starts, it reads missed deletions from events, which Kubernetes keeps for an hour by default.
Events do not contain exit codes, and no end time unless the pod was preempted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from ..api_object import annotations_of, parse_map
from ..jobs import kind_of
from ..schedulers import DELETED, NO_OBJECTS, Objects, Scheduler, find_scheduler, preemption_events
from ..shape import OUR_PREFIX, Json
from ..texts import gettext, gettext_noop, translate
from ..watch.container_reasons import exit_code
from ..watch.phase import has_failed, why_failed
from ..watch.pod_end import ended_by_itself, known_time, main_state
from .rights_record import why_held

ATTEMPTS = OUR_PREFIX + "attempts"
PLAN = OUR_PREFIX + "plan"
KEPT = 200
# Indexes of an array that the user cancelled, separated by commas.
CANCELLED = OUR_PREFIX + "cancelled-indexes"
CANCELLED_MESSAGE = gettext_noop("It was cancelled.")
_REASON_LIMIT = 500
TAKEN = DELETED["message"]
# The reasons of events of the Job controller and of the kubelet, and the start of the message of the first one.
_CREATION, _START = "SuccessfulCreate", "Started"
_CREATED = "Created pod: "


@dataclass(frozen=True)
class Attempt:
    """One run of a job's command in one pod.

    Times are RFC 3339 strings.  `reason` says why the pod was ended before its command; "" if it was not.  `failure`
    says how its containers failed, or why its node refused it; "" if they did not fail, or if there is a `reason`.
    """

    pod: str
    started: str | None = None
    finished: str | None = None
    exit_code: int | None = None
    reason: str = ""
    index: int | None = None
    failure: str = ""

    @property
    def why(self) -> str:
        """Return why the command did not succeed in this pod; "" if it did, or if it has not ended."""
        ended = gettext("It ended with exit code %(code)s.", code=self.exit_code) if self.exit_code else ""
        return translate(self.reason) or self.failure or ended

    def recorded(self) -> Json:
        """Return the attempt as the JSON object that the job's annotation keeps, without fields that are not set."""
        unset = {"index": None, "failure": ""}
        return {key: value for key, value in asdict(self).items() if key not in unset or value != unset[key]}

    def shown(self) -> Json:
        """Return the attempt as a JSON object for a response.  Its `reason` is `why`.  Only an array's has `index`."""
        return {**replace(self, failure="").recorded(), "reason": self.why}


def scheduler_of(job: Json) -> Scheduler:
    """Return the scheduler in the job's plan, which can differ from the scheduler in the current settings."""
    return find_scheduler(_scheduler_kind(job))


def _scheduler_kind(job: Json) -> str:
    return str(plan_of(job).get("scheduler", ""))


def plan_of(job: Json) -> Json:
    """Return the summary of the plan in the job's annotation; {} if it is missing or not valid JSON."""
    return dict(parse_map(annotations_of(job).get(PLAN)))


def cancelled_indexes(job: Json) -> frozenset[int]:
    """Return the indexes of an array that the user cancelled."""
    written = str(annotations_of(job).get(CANCELLED, ""))
    return frozenset(int(index) for index in written.split(",") if index.isascii() and index.isdecimal())


def attempt_of(job: Json, pod: Json, objects: Objects = NO_OBJECTS, *, gone: bool = False) -> Attempt:
    """Return the attempt of a pod.  `gone` means that the pod no longer exists and `pod` is its last state."""
    metadata, kind = pod["metadata"], kind_of(job)
    index = kind.index_of(job, metadata["name"])
    main = kind.SLOTS.main
    ended, running = main_state(pod, main, "terminated"), main_state(pod, main, "running")
    eviction = scheduler_of(job).eviction(pod, objects)
    reason = ""
    if eviction is not None:
        reason = eviction.message
    elif (gone or "deletionTimestamp" in metadata) and not ended_by_itself(ended, metadata):
        reason = CANCELLED_MESSAGE if index in cancelled_indexes(job) else why_held(job) or TAKEN
    return Attempt(
        pod=metadata["name"],
        started=known_time(ended.get("startedAt")) or running.get("startedAt"),
        finished=known_time(ended.get("finishedAt")) or (metadata.get("deletionTimestamp") if gone else None),
        exit_code=exit_code(ended),
        reason=reason[:_REASON_LIMIT],
        index=index,
        failure=why_failed(pod, main)[:_REASON_LIMIT] if has_failed(pod) and not reason else "",
    )


def recorded(job: Json) -> list[Attempt]:
    """Return the attempts in the job's annotation; [] if the annotation is not valid."""
    try:
        found = json.loads(annotations_of(job).get(ATTEMPTS, "[]"))
        attempts = [Attempt(**attempt) for attempt in found]
        # An older version recorded the zero time.
        return [replace(attempt, started=known_time(attempt.started)) for attempt in attempts]
    except (ValueError, TypeError, AttributeError):
        return []


def written(attempts: Sequence[Attempt]) -> str:
    """Return the value of the attempts annotation.

    It has only the last KEPT attempts, because Kubernetes limits the size of annotations.
    """
    return json.dumps([attempt.recorded() for attempt in attempts[-KEPT:]], ensure_ascii=False)


def merged(before: Iterable[Attempt], now: Iterable[Attempt]) -> list[Attempt]:
    """Return one attempt for each pod.  Values from `now` replace those from `before`, unless they are missing."""
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
        failure=attempt.failure or known.failure,
    )


def event_reasons(jobs: Iterable[Json]) -> list[str]:
    """Return the reasons of the events that `from_events` reads for these jobs."""
    kinds = {_scheduler_kind(job) for job in jobs}
    return [_CREATION, _START, *sorted({event.reason for kind in kinds for event in preemption_events(kind)})]


def created_pods(job: Json, events: Iterable[Json]) -> list[str]:
    """Return the names of the pods that were created for this job according to events.  Its metadata suffices."""
    found = []
    for event in events:
        about, message = event.get("involvedObject") or {}, str(event.get("message", ""))
        is_creation = event.get("reason") == _CREATION and message.startswith(_CREATED)
        if is_creation and about.get("uid") == job["metadata"]["uid"]:
            found.append(message.removeprefix(_CREATED).strip())
    return found


def from_events(job: Json, events: Iterable[Json]) -> list[Attempt]:
    """Return the attempts of this job that the cluster's events report, oldest first."""
    preemptions = preemption_events(_scheduler_kind(job))
    told = sorted(events, key=_when)
    index_of = kind_of(job).index_of
    pods = {name: Attempt(name, index=index_of(job, name)) for name in created_pods(job, told)}
    for event in told:
        about = event.get("involvedObject") or {}
        known = pods.get(str(about.get("name"))) if about.get("kind") == "Pod" else None
        if known is None:
            continue
        if event.get("reason") == _START:
            pods[known.pod] = replace(known, started=known.started or _when(event) or None)
        elif reported := [preemption for preemption in preemptions if preemption.matches(event)]:
            pods[known.pod] = replace(known, finished=_when(event) or None, reason=reported[0].message)
    return list(pods.values())


def _when(event: Json) -> str:
    """Return the time of an event without fractions of a second.  It is in one of three fields (core/v1 Event)."""
    at = str(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or "")
    return at[:19] + "Z" if "." in at else at
