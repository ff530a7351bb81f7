"""Compute the status of a pod and its containers, as a kubelet does (pkg/kubelet/kubelet_pods.go)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ..apimachinery.object_fields import Json, now, with_condition
from .container_process import Container

_EPOCH = "1970-01-01T00:00:00Z"


@dataclass
class ContainerState:
    """The current state of one container on its node."""

    spec: Json
    is_init: bool = False
    restarts: int = 0
    running: Container | None = None
    state: Json = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Json = field(default_factory=dict)
    over: bool = False  # terminated, and will not be restarted
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def is_sidecar(self) -> bool:
        """Return whether this is a sidecar, which is an init container with restartPolicy Always (KEP-753)."""
        return self.spec.get("restartPolicy") == "Always"

    @property
    def has_initialized(self) -> bool:
        """Return whether the next init container can start."""
        if self.is_sidecar:
            return "running" in self.state or self.over
        return self.over and self.exit_code == 0

    @property
    def exit_code(self) -> int | None:
        terminated = self.state.get("terminated")
        return int(terminated["exitCode"]) if terminated else None

    def waits(self, reason: str, message: str = "") -> None:
        self.state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}

    def runs(self, container: Container) -> None:
        self.running = container
        self.state = {"running": {"startedAt": now()}}

    def could_not_start(self, message: str) -> None:
        self._terminate(128, "StartError", message, _EPOCH)

    def ended(self, code: int, message: str = "") -> None:
        """Record the end of the container.  `message` is the content of its terminationMessagePath."""
        started = (self.state.get("running") or {}).get("startedAt", now())
        self._terminate(code, "Completed" if code == 0 else "Error", message, started)

    def _terminate(self, code: int, reason: str, message: str, started: str) -> None:
        self.running = None
        terminated = {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now()}
        self.state = {"terminated": terminated | ({"message": message} if message else {})}

    def restarts_from_here(self) -> None:
        if "terminated" in self.state:
            self.last_state = self.state
        self.restarts += 1

    def status(self, pod_uid: str) -> Json:
        runs = "running" in self.state
        is_ready = runs or (self.is_init and self.exit_code == 0)
        image = self.spec.get("image", "")
        return {
            "name": self.name,
            "image": image,
            "imageID": f"embedded://{image}",
            "containerID": f"embedded://{pod_uid}/{self.name}/{self.restarts}",
            "ready": is_ready,
            "started": runs,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
        }


@dataclass(frozen=True)
class PodReason:
    """The reason and message in the status of a pod that the kubelet ended, such as DeadlineExceeded."""

    reason: str
    message: str


def phase(init: list[ContainerState], containers: list[ContainerState], ended_by: PodReason | None) -> str:
    if ended_by or any(state.over and state.exit_code and not state.is_sidecar for state in init):
        return "Failed"
    if not all(state.has_initialized for state in init) and not any("running" in c.state or c.over for c in containers):
        return "Pending"
    if all(state.over for state in containers) and not any(state.running for state in init):
        return "Failed" if any(state.exit_code for state in containers) else "Succeeded"
    if all("waiting" in state.state and not state.last_state for state in containers):
        return "Pending"
    return "Running"


def _conditions(
    now_phase: str, init: list[ContainerState], containers: list[ContainerState]
) -> dict[str, tuple[bool, str, str]]:
    """Return the status, reason and message of each condition, by type (pkg/kubelet/status/generate.go)."""
    ended = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(now_phase, "")
    incomplete = [state.name for state in init if not state.has_initialized]
    unready = [state.name for state in containers if "running" not in state.state]
    initialized, ready = (True, "", ""), (True, "", "")
    if now_phase == "Succeeded":
        initialized = (True, ended, "")
    elif incomplete:
        initialized = (
            False,
            "ContainersNotInitialized",
            f"containers with incomplete status: [{' '.join(incomplete)}]",
        )
    if ended:
        ready = (False, ended, "")
    elif unready:
        ready = (False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    return {
        "PodReadyToStartContainers": (not ended, "", ""),
        "Initialized": initialized,
        "Ready": ready,
        "ContainersReady": ready,
    }


def pod_status(
    pod: Json,
    init: list[ContainerState],
    containers: list[ContainerState],
    addresses: tuple[str, str],
    ended_by: PodReason | None,
) -> Json:
    """Return the complete status of the pod.

    The kubelet must write all of it in one request, because clients fail on a running pod without podIP.
    """
    pod_ip, host_ip = addresses
    uid, before = pod["metadata"]["uid"], pod["status"]
    now_phase = phase(init, containers, ended_by)
    conditions = before.get("conditions")
    for name, (is_so, reason, message) in _conditions(now_phase, init, containers).items():
        conditions = with_condition(conditions, name, "True" if is_so else "False", reason, message)
    status = {
        **before,
        "phase": now_phase,
        "conditions": conditions,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": pod_ip,
        "podIPs": [{"ip": pod_ip}],
        "startTime": before.get("startTime") or now(),
        "containerStatuses": [state.status(uid) for state in containers],
    }
    if init:
        status["initContainerStatuses"] = [state.status(uid) for state in init]
    if ended_by:
        status |= {"reason": ended_by.reason, "message": ended_by.message}
    return status
