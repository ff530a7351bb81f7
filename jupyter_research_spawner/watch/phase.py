"""The one place where a pod's condition becomes a word.  Contract: Kubernetes, Pod Lifecycle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..pod.home import NAME as HOME_CHECK
from ..schedulers import SCHEDULERS, QueueStatus, Reason
from ..shape import Json

PhaseName = Literal["queued", "starting", "running", "ending", "succeeded", "failed"]

# The kubelet's reasons for a container that does not start, as sentences.
_WAITING = {
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "InvalidImageName": "its image has no valid name",
    "ErrImageNeverPull": "its image is not on the node and may not be pulled",
    "CreateContainerConfigError": "its container cannot be set up",
    "CreateContainerError": "its container cannot be created",
    "RunContainerError": "its container cannot be run",
    "CrashLoopBackOff": "it ends again and again",
}


@dataclass(frozen=True)
class Phase:
    """Where a pod stands.  `message` says why; `exit_code` is the main container's, once it ended."""

    name: PhaseName
    message: str = ""
    exit_code: int | None = None
    preempted: bool = False

    @property
    def is_over(self) -> bool:
        return self.name in ("succeeded", "failed")


def classify(pod: Json, queue: QueueStatus, main: str, eviction: Reason | None = None) -> Phase:
    """`main` is the name of the container that the person's program runs in."""
    status = pod.get("status") or {}
    phase = status.get("phase")
    exit_code = _exit_code(status, main)
    if eviction is not None:
        over = phase in ("Succeeded", "Failed")
        return Phase("failed" if over else "ending", eviction.message, exit_code, eviction.preempted)
    if phase == "Succeeded":
        return Phase("succeeded", exit_code=exit_code)
    if phase == "Failed":
        told = queue.message if queue.phase == "refused" else why_failed(pod, main)
        return Phase("failed", told, exit_code)
    if pod.get("metadata", {}).get("deletionTimestamp"):
        return Phase("ending", exit_code=exit_code)
    if queue.phase in ("gated", "queued", "unschedulable", "refused"):
        return Phase("queued", queue.message)
    if phase == "Running" and _is_running(status, main):
        return Phase("running")
    return Phase("starting", why_not_started(pod))


def why_not_started(pod: Json) -> str:
    """The kubelet's word for what keeps a container from starting, as a sentence; "" when it is merely on its way."""
    for container in _statuses(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _WAITING:
            told = _WAITING[waiting["reason"]]
            return (
                f"Container {container.get('name')}: {told} ({waiting['reason']}). {waiting.get('message', '')}".strip()
            )
    return ""


def why_not_gone(pod: Json) -> str:
    """Who keeps a deleted pod from vanishing although nothing of it runs, as a sentence; "" when nobody does."""
    metadata = pod["metadata"]
    finalizers = [str(finalizer) for finalizer in metadata.get("finalizers") or []]
    runs = any("running" in (container.get("state") or {}) for container in _statuses(pod))
    if not finalizers or runs or "deletionTimestamp" not in metadata:
        return ""
    return (
        f"Nothing of its pod runs any more, but {_keeper_of(finalizers[0])} has not let go of it "
        f"(finalizer {finalizers[0]}). It goes when that runs again."
    )


def _keeper_of(finalizer: str) -> str:
    kinds = [kind for kind, scheduler in SCHEDULERS.items() if finalizer.startswith(scheduler.RESERVED)]
    return kinds[0].capitalize() if kinds else "another program"


def why_failed(pod: Json, main: str) -> str:
    """Why a Failed pod failed: the pod's own reason first, then that of the container that ended badly."""
    status = pod.get("status") or {}
    reason, message = status.get("reason"), status.get("message", "")
    if reason == "DeadlineExceeded":
        return "It reached its hard wall time."
    if reason == "SupplementalGroupsPolicyNotSupported":
        return (
            "Its node cannot keep an image from adding groups (supplementalGroupsPolicy Strict), "
            "so it was not started. The node needs containerd 2 or CRI-O 1.31."
        )
    if reason:
        return f"{message.rstrip('.') or 'The pod failed'} ({reason})."
    return why_ended(pod, main) or "The pod failed and the cluster does not say why."


def why_no_home(pod: Json) -> str:
    """What the look for the home directory said before anything else ran; "" if it said nothing."""
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
                    "Its image has no `sh` to look whether your home directory is there. "
                    "Ask the people who run this hub to set storage.home_check_image."
                )
    return ""


def why_ended(pod: Json, main: str) -> str:
    """How a container that is not running any more ended badly, the main one first; "" if none did."""
    if why := why_no_home(pod):
        return why
    for container in sorted(_statuses(pod), key=lambda found: found.get("name") != main):
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            ended = state.get("terminated") or {}
            if ended.get("reason") == "OOMKilled":
                return f"Container {container.get('name')} used more memory than its profile has (OOMKilled)."
            if ended.get("exitCode"):
                told = f": {last}" if (last := _last_line(ended.get("message", ""))) else ""
                return f"Container {container.get('name')} ended with exit code {ended['exitCode']}{told}."
    return ""


def _last_line(text: str) -> str:
    """Of a traceback, what went wrong."""
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
