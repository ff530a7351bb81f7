"""A node and its kubelet, which runs the node's pods as processes of this machine.

CPU and memory limits are not enforced.  Images, probes and lifecycle hooks are ignored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field

from ..apimachinery.api_errors import ApiError
from ..apimachinery.api_resources import NODE, POD
from ..apimachinery.command_request import CommandRequest, RunningCommand
from ..apimachinery.container_log import ContainerLog
from ..apimachinery.object_fields import Json, now
from ..objectstore.object_store import Change, Store
from .container_process import StartError
from .host_paths import NOT_HONOURED, not_honoured
from .pod_addresses import Addresses
from .pod_worker import HOST_IP, Machine, PodRun

log = logging.getLogger(__name__)

STOP_SECONDS = 2.0  # the grace period of pods when the cluster stops


@dataclass(frozen=True)
class NodeSpec:
    """A node to create.  `resources` are extended resources, such as {"nvidia.com/gpu": "2"}.

    `taints` are objects of the Kubernetes API.
    """

    name: str
    cpu: float | str = 4
    memory: str = "16Gi"
    labels: dict[str, str] = field(default_factory=dict)
    resources: dict[str, str] = field(default_factory=dict)
    taints: tuple[Json, ...] = ()

    @property
    def allocatable(self) -> dict[str, str]:
        return {"cpu": str(self.cpu), "memory": self.memory, "pods": "500", **self.resources}


class Node:
    """The kubelet of one node."""

    def __init__(self, store: Store, spec: NodeSpec, machine: Machine, addresses: Addresses) -> None:
        self.store = store
        self.spec = spec
        self.machine = machine
        self.addresses = addresses
        self._runs: dict[str, PodRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        self.store.create(NODE, None, self._object())
        self.store.modify(
            NODE, self.store.get(NODE, None, self.spec.name), lambda node: node.update(status=self._status())
        )
        self.store.listeners.append(self._seen)

    async def stop(self) -> None:
        """Stop all pods of this node with a grace period of STOP_SECONDS."""
        with contextlib.suppress(ValueError):
            self.store.listeners.remove(self._seen)
        for run in self._runs.values():
            run.stop(STOP_SECONDS)
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=STOP_SECONDS + 5)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for run in self._runs.values():
            run.clean()

    def log(self, pod: Json, container: str, *, previous: bool) -> ContainerLog | None:
        run = self._runs.get(pod["metadata"]["uid"])
        return run.log(container, previous=previous) if run else None

    async def command(self, pod: Json, container: str, request: CommandRequest) -> RunningCommand | None:
        """Run a command in a container; return None if the container does not run.  Raises ApiError."""
        run = self._runs.get(pod["metadata"]["uid"])
        try:
            return await run.command(container, request) if run else None
        except StartError as reason:
            raise ApiError(500, "InternalError", f"error executing command in container: {reason}") from None

    def _object(self) -> Json:
        labels = {
            "kubernetes.io/hostname": self.spec.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            **self.spec.labels,
        }
        spec = {"taints": list(self.spec.taints)} if self.spec.taints else {}
        return {"metadata": {"name": self.spec.name, "labels": labels}, "spec": spec}

    def _status(self) -> Json:
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
            "lastHeartbeatTime": now(),
            "lastTransitionTime": now(),
        }
        return {
            "capacity": self.spec.allocatable,
            "allocatable": self.spec.allocatable,
            "conditions": [ready],
            "addresses": [{"type": "InternalIP", "address": HOST_IP}, {"type": "Hostname", "address": self.spec.name}],
            "nodeInfo": {
                "kubeletVersion": "v1.36.3+embedded",
                "operatingSystem": "linux",
                "containerRuntimeVersion": "embedded://1",
            },
            "features": {"supplementalGroupsPolicy": True},
        }

    def _seen(self, change: Change) -> None:
        """React to a change of a pod.  The store calls this during a write, so it only schedules tasks."""
        if change.kind != POD or change.new["spec"].get("nodeName") != self.spec.name:
            return
        pod = change.new
        uid = pod["metadata"]["uid"]
        if change.type == "DELETED":
            self._forget(uid)
        elif uid in self._runs:
            self._runs[uid].updated(pod)
        elif pod["status"].get("phase") not in ("Succeeded", "Failed"):
            run = self._runs[uid] = PodRun(self.store, self.machine, pod, self.addresses.take())
            self._tasks[uid] = asyncio.ensure_future(self._run(run))

    async def _run(self, run: PodRun) -> None:
        if not self.machine.isolate and (missing := not_honoured(run.pod)):
            _annotate(self.store, run.pod, NOT_HONOURED, missing)
        try:
            if run.pod["metadata"].get("deletionTimestamp"):
                run.stop(0)
            await run.run()
        except Exception:  # an error in one pod must not stop the node
            log.exception("pod %s", run.pod["metadata"]["name"])
        self._delete_if_asked(run)

    def _delete_if_asked(self, run: PodRun) -> None:
        """Delete the object of a terminating pod that has ended, as a kubelet does."""
        metadata = run.pod["metadata"]
        pod = self.store.find(POD, metadata["namespace"], metadata["name"])
        if pod and pod["metadata"]["uid"] == run.uid and pod["metadata"].get("deletionTimestamp"):
            self.store.delete(POD, pod, {"gracePeriodSeconds": 0, "preconditions": {"uid": run.uid}})

    def _forget(self, uid: str) -> None:
        run = self._runs.get(uid)
        if not run:
            return
        run.stop(0)
        asyncio.ensure_future(self._clean(uid, run))  # noqa: RUF006  (ends with the pod's own task)

    async def _clean(self, uid: str, run: PodRun) -> None:
        await asyncio.wait({self._tasks[uid]})
        run.clean()
        self.addresses.free(run.address)
        self._runs.pop(uid, None)
        self._tasks.pop(uid, None)


def _annotate(store: Store, pod: Json, key: str, value: str) -> None:
    def change(new: Json) -> None:
        new["metadata"]["annotations"] = {**(new["metadata"].get("annotations") or {}), key: value}

    store.modify(POD, pod, change)
