"""Decide why and when a pod ended, as a code and a sentence, and what its user can do.

One set of rules for notebooks and jobs.  The sentences are those of `phase`, `container_reasons` and the schedulers.
Sources: Kubernetes 1.36, pkg/kubelet (eviction, lifecycle, nodeshutdown, cm/topologymanager); KEP-3329.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Literal

from ..api_object import condition, parse_time
from ..schedulers import NO_OBJECTS, Objects, Scheduler, preemption_events
from ..schedulers.scheduler_interface import EvictionCode
from ..shape import Json
from ..texts import gettext, gettext_choice, gettext_noop, translate
from .container_reasons import IMAGE_REASONS, event_time, how_ended, main_stays_ended, shorten, statuses
from .phase import has_begun, is_over, why_failed

EndCode = (
    EvictionCode
    | Literal[
        "deleted",
        "exited",
        "failed",
        "idle",
        "image-not-pulled",
        "out-of-memory",
        "rejected",
        "rights-lost",
        "start-failed",
        "stopped",
        "stopped-by-hub",
        "topology",
        "unknown",
    ]
)
# What the user can do.  `with_larger_profiles` replaces the hint of out-of-memory.
HINTS: Mapping[EndCode, str] = {
    "deleted": gettext_noop("You can start it again. Ask your administrators if you do not know why it was deleted."),
    "drained": gettext_noop("You can start it again. It then runs on another node."),
    "evicted": gettext_noop("You can start it again. If it used too much disk space or memory, use less of it."),
    "exited": gettext_noop("You can start it again."),
    "failed": gettext_noop("You can start it again. Ask your administrators if it fails again."),
    "idle": gettext_noop("You can start it again."),
    "image-not-pulled": gettext_noop("Choose another image if your profile has one, or ask your administrators."),
    "node-lost": gettext_noop("You can start it again. It then runs on another node."),
    "not-ready": gettext_noop("You can start it again. Ask your administrators if this happens again."),
    "out-of-memory": gettext_noop("Use less memory, or choose a profile with more."),
    "preempted": gettext_noop("You can start it again. It then waits in its queue until there is room."),
    "rejected": gettext_noop("You can start it again. Ask your administrators if this happens again."),
    "rights-lost": "",
    "start-failed": gettext_noop("You can start it again."),
    "stopped": "",
    "stopped-by-hub": gettext_noop("You can start it again."),
    "topology": gettext_noop("Choose a profile with fewer CPUs or GPUs, or start it again later."),
    "unknown": gettext_noop("You can start it again. Ask your administrators if this happens again."),
    "wall-time": gettext_noop("You can start it again. Choose a longer wall time if your profile allows it."),
}
# Reasons in the status of a pod in phase Failed.
_FAILED_PODS: Mapping[str, EndCode] = {
    "DeadlineExceeded": "wall-time",
    "Evicted": "evicted",
    "NodeLost": "node-lost",
    "NodeShutdown": "node-lost",
    "Preempting": "preempted",
    "Shutdown": "node-lost",
    "Terminated": "node-lost",
    "TopologyAffinityError": "topology",
}
# Reasons in the `terminated` state of a container.
_ENDED_CONTAINERS: Mapping[str, EndCode] = {"ContainerStatusUnknown": "node-lost", "OOMKilled": "out-of-memory"}
MESSAGE_LIMIT = 1000
DELETED = gettext_noop(
    "Its pod was deleted in the cluster and not through the hub, by an administrator or by another program. "
    "The cluster does not say why."
)
EXITED = gettext_noop(
    "The notebook server ended without an error. It was shut down from inside, or it reached its own idle limit."
)
UNKNOWN = gettext_noop("The hub did not see it end, and the cluster does not say why.")


@dataclass(frozen=True)
class End:
    """Why a notebook ended.

    message: sentences for the user.  hint: what the user can do.  at: the time, in UTC as RFC 3339 with seconds.
    continues: the server was restarted in its pod, which keeps its place, and runs again.
    """

    code: EndCode
    message: str
    at: str
    hint: str = ""
    continues: bool = False

    def as_json(self) -> Json:
        return asdict(self)


def make_end(code: EndCode, message: str, at: datetime | str | None = None, hint: str | None = None) -> End:
    """Return an End with the code's hint, or with `hint`.

    message: sentences, of which the middle is left out if they are long, because the cluster can send any text.
    at: a time, RFC 3339 text, or None for now.
    """
    return End(code, shorten(message, MESSAGE_LIMIT), _in_utc(at), hint_for(code) if hint is None else hint)


def hint_for(code: EndCode) -> str:
    """Return what the user can do after an end with this code, as sentences; "" if nothing."""
    return gettext(HINTS[code]) if HINTS[code] else ""


def find_end(
    pod: Json,
    main: str,
    scheduler: Scheduler,
    objects: Objects = NO_OBJECTS,
    events: Sequence[Json] = (),
    *,
    is_gone: bool = False,
) -> End | None:
    """Return why the pod has ended, or None if it has not.

    main: the name of the container that runs the user's program.  objects: the scheduler's objects for the pod.
    events: the pod's events, if they were read.  is_gone: the pod no longer exists, and `pod` is its last known state.

    A pod whose node was lost has ended when its deletion was requested, because no kubelet reports the end.
    """
    eviction = scheduler.eviction(pod, objects)
    is_lost = eviction is not None and eviction.code == "node-lost" and _is_deleted(pod)
    ended = main_state(pod, main, "terminated")
    if not (is_gone or is_over(pod) or is_lost or (ended and (_is_deleted(pod) or main_stays_ended(pod, main)))):
        return None
    at = known_time(ended.get("finishedAt"))
    if eviction is not None:
        return make_end(eviction.code, translate(eviction.message), at or _time_of_eviction(pod))
    if (preempted := find_preemption(scheduler, events)) is not None:
        return preempted
    has_reason = (pod.get("status") or {}).get("reason") is not None
    if has_reason or ended_by_itself(ended, pod.get("metadata") or {}) or (is_over(pod) and not _is_deleted(pod)):
        code = failure_code(pod, main)
        return make_end(code or "exited", why_failed(pod, main, events) if code else gettext(EXITED), at)
    return make_end("deleted", gettext(DELETED), at or _time_of_deletion(pod))


def find_preemption(scheduler: Scheduler, events: Iterable[Json]) -> End | None:
    """Return the end of a pod that was preempted according to its events, or None."""
    for event in events:
        for known in preemption_events(scheduler.KIND):
            if known.matches(event):
                return make_end("preempted", translate(known.message), event_time(event))
    return None


def find_lost_end(scheduler: Scheduler, events: Iterable[Json]) -> End:
    """Return why a pod ended whose end the hub did not see, from its events, which Kubernetes keeps for an hour."""
    return find_preemption(scheduler, events) or make_end("unknown", gettext(UNKNOWN))


def find_restart(pod: Json, main: str, restarts_before: int) -> End | None:
    """Return how `main` ended if the kubelet has restarted it more than `restarts_before` times, or None.

    The pod keeps its node and its place in the queue, but what was in the memory of the program is lost.
    """
    for found in statuses(pod):
        ended = (found.get("lastState") or {}).get("terminated") or {}
        if found.get("name") == main and count_restarts(pod, main) > restarts_before:
            code = _ENDED_CONTAINERS.get(str(ended.get("reason")), "failed")
            told = how_ended(found, ended) or gettext("It ended.")
            restarted = gettext("It was restarted, and its kernels were lost.")
            end = make_end(code, f"{told} {restarted}", known_time(ended.get("finishedAt")))
            is_full = code == "out-of-memory"
            hint = hint_for(code) if is_full else gettext("Ask your administrators if this happens again.")
            return replace(end, hint=hint, continues=True)
    return None


def runs_again(pod: Json, main: str) -> bool:
    """Return whether a pod without a running main container has not ended.

    Either the container has ended and the kubelet restarts it, or the pod has no status yet.
    """
    if not (pod.get("status") or {}).get("phase"):
        return True
    is_ending = is_over(pod) or _is_deleted(pod) or main_stays_ended(pod, main)
    return bool(main_state(pod, main, "terminated")) and not is_ending


def count_restarts(pod: Json, main: str) -> int:
    """Return how often the kubelet has restarted the container `main`."""
    return max((int(found.get("restartCount") or 0) for found in statuses(pod) if found.get("name") == main), default=0)


def failure_code(pod: Json, main: str) -> EndCode | None:
    """Return the code of a pod whose containers have ended; None if the program ended without an error.

    Source of the reasons: the pod's status first, then the main container's, then that of any other container.
    """
    status = pod.get("status") or {}
    if (reason := status.get("reason")) is not None:
        return _FAILED_PODS.get(str(reason), "unknown" if has_begun(pod, main) else "rejected")
    for found in sorted(statuses(pod), key=lambda container: container.get("name") != main):
        ended = (found.get("state") or {}).get("terminated") or {}
        if code := _ENDED_CONTAINERS.get(str(ended.get("reason"))):
            return code
        if ended.get("exitCode"):
            return "failed"
    return "unknown" if status.get("phase") == "Failed" else None


def code_of_failed_start(pod: Json | None, main: str) -> EndCode:
    """Return the code for a start that failed, from the last known state of its pod."""
    for found in statuses(pod or {}):
        if ((found.get("state") or {}).get("waiting") or {}).get("reason") in IMAGE_REASONS:
            return "image-not-pulled"
    code = failure_code(pod or {}, main) if is_over(pod or {}) else None
    return code if code in ("topology", "rejected", "out-of-memory", "evicted", "node-lost") else "start-failed"


def with_larger_profiles(end: End, profiles: Sequence[str]) -> End:
    """Return the end of a program that ran out of memory, with the profiles that have more as the hint.

    profiles: the titles of the profiles that the user may choose and that have more memory.
    """
    if end.code != "out-of-memory":
        return end
    if not profiles:
        return replace(
            end,
            hint=gettext(
                "No profile that you may choose has more memory. Use less, for example with fewer kernels at a time, "
                "or ask your administrators."
            ),
        )
    hint = gettext("Use less memory, or choose a profile with more: %(profiles)s.", profiles=gettext_choice(profiles))
    return replace(end, hint=hint)


def main_state(pod: Json, main: str, state: Literal["running", "terminated"]) -> Json:
    """Return this state of the container `main`; {} if it is not in this state."""
    for found in (pod.get("status") or {}).get("containerStatuses") or []:
        if found.get("name") == main:
            return (found.get("state") or {}).get(state) or {}
    return {}


def ended_by_itself(ended: Json, metadata: Json) -> bool:
    """Return whether a program ended before the deletion of its pod was requested, or ended with exit code 0.

    ended: the `terminated` state of its container.  metadata: that of its pod.
    """
    if "deletionTimestamp" not in metadata or ended.get("exitCode") == 0:
        return bool(ended)
    # If the node was lost, the terminated state has no finish time.
    if not ended.get("finishedAt"):
        return False
    return parse_time(ended["finishedAt"]) < _deletion_request(metadata)


def known_time(time: str | None) -> str | None:
    """Return the time; None for the zero time of Unix or of Go, which a kubelet reports if there is no time."""
    return None if time is None or time.startswith(("1970-01-01T", "0001-01-01T")) else time


def _deletion_request(metadata: Json) -> datetime:
    """Return when the deletion was requested: its timestamp is the end of the grace period."""
    grace = timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
    return parse_time(metadata["deletionTimestamp"]) - grace


def _is_deleted(pod: Json) -> bool:
    return "deletionTimestamp" in (pod.get("metadata") or {})


def _time_of_deletion(pod: Json) -> datetime | None:
    return _deletion_request(pod["metadata"]) if _is_deleted(pod) else None


def _time_of_eviction(pod: Json) -> str | datetime | None:
    marks = (condition(pod, kind).get("lastTransitionTime") for kind in ("DisruptionTarget", "TerminationTarget"))
    return next(filter(None, marks), None) or _time_of_deletion(pod)


def _in_utc(at: datetime | str | None) -> str:
    """Return a time, or the time now, in UTC as RFC 3339 with seconds."""
    if isinstance(at, str):
        try:
            at = parse_time(at)
        except ValueError:
            at = None
    return (at or datetime.now(timezone.utc)).astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
