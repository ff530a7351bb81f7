"""Compute a pod's phase as one word and a sentence, for notebooks and jobs.  Source: Kubernetes, Pod Lifecycle."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..pod.home_check import HOME_CHECK
from ..schedulers import SCHEDULERS, QueueStatus, Reason, describe, why
from ..shape import Json
from ..texts import gettext, gettext_noop, translate
from .container_reasons import (
    NOT_MOUNTED,
    exit_code,
    has_succeeded,
    how_ended,
    last_end,
    main_stays_ended,
    newest_event,
    sentence,
    shorten,
    sidecars,
    statuses,
    unready,
    what_is_awaited,
    why_waiting,
    why_warned,
)

PhaseName = Literal["queued", "starting", "running", "ending", "succeeded", "failed"]

_NO_WORDS = gettext_noop(
    "Your home directory cannot be used, and the check of it does not say why. "
    "Ask your administrators to read the log of container research-home."
)
_UNEXPLAINED = gettext_noop("The pod failed and the cluster does not say why.")
_ABSENT = re.compile(r'\b(secret|configmap) "([a-z0-9.-]{1,253})" not found')
# Reasons for which the kubelet rejects or ends a pod.  For other reasons, the message in the pod's status is shown.
_POD = {
    "DeadlineExceeded": gettext_noop("It reached its hard wall time."),
    "SupplementalGroupsPolicyNotSupported": gettext_noop(
        "Its node cannot keep an image from adding groups (supplementalGroupsPolicy Strict), "
        "so the pod was not started. The node needs containerd 2 or CRI-O 1.31."
    ),
    "TopologyAffinityError": gettext_noop(
        "Its node could not give it CPUs, memory and devices that belong together (TopologyAffinityError)."
    ),
}


@dataclass(frozen=True)
class Phase:
    """The phase of a pod.

    message: a sentence that gives the reason.  exit_code: the exit code of the main container, after it ended.
    preempted: whether the pod was preempted.
    """

    name: PhaseName
    message: str = ""
    exit_code: int | None = None
    preempted: bool = False

    @property
    def is_over(self) -> bool:
        return self.name in ("succeeded", "failed")


def classify(
    pod: Json, queue: QueueStatus, main: str, eviction: Reason | None = None, events: Sequence[Json] = ()
) -> Phase:
    """Return the phase of `pod`.

    queue: what the scheduler reports about the pod.  main: the name of the container that runs the user's program.
    eviction: why the cluster evicts the pod, or None.  events: the pod's events, if they were read.
    """
    status = pod.get("status") or {}
    phase = status.get("phase")
    exit_code = _exit_code(status, main)
    if eviction is not None:
        over = phase in ("Succeeded", "Failed")
        return Phase("failed" if over else "ending", translate(eviction.message), exit_code, eviction.preempted)
    if phase == "Succeeded":
        return Phase("succeeded", exit_code=exit_code)
    if phase == "Failed":
        message = why(queue) if queue.phase == "refused" else why_failed(pod, main, events)
        return Phase("failed", message, exit_code)
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return Phase("ending", exit_code=exit_code)
    if queue.waits:
        return Phase("queued", describe(queue))
    if phase == "Running" and _is_running(status, main):
        return Phase("running")
    if phase == "Running" and main_stays_ended(pod, main):
        return Phase("running", _others_run(main), exit_code)
    return Phase("starting", why_not_ready(pod, main, events))


def _others_run(main: str) -> str:
    return gettext("Container %(container)s has ended, but other containers of its pod still run.", container=main)


def why_not_ready(pod: Json, main: str, events: Sequence[Json] = ()) -> str:
    """Return a sentence that says why the pod is not ready; "" if it is, or if no kubelet has reported about it yet.

    A problem of a container comes first, then one of the pod, then the newest event, if it is a warning.
    """
    must_end = _unfinished(pod)
    waiting = [found for found in statuses(pod) if found in (*must_end, *unready(pod, main))]
    if statuses(pod) and not waiting:
        return ""
    problems = [why_waiting(found, events) or how_ended(found, last_end(found), events) for found in waiting]
    reasons = (*problems, _why_rejected(pod), why_not_mounted(pod, events), _why_warned(pod, events))
    ordinary = what_is_awaited(waiting[0], must_end=waiting[0] in must_end) if waiting else ""
    return next(filter(None, reasons), ordinary)


def _unfinished(pod: Json) -> list[Json]:
    """Return the status of each ordinary init container that has not ended with exit code 0."""
    of_sidecars = sidecars(pod)
    found = (pod.get("status") or {}).get("initContainerStatuses") or []
    return [container for container in found if container not in of_sidecars and not has_succeeded(container)]


def _why_warned(pod: Json, events: Sequence[Json]) -> str:
    """Return the newest event as a sentence if it is a warning about a pod that has a node, else ""."""
    newest = newest_event(events)
    has_node = bool((pod.get("spec") or {}).get("nodeName"))
    return why_warned(newest) if has_node and newest.get("reason") not in NOT_MOUNTED else ""


def is_over(pod: Json) -> bool:
    """Return whether all containers of the pod have ended."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def has_failed(pod: Json) -> bool:
    """Return whether all containers of the pod have ended, and one of them failed or the pod was refused."""
    return (pod.get("status") or {}).get("phase") == "Failed"


def has_begun(pod: Json | None, main: str) -> bool:
    """Return whether the kubelet has started the container `main` at least once."""
    for container in ((pod or {}).get("status") or {}).get("containerStatuses") or []:
        if container.get("name") == main:
            states = {**(container.get("lastState") or {}), **(container.get("state") or {})}
            return not states.keys().isdisjoint(("running", "terminated"))
    return False


def is_mounting(pod: Json) -> bool:
    """Return whether the pod has a node, but none of its containers has started."""
    states = [container.get("state") or {} for container in statuses(pod)]
    return _is_pending(pod) and all("waiting" in state for state in states)


def events_tell_more(pod: Json) -> bool:
    """Return whether the pod's events can say why it does not start or has failed, which its status does not."""
    hooks = [
        (found.get("lifecycle") or {}).get("postStart") for found in (pod.get("spec") or {}).get("containers") or []
    ]
    return _is_pending(pod) or (is_over(pod) and any(hooks))


def _is_pending(pod: Json) -> bool:
    has_node = bool((pod.get("spec") or {}).get("nodeName"))
    return has_node and (pod.get("status") or {}).get("phase") == "Pending"


def why_not_mounted(pod: Json, events: Sequence[Json]) -> str:
    """Return a sentence that says which volume the kubelet cannot mount, if the pod's newest event reports this.

    Source: Kubernetes 1.36, pkg/kubelet/events.  The kubelet reports the same for a file system that does not answer.
    """
    newest = newest_event(events)
    return why_warned(newest) if newest.get("reason") in NOT_MOUNTED and is_mounting(pod) else ""


def why_no_secret(pod: Json, events: Sequence[Json]) -> str:
    """Return a sentence that names a secret or ConfigMap that does not exist, as the kubelet reports; "" if none.

    Source: Kubernetes 1.36: the messages of FailedMount and CreateContainerConfigError end in these words.
    """
    waiting = [(container.get("state") or {}).get("waiting") or {} for container in statuses(pod)]
    texts = [str(found.get("message", "")) for found in waiting if found.get("reason") == "CreateContainerConfigError"]
    if why_not_mounted(pod, events):
        texts.append(str(newest_event(events).get("message", "")))
    for text in texts:
        if found := _ABSENT.search(text):
            name = repr(found[2])
            if found[1] == "secret":
                return gettext(
                    "The secret %(name)s, which your administrators add to the pod, does not exist.", name=name
                )
            return gettext(
                "The ConfigMap %(name)s, which your administrators add to the pod, does not exist.", name=name
            )
    return ""


def why_not_gone(pod: Json) -> str:
    """Return which finalizer keeps a deleted pod although its containers have ended, as a sentence; "" if none."""
    metadata = pod.get("metadata") or {}
    finalizers = [str(finalizer) for finalizer in metadata.get("finalizers") or []]
    runs = any("running" in (container.get("state") or {}) for container in statuses(pod))
    if not finalizers or runs or "deletionTimestamp" not in metadata:
        return ""
    owner = _owner_of(finalizers[0])
    return gettext(
        "The pod's containers have ended, but %(owner)s has not removed its finalizer %(finalizer)s. The pod is "
        "deleted when %(owner)s runs again.",
        owner=owner,
        finalizer=finalizers[0],
    )


def _owner_of(finalizer: str) -> str:
    """Return the name of the scheduler that sets this finalizer, or "another controller"."""
    kinds = [kind for kind, scheduler in SCHEDULERS.items() if finalizer.startswith(scheduler.RESERVED)]
    return kinds[0].capitalize() if kinds else gettext("another controller")


def why_failed(pod: Json, main: str, events: Sequence[Json] = ()) -> str:
    """Return a sentence that says why a pod is in phase Failed, from the status of the pod or of a container."""
    return _why_rejected(pod) or why_ended(pod, main, events) or gettext(_UNEXPLAINED)


def _why_rejected(pod: Json) -> str:
    """Return a sentence for the reason or message of the pod itself, such as Evicted or OutOfcpu; "" if it has none."""
    status = pod.get("status") or {}
    reason, message = shorten(status.get("reason"), 64), sentence(status.get("message"))
    if reason in _POD:
        return gettext(_POD[reason])
    if not reason:
        return message
    told = message.rstrip(".") or gettext("The pod failed")
    return f"{told} ({reason})."


def why_no_home(pod: Json) -> str:
    """Return why the init container that checks the home directory failed; "" if it reports no problem.

    The kubelet would repeat the check, but exit code 1 means that it found a problem, so retrying does not help.
    """
    for container in statuses(pod):
        if container.get("name") != HOME_CHECK:
            continue
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            ended = state.get("terminated") or {}
            message = str(ended.get("message") or "")
            if ended.get("exitCode") == 1:
                lines = [line for line in message.splitlines() if shorten(line)]
                return shorten(lines[-1], 1000) if lines else gettext(_NO_WORDS)
            if ended.get("exitCode") and "executable file" in message and "not found" in message:
                return gettext(
                    "The image has no `sh` to check your home directory with. "
                    "Choose another image, or ask your administrators to set a home check image."
                )
    return ""


def why_ended(pod: Json, main: str, events: Sequence[Json] = ()) -> str:
    """Return a sentence that says how a container failed, preferably the main container; "" if none failed."""
    if why := why_no_home(pod):
        return why
    for container in sorted(statuses(pod), key=lambda found: found.get("name") != main):
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            if why := how_ended(container, state.get("terminated") or {}, events):
                return why
    return ""


def _is_running(status: Json, main: str) -> bool:
    return any(
        container.get("name") == main and "running" in (container.get("state") or {})
        for container in status.get("containerStatuses") or []
    )


def _exit_code(status: Json, main: str) -> int | None:
    for container in status.get("containerStatuses") or []:
        ended = (container.get("state") or {}).get("terminated") or {}
        if container.get("name") == main and "exitCode" in ended:
            return exit_code(ended)
    return None
