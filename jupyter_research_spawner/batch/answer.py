"""Compute the service's JSON response about a job, from the stored job, its pods, its events and scheduler objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Literal

from ..jobs import NAME, Result, kind_of
from ..pod.overlay import typed
from ..schedulers import NO_OBJECTS, Objects, QueueStatus, describe, summarize
from ..shape import OUR_PREFIX, Json
from ..texts import gettext, gettext_noop, ngettext, translate
from ..watch import NodeSizes, Phase, classify, queue_report, unknown_nodes
from ..watch.container_reasons import sentence
from ..watch.phase import is_over, why_not_ready
from . import short_reasons
from .attempts import (
    CANCELLED_MESSAGE,
    TAKEN,
    Attempt,
    attempt_of,
    cancelled_indexes,
    merged,
    plan_of,
    recorded,
    scheduler_of,
)
from .rights_record import id_of, refused, result_of, successor, told

# Returns the queue status of a job, from its newest pod if it has one, and from its scheduler's objects.
QueueReport = Callable[[Json, Json | None, Objects], QueueStatus]
State = Literal["queued", "starting", "running", "succeeded", "failed", "cancelling"]
_INDEXES_SHOWN = 10
_CANCELLING = gettext_noop("It is being cancelled.")
_AGAIN = gettext_noop("It waits to run again from the start.")


@dataclass(frozen=True)
class Standing:
    """The state of a job, or of one index of an array.

    `reason` is Slurm's job reason code for `message`; "" if there is none.  `waiting` is what the scheduler reports
    while it waits.
    """

    state: State
    message: str = ""
    reason: str = ""
    waiting: QueueStatus | None = None

    @property
    def is_over(self) -> bool:
        return self.state in ("succeeded", "failed")


def _queue_report(
    job: Json,
    pod: Json | None,
    objects: Objects,
    *,
    nodes: Callable[[], NodeSizes] = unknown_nodes,
    queue_titles: Mapping[str, str] = MappingProxyType({}),
) -> QueueStatus:
    """Return the queue status of a job, from its newest pod if it has one."""
    queue = str(plan_of(job).get("queue", ""))
    templates = [template["spec"] for _, template in kind_of(job).SLOTS.pods(job)]
    return queue_report(
        scheduler_of(job),
        pod or {},
        objects,
        queue=queue_titles.get(queue, queue),
        pod_specs=templates if pod is None else [pod.get("spec") or {}],
        created=(pod or job)["metadata"].get("creationTimestamp"),
        nodes=nodes,
    )


def answer(
    job: Json,
    pods: Sequence[Json],
    events: Sequence[Json] = (),
    objects: Objects = NO_OBJECTS,
    *,
    nodes: Callable[[], NodeSizes] = unknown_nodes,
    queue_titles: Mapping[str, str] = MappingProxyType({}),
    in_full: bool = True,
) -> Json:
    """Return the JSON response about a job.

    `pods` are the job's existing pods.  `events` are the events on the job itself or on its newest pod, if they were
    read.  `objects` are the scheduler's objects for the job.  `nodes` returns the sizes of the cluster's nodes.
    `queue_titles` has the titles of queues by their names, for sentences on pages; without it, sentences have the names
    that users write in commands.  If not `in_full`, an array's attempts and indexes are left out.
    """
    metadata, plan, kind = job["metadata"], plan_of(job), kind_of(job)
    annotations = metadata.get("annotations") or {}
    attempts, report = attempts_of(job, pods, objects), partial(_queue_report, nodes=nodes, queue_titles=queue_titles)
    if indexes := index_standings(job, pods, objects, report):
        standing = _array_standing(job, indexes, pods, events, objects, report)
    else:
        standing = standing_of(job, pods, events, objects, report)
    found = {
        "id": id_of(job),
        "name": annotations.get(NAME) or metadata["name"],
        "kind": kind.KIND,
        "state": standing.state,
        "message": standing.message,
        "reason": standing.reason,
        "waiting": None if standing.waiting is None else _waiting(standing.waiting),
        "queue": str(plan.get("queue", "")),
        "profile": str(plan.get("profile", "")),
        "priority": str(plan.get("priority", "")),
        "image": _image(kind.SLOTS.pods(job)[0][1]["spec"], kind.SLOTS.main),
        "command": [typed(word) for word in kind.command(job)],
        "workdir": str(plan.get("workdir") or plan.get("home") or ""),
        "created": metadata.get("creationTimestamp"),
        **_times(job, standing, attempts, is_array=bool(indexes)),
        "attempts": [attempt.shown() for attempt in attempts] if in_full or not indexes else [],
        "wall_time_seconds": _seconds(annotations.get(OUR_PREFIX + "wall-time")),
        "wall_time_hard_seconds": _seconds(annotations.get(OUR_PREFIX + "wall-time-hard")),
        "warnings": [*map(str, plan.get("warnings") or []), *told(job)],
        **kind.answer_fields(job),
    }
    if indexes:
        found["counts"] = dict(Counter(standing.state for standing in indexes.values()))
        if in_full:
            found["indexes"] = [
                _index_answer(index, standing, [attempt for attempt in attempts if attempt.index == index])
                for index, standing in indexes.items()
            ]
    return found


def _waiting(status: QueueStatus) -> Json:
    """Return what is known about the wait, for programs.  `summary` is its short form for a table."""
    place = status.place
    return {
        "code": status.code,
        "summary": summarize(status),
        "place": None if place is None else place.position,
        "places": None if place is None else place.waiting,
        "since": status.since,
        "resumes_at": status.resumes_at,
        "missing": [asdict(found) for found in status.missing],
    }


def _image(pod_spec: Json, main: str) -> str:
    named = [container for container in pod_spec.get("containers") or [] if container.get("name") == main]
    return str(named[0].get("image", "")) if named else ""


def _times(job: Json, standing: Standing, attempts: Sequence[Attempt], *, is_array: bool) -> Json:
    """Return the job's start, end and exit code.  The exit code of an array is the highest one of its indexes."""
    result = result_of(job)
    last = attempts[-1] if attempts else None
    # A job that is queued again has not started; the start of its last attempt does not count.
    started = last.started if last and standing.state != "queued" else None
    finished = last.finished if last else None
    exit_code = last.exit_code if last else None
    if is_array:
        started = min((attempt.started for attempt in attempts if attempt.started), default=None)
        finished = None
        codes = {attempt.index: attempt.exit_code for attempt in attempts}.values()
        exit_code = max((code for code in codes if code is not None), default=None)
    return {
        "started": started,
        "finished": (finished or (result.finished if result else None)) if standing.is_over else None,
        "exit_code": exit_code if standing.is_over else None,
    }


def _index_answer(index: int, standing: Standing, attempts: Sequence[Attempt]) -> Json:
    last = attempts[-1] if attempts else None
    current = last if standing.state != "queued" else None
    return {
        "index": index,
        "state": standing.state,
        "message": standing.message,
        "started": current.started if current else None,
        "finished": last.finished if last and standing.is_over else None,
        "exit_code": last.exit_code if last and standing.is_over else None,
        "attempts": len(attempts),
    }


def attempts_of(job: Json, pods: Sequence[Json], objects: Objects = NO_OBJECTS) -> list[Attempt]:
    """Return all known attempts, oldest first.  The attempts of an array are sorted by index first."""
    now = [attempt_of(job, pod, objects) for pod in in_order(pods)]
    if job["metadata"].get("deletionTimestamp"):
        # The pod was not evicted.  It is deleted because the user or ttlSecondsAfterFinished deleted its job.
        now = [replace(attempt, reason="") if attempt.reason == TAKEN else attempt for attempt in now]
    return sorted(merged(recorded(job), now), key=lambda attempt: -1 if attempt.index is None else attempt.index)


def standing_of(
    job: Json,
    pods: Sequence[Json],
    events: Sequence[Json] = (),
    objects: Objects = NO_OBJECTS,
    report: QueueReport = _queue_report,
) -> Standing:
    """Return the state of a job: the result that its controller reports, or until then the state of its newest pod."""
    if indexes := index_standings(job, pods, objects, report):
        return _array_standing(job, indexes, pods, events, objects, report)
    return _standing(job, kind_of(job).result(job), pods, attempts_of(job, pods, objects), events, objects, report)


def index_standings(
    job: Json,
    pods: Sequence[Json],
    objects: Objects = NO_OBJECTS,
    report: QueueReport = _queue_report,
) -> Mapping[int, Standing]:
    """Return the state of each index of an array; {} for a job that is not an array."""
    kind = kind_of(job)
    if not (indexes := kind.indexes(job)):
        return {}
    results, cancelled = kind.index_results(job), cancelled_indexes(job)
    pods_of: dict[int | None, list[Json]] = {}
    for pod in pods:
        pods_of.setdefault(kind.index_of(job, pod["metadata"]["name"]), []).append(pod)
    attempts: dict[int | None, list[Attempt]] = {}
    for attempt in attempts_of(job, pods, objects):
        attempts.setdefault(attempt.index, []).append(attempt)
    found = {}
    for index in indexes:
        result = Result(results[index]) if index in results else None
        own = pods_of.get(index, [])
        found[index] = _standing(job, result, own, attempts.get(index, []), (), objects, report)
        if index in cancelled and found[index].state != "succeeded":
            is_over = result is not None
            found[index] = Standing(
                "failed" if is_over else "cancelling", gettext(CANCELLED_MESSAGE) if is_over else gettext(_CANCELLING)
            )
    return found


def _array_standing(
    job: Json,
    indexes: Mapping[int, Standing],
    pods: Sequence[Json],
    events: Sequence[Json],
    objects: Objects,
    report: QueueReport,
) -> Standing:
    counts = Counter(standing.state for standing in indexes.values())
    result = kind_of(job).result(job)
    if result is not None and result.succeeded:
        return Standing(
            "succeeded",
            ngettext("All %(count)s indexes succeeded.", "All %(count)s indexes succeeded.", len(indexes)),
        )
    if result is not None:
        failed = [str(index) for index, standing in indexes.items() if standing.state == "failed"]
        return Standing("failed", f"{_how_many_failed(failed, len(indexes))} {_why_refused(job)}".rstrip())
    if job["metadata"].get("deletionTimestamp"):
        return Standing("cancelling", gettext(_CANCELLING))
    if (refusal := result_of(job)) is not None:
        code = short_reasons.ACCOUNT_NOT_ALLOWED
        done = gettext("%(number)s of %(total)s succeeded.", number=counts["succeeded"], total=len(indexes))
        return Standing("failed", f"{done} {refusal.message}" if counts["succeeded"] else refusal.message, code)
    ended, number = counts["succeeded"] + counts["failed"], counts["failed"]
    progress = gettext("%(ended)s/%(total)s done", ended=ended, total=len(indexes))
    if number:
        progress = gettext(
            "%(ended)s/%(total)s done, %(failed)s failed", ended=ended, total=len(indexes), failed=number
        )
    if counts["running"]:
        return Standing("running", progress)
    if counts["starting"]:
        why = why_not_ready(in_order(pods)[-1], kind_of(job).SLOTS.main, events) if pods else ""
        return Standing("starting", f"{progress}. {why}".rstrip(" ."))
    first = next((standing for standing in indexes.values() if standing.state == "queued"), None)
    if first is None or not first.message:
        first = _without_pod(job, (), events, report(job, None, objects))
    code = f"{progress}, {first.reason}" if first.reason else ""
    return Standing("queued", f"{progress}. {first.message}".rstrip(" ."), code, first.waiting)


def _how_many_failed(failed: Sequence[str], total: int) -> str:
    """Return which indexes of an array have failed, as a sentence."""
    if not failed:
        return gettext("%(number)s of %(total)s failed.", number=0, total=total)
    shown, more = ", ".join(failed[:_INDEXES_SHOWN]), len(failed) - _INDEXES_SHOWN
    if more > 0:
        shown = ngettext("%(names)s and %(count)s more", "%(names)s and %(count)s more", more, names=shown)
    return gettext("%(number)s of %(total)s failed: %(indexes)s.", number=len(failed), total=total, indexes=shown)


def _standing(
    job: Json,
    result: Result | None,
    pods: Sequence[Json],
    attempts: Sequence[Attempt],
    events: Sequence[Json],
    objects: Objects,
    report: QueueReport,
) -> Standing:
    newest = in_order(pods)[-1] if pods else None
    scheduler, kind = scheduler_of(job), kind_of(job)
    main, status = kind.SLOTS.main, report(job, newest, objects)
    phase = eviction = None
    if newest is not None:
        eviction = scheduler.eviction(newest, objects)
        phase = classify(newest, status, main, eviction, events)
    if result is not None and result.succeeded:
        return Standing("succeeded")
    if result is not None:
        code = short_reasons.why_failed(newest, main, attempts)
        if not code and _why_refused(job):
            code = short_reasons.ACCOUNT_NOT_ALLOWED
        return Standing("failed", _why_failed(job, result, phase, attempts), code)
    if job["metadata"].get("deletionTimestamp"):
        return Standing("cancelling", gettext(_CANCELLING))
    if (refusal := result_of(job)) is not None:
        return Standing("failed", refusal.message, short_reasons.ACCOUNT_NOT_ALLOWED)
    if newest is None or phase is None:
        return _without_pod(job, attempts, events, status)
    if eviction is not None or phase.name == "ending":
        # The controller creates another pod when this one has ended.
        lost = translate(attempt_of(job, newest, objects).reason)
        message = f"{lost} {gettext(_AGAIN)}".lstrip()
        return Standing("queued", message, short_reasons.CLEANING)
    if phase.is_over and not kind.pod_decides(job, phase.name == "succeeded"):
        if phase.name == "failed":
            message = f"{phase.message} {gettext(_AGAIN)}"
            return Standing("queued", message, short_reasons.CLEANING)
        return Standing("running", gettext("Its newest pod has succeeded, but the job has not ended yet."))
    if phase.name == "failed":
        return Standing(phase.name, phase.message, short_reasons.why_failed(newest, main, attempts))
    if phase.name == "queued":
        return Standing(phase.name, phase.message, short_reasons.why_queued(status), status)
    return Standing(phase.name, phase.message, short_reasons.why_starting(phase.message))


def _without_pod(job: Json, attempts: Sequence[Attempt], events: Sequence[Json], status: QueueStatus) -> Standing:
    """Return the state of a job or an index that has not ended and has no pod."""
    message = _why_no_pod(job, attempts, events, describe(status))
    if refused(job) is not None:
        return Standing("queued", message, short_reasons.ACCOUNT_NOT_ALLOWED)
    was_preempted = bool(attempts) and attempts[-1].reason.startswith("Preempted")
    code = short_reasons.why_no_pod(events, status, was_preempted=was_preempted)
    return Standing("queued", message, code, status if status.waits else None)


def in_order(pods: Iterable[Json]) -> list[Json]:
    """Return the pods, oldest first.  Of two pods with the same creation time, a pod that has ended is older."""
    return sorted(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", not _has_ended(pod)))


def _has_ended(pod: Json) -> bool:
    return is_over(pod) or bool(pod["metadata"].get("deletionTimestamp"))


def _why_refused(job: Json) -> str:
    """Return why the service keeps a job, or the rest of an array, from starting; "" if it does not."""
    why = refused(job)
    return "" if why is None else why.message


def _why_failed(job: Json, result: Result, phase: Phase | None, attempts: Sequence[Attempt]) -> str:
    """Return why a job failed, according to the newest pod, else the last attempt, else the job's controller.

    Without any of them, an index of an array failed because the service deleted its pods before they began.
    """
    if phase is not None and phase.name == "failed":
        return phase.message
    if attempts and attempts[-1].why:
        return attempts[-1].why
    return result.message or _why_refused(job)


def _why_no_pod(job: Json, attempts: Sequence[Attempt], events: Sequence[Json], waits: str) -> str:
    """Return why a job or an index has no pod; "" if unknown.  `waits` is the scheduler's reason, or ""."""
    if (next_ := successor(job)) is not None:
        return next_.message
    if (why := refused(job)) is not None:
        return why.message
    if attempts and attempts[-1].why:
        return f"{attempts[-1].why} {gettext(_AGAIN)} {waits}".rstrip()
    failures = [event for event in events if event.get("reason") == "FailedCreate"]
    if failures:
        reason = sentence(failures[-1].get("message"))
        if not reason:
            return gettext("The cluster does not create its pod and gives no reason.")
        return gettext("The cluster does not create its pod: %(reason)s", reason=reason)
    if waits:
        return waits
    return gettext("It waits for its queue to admit it.") if kind_of(job).is_suspended(job) else ""


def _seconds(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
