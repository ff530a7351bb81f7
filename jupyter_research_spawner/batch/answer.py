"""A Job and its pods, as the answer that people and the client get.  Contract: the service's <job>."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from ..jobs.job import KIND, MAIN, NAME
from ..pod.ours import literal
from ..schedulers import NO_OBJECTS, Objects
from ..shape import OUR_PREFIX, Json
from ..watch import Phase, classify
from .attempts import TAKEN, Attempt, attempt_of, merged, plan_of, recorded, scheduler_of

State = Literal["queued", "starting", "running", "succeeded", "failed", "cancelling"]


@dataclass(frozen=True)
class Standing:
    """Where a job stands.  `phase` is its newest pod's, None while it has none that counts."""

    state: State
    message: str = ""
    phase: Phase | None = None

    @property
    def is_over(self) -> bool:
        return self.state in ("succeeded", "failed")


def answer(job: Json, pods: Sequence[Json], events: Sequence[Json] = (), objects: Objects = NO_OBJECTS) -> Json:
    """`pods` are those of this Job that still exist, `events` the Job's own, where somebody looked.

    `objects` are those that its scheduler keeps about it.
    """
    metadata, plan = job["metadata"], plan_of(job)
    annotations = metadata.get("annotations") or {}
    main = _main(job)
    standing = standing_of(job, pods, events, objects)
    attempts = attempts_of(job, pods, objects)
    last = attempts[-1] if attempts else None
    # A job that waits again has not started: its time begins anew.
    current = last if standing.state != "queued" else None
    return {
        "id": metadata["name"],
        "name": annotations.get(NAME) or metadata["name"],
        "kind": KIND,
        "state": standing.state,
        "message": standing.message,
        "queue": str(plan.get("queue", "")),
        "profile": str(plan.get("profile", "")),
        "priority": str(plan.get("priority", "")),
        "image": str(main.get("image", "")),
        "command": [as_typed(word) for word in main.get("command") or []],
        "created": metadata.get("creationTimestamp"),
        "started": current.started if current else None,
        "finished": _finished(job, last) if standing.is_over else None,
        "exit_code": last.exit_code if last and standing.is_over else None,
        "attempts": [asdict(attempt) for attempt in attempts],
        "wall_time_seconds": _seconds(annotations.get(OUR_PREFIX + "wall-time")),
        "wall_time_hard_seconds": _seconds(annotations.get(OUR_PREFIX + "wall-time-hard")),
        "warnings": [str(sentence) for sentence in plan.get("warnings") or []],
    }


def attempts_of(job: Json, pods: Sequence[Json], objects: Objects = NO_OBJECTS) -> list[Attempt]:
    scheduler = scheduler_of(job)
    now = [attempt_of(pod, scheduler, objects) for pod in in_order(pods)]
    if job["metadata"].get("deletionTimestamp"):
        # It goes with its job, at the person's own wish or after its time.
        now = [replace(attempt, reason="") if attempt.reason == TAKEN else attempt for attempt in now]
    return merged(recorded(job), now)


def standing_of(
    job: Json, pods: Sequence[Json], events: Sequence[Json] = (), objects: Objects = NO_OBJECTS
) -> Standing:
    """The Job's own verdict first; until it has one, its newest pod's."""
    newest = in_order(pods)[-1] if pods else None
    scheduler = scheduler_of(job)
    phase = eviction = None
    if newest is not None:
        eviction = scheduler.eviction(newest, objects)
        phase = classify(newest, scheduler.status(newest, objects, ()), MAIN, eviction)
    if condition(job, "Complete") or condition(job, "SuccessCriteriaMet"):
        return Standing("succeeded", phase=phase)
    if verdict := condition(job, "Failed") or condition(job, "FailureTarget"):
        return Standing("failed", _why_failed(verdict, phase, attempts_of(job, pods, objects)), phase)
    if job["metadata"].get("deletionTimestamp"):
        return Standing("cancelling", "It is being cancelled.", phase)
    if newest is None or phase is None:
        return Standing("queued", _why_no_pod(job, events, scheduler.status({}, objects, ()).message))
    if eviction is not None or phase.name == "ending":
        # The Job makes another as soon as this one has ended.
        lost = attempt_of(newest, scheduler, objects).reason
        return Standing("queued", f"{lost} It waits to run again from the start.".lstrip())
    return Standing(phase.name, phase.message, phase)


def as_typed(word: str) -> str:
    """The inverse of `literal`."""
    typed = word.replace("$$", "$")
    return typed if literal(typed) == word else word


def condition(job: Json, kind: str) -> Json:
    """The Job's condition of that type if it holds, else {}."""
    for found in (job.get("status") or {}).get("conditions") or []:
        if found.get("type") == kind and found.get("status") == "True":
            return dict(found)
    return {}


def in_order(pods: Sequence[Json]) -> list[Json]:
    """Oldest first.  Their times have whole seconds, but no two run at once: an ended one is the older."""
    return sorted(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", not _has_ended(pod)))


def _has_ended(pod: Json) -> bool:
    is_over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return is_over or bool(pod["metadata"].get("deletionTimestamp"))


def _why_failed(verdict: Json, phase: Phase | None, attempts: Sequence[Attempt]) -> str:
    if phase is not None and phase.name == "failed":
        return phase.message
    if attempts and attempts[-1].reason:
        return attempts[-1].reason
    return str(verdict.get("message") or verdict.get("reason") or "")


def _why_no_pod(job: Json, events: Sequence[Json], waits: str) -> str:
    """`waits` is the scheduler's word, "" if it has none."""
    before = recorded(job)
    if before and before[-1].reason:
        return f"{before[-1].reason} It waits to run again from the start. {waits}".rstrip()
    refused = [event for event in events if event.get("reason") == "FailedCreate"]
    if refused:
        return f"The cluster does not make its pod: {refused[-1].get('message', '')}"
    if waits:
        return waits
    return "It waits for its queue to admit it." if condition(job, "Suspended") else ""


def _finished(job: Json, last: Attempt | None) -> str | None:
    if last is not None and last.finished:
        return last.finished
    verdict = condition(job, "Complete") or condition(job, "Failed")
    return verdict.get("lastTransitionTime")


def _main(job: Json) -> Json:
    for container in job["spec"]["template"]["spec"].get("containers") or []:
        if container.get("name") == MAIN:
            return dict(container)
    return {}


def _seconds(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
