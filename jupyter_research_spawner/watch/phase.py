"""Compute a pod's phase as one word and a sentence, for notebooks and jobs.  Source: Kubernetes, Pod Lifecycle."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..pod.home_check import HOME_CHECK
from ..schedulers import SCHEDULERS, QueueStatus, Reason
from ..shape import Json

PhaseName = Literal["queued", "starting", "running", "ending", "succeeded", "failed"]

# The kubelet's reasons for a container that does not start.
_WAITING = {
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "InvalidImageName": "its image name is not valid",
    "ErrImageNeverPull": "its image is not on the node, and is not pulled because imagePullPolicy is Never",
    "CreateContainerConfigError": "its configuration is incomplete or not valid",
    "CreateContainerError": "it cannot be created",
    "RunContainerError": "it cannot be started",
    "CrashLoopBackOff": "it crashes repeatedly",
}

_ABSENT = re.compile(r'\b(secret|configmap) "([a-z0-9.-]{1,253})" not found')
# The kubelet's and the attach controller's events about volumes.
_NOT_MOUNTED = ("FailedMount", "FailedMapVolume", "FailedAttachVolume")
_WITHOUT_SHELL = (
    "The image has no /bin/sh, but job arrays and working directories below your home or a mount require it."
)
# The end of the runtime's message for such an image (containerd, with runc).
_NO_SHELL = 'exec: "/bin/sh": stat /bin/sh: no such file or directory'


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


def classify(pod: Json, queue: QueueStatus, main: str, eviction: Reason | None = None) -> Phase:
    """Return the phase of `pod`.

    queue: what the scheduler reports about the pod.  main: the name of the container that runs the user's program.
    eviction: why the cluster evicts the pod, or None.
    """
    status = pod.get("status") or {}
    phase = status.get("phase")
    exit_code = _exit_code(status, main)
    if eviction is not None:
        over = phase in ("Succeeded", "Failed")
        return Phase("failed" if over else "ending", eviction.message, exit_code, eviction.preempted)
    if phase == "Succeeded":
        return Phase("succeeded", exit_code=exit_code)
    if phase == "Failed":
        message = queue.message if queue.phase == "refused" else why_failed(pod, main)
        return Phase("failed", message, exit_code)
    if pod.get("metadata", {}).get("deletionTimestamp"):
        return Phase("ending", exit_code=exit_code)
    if queue.waits:
        return Phase("queued", queue.message)
    if phase == "Running" and _is_running(status, main):
        return Phase("running")
    return Phase("starting", why_not_started(pod))


def why_not_started(pod: Json) -> str:
    """Return a sentence that says why the kubelet cannot start a container; "" if it reports no problem."""
    for container in _statuses(pod):
        if container.get("name") == HOME_CHECK and "running" in (container.get("state") or {}):
            return "Your home directory is being checked, and its file system has not answered yet."
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _WAITING:
            problem, message = _WAITING[waiting["reason"]], waiting.get("message", "")
            return f"Container {container.get('name')}: {problem} ({waiting['reason']}). {message}".strip()
    return ""


def is_over(pod: Json) -> bool:
    """Return whether all containers of the pod have ended."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def has_begun(pod: Json | None, main: str) -> bool:
    """Return whether the kubelet has started the container `main` at least once."""
    for container in ((pod or {}).get("status") or {}).get("containerStatuses") or []:
        if container.get("name") == main:
            states = {**(container.get("lastState") or {}), **(container.get("state") or {})}
            return not states.keys().isdisjoint(("running", "terminated"))
    return False


def is_mounting(pod: Json) -> bool:
    """Return whether the pod has a node, but none of its containers has started."""
    states = [container.get("state") or {} for container in _statuses(pod)]
    has_node = bool((pod.get("spec") or {}).get("nodeName"))
    is_pending = (pod.get("status") or {}).get("phase") == "Pending"
    return has_node and is_pending and all("waiting" in state for state in states)


def why_not_mounted(pod: Json, events: Iterable[Json]) -> str:
    """Return a sentence that says which volume the kubelet cannot mount, if the pod's newest event reports this.

    Source: Kubernetes 1.36, pkg/kubelet/events.  A file system that does not answer looks like this too.
    """
    newest = max(events, key=_event_time, default={})
    if newest.get("reason") not in _NOT_MOUNTED or not is_mounting(pod):
        return ""
    text = " ".join(str(newest.get("message", "")).split())
    return f"A file system cannot be mounted or does not answer ({newest['reason']}): {text[:300].rstrip('.')}."


def why_no_secret(pod: Json, events: Iterable[Json]) -> str:
    """Return a sentence that names a secret or ConfigMap that does not exist, as the kubelet reports; "" if none.

    Source: Kubernetes 1.36: the messages of FailedMount and CreateContainerConfigError end in these words.
    """
    waiting = [(container.get("state") or {}).get("waiting") or {} for container in _statuses(pod)]
    texts = [str(found.get("message", "")) for found in waiting if found.get("reason") == "CreateContainerConfigError"]
    if why_not_mounted(pod, events := list(events)):
        texts.append(str(max(events, key=_event_time).get("message", "")))
    for text in texts:
        if found := _ABSENT.search(text):
            kind = {"secret": "secret", "configmap": "ConfigMap"}[found[1]]
            return f"The {kind} {found[2]!r}, which your administrators add to the pod, does not exist."
    return ""


def _event_time(event: Json) -> str:
    created = (event.get("metadata") or {}).get("creationTimestamp")
    series = (event.get("series") or {}).get("lastObservedTime")
    return str(event.get("lastTimestamp") or series or event.get("eventTime") or created or "")


def why_not_gone(pod: Json) -> str:
    """Return which finalizer keeps a deleted pod although its containers have ended, as a sentence; "" if none."""
    metadata = pod["metadata"]
    finalizers = [str(finalizer) for finalizer in metadata.get("finalizers") or []]
    runs = any("running" in (container.get("state") or {}) for container in _statuses(pod))
    if not finalizers or runs or "deletionTimestamp" not in metadata:
        return ""
    owner = _owner_of(finalizers[0])
    return (
        f"The pod's containers have ended, but {owner} has not removed its finalizer {finalizers[0]}. "
        f"The pod is deleted when {owner} runs again."
    )


def _owner_of(finalizer: str) -> str:
    """Return the name of the scheduler that sets this finalizer, or "another controller"."""
    kinds = [kind for kind, scheduler in SCHEDULERS.items() if finalizer.startswith(scheduler.RESERVED)]
    return kinds[0].capitalize() if kinds else "another controller"


def why_failed(pod: Json, main: str) -> str:
    """Return a sentence that says why a pod is in phase Failed, from the status of the pod or of a container."""
    status = pod.get("status") or {}
    reason, message = status.get("reason"), status.get("message", "")
    if reason == "DeadlineExceeded":
        return "It reached its hard wall time."
    if reason == "SupplementalGroupsPolicyNotSupported":
        return (
            "Its node cannot keep an image from adding groups (supplementalGroupsPolicy Strict), "
            "so the pod was not started. The node needs containerd 2 or CRI-O 1.31."
        )
    if reason:
        return f"{message.rstrip('.') or 'The pod failed'} ({reason})."
    return why_ended(pod, main) or "The pod failed and the cluster does not say why."


def why_no_home(pod: Json) -> str:
    """Return the message of the init container that checks the home directory; "" if it reports no problem."""
    for container in _statuses(pod):
        if container.get("name") != HOME_CHECK:
            continue
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            ended = state.get("terminated") or {}
            message = str(ended.get("message") or "")
            if ended.get("exitCode") == 1 and message.strip():
                return message.strip().splitlines()[-1]
            if ended.get("exitCode") and "executable file not found" in message:
                return (
                    "The image has no `sh` to check your home directory with. "
                    "Ask your administrators to set storage.home_check_image."
                )
    return ""


def why_ended(pod: Json, main: str) -> str:
    """Return a sentence that says how a container failed, preferably the main container; "" if none failed."""
    if why := why_no_home(pod):
        return why
    for container in sorted(_statuses(pod), key=lambda found: found.get("name") != main):
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            ended = state.get("terminated") or {}
            if ended.get("reason") == "OOMKilled":
                return f"Container {container.get('name')} used more memory than its profile has (OOMKilled)."
            if ended.get("reason") == "StartError" and _NO_SHELL in str(ended.get("message", "")):
                return _WITHOUT_SHELL
            if ended.get("exitCode"):
                error = f": {last}" if (last := _last_line(ended.get("message", ""))) else ""
                return f"Container {container.get('name')} ended with exit code {ended['exitCode']}{error}."
    return ""


def _last_line(text: str) -> str:
    """Return at most 300 characters of the last nonempty line.  In a Python traceback this is the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else ""


def _statuses(pod: Json) -> list[Json]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _is_running(status: Json, main: str) -> bool:
    return any(
        container.get("name") == main and "running" in (container.get("state") or {})
        for container in status.get("containerStatuses") or []
    )


def _exit_code(status: Json, main: str) -> int | None:
    for container in status.get("containerStatuses") or []:
        ended = (container.get("state") or {}).get("terminated") or {}
        if container.get("name") == main and "exitCode" in ended:
            code: int = ended["exitCode"]
            return code
    return None
