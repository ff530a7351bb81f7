"""A complete embedded cluster in this process, with API server, scheduler, Job controller, nodes and storage."""

from __future__ import annotations

import base64
import fcntl
import json
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from .apimachinery.api_resources import CLAIM, NAMESPACE
from .apimachinery.command_request import CommandRequest, RunningCommand
from .apimachinery.container_log import ContainerLog
from .apimachinery.object_fields import Json
from .apiserver.certificate import self_signed, write_private
from .apiserver.http_server import ADMIN, Api
from .controllers.job_controller import JobController
from .controllers.pod_scheduler import Scheduler
from .node.container_process import abilities, kill_leftovers
from .node.kubelet import Node, NodeSpec
from .node.pod_addresses import Addresses
from .node.pod_volumes import ClaimBinder, Storage
from .node.pod_worker import Machine
from .objectstore.object_store import Store

HOST = "127.0.0.1"


class Cluster:
    """A running cluster, which `Cluster.start` returns.  All of its files are below the directory `state`."""

    def __init__(self, state: Path, namespace: str, storage: Storage, machine: Machine, lock: IO[str]) -> None:
        self.state = state
        self.namespace = namespace
        self.storage = storage
        self.token = secrets.token_urlsafe(32)
        self.ca = state / "ca.crt"
        self.kubeconfig = state / "kubeconfig"
        self.url = ""
        self.store = Store()
        self.api = Api(self.store, {ADMIN: self.token})
        self.api.logs = self._log
        self.api.commands = self._command
        self.scheduler = Scheduler(self.store)
        self.jobs = JobController(self.store)
        self.claims = ClaimBinder(self.store, storage)
        self.nodes: list[Node] = []
        self._machine = machine
        self._addresses = Addresses()
        self._lock = lock

    @classmethod
    async def start(  # noqa: PLR0913  (all but two have defaults)
        cls,
        state: Path,
        nodes: Sequence[NodeSpec] = (NodeSpec("node-1"),),
        *,
        namespace: str = "default",
        claims: Mapping[str, Path] | None = None,
        expose: Sequence[Path] = (),
        privileged: bool | None = None,
        host_paths: bool = False,
        back_off_seconds: float = 1.0,
        port: int = 0,
    ) -> Cluster:
        """Start a cluster with its files below `state`, which is created if it does not exist.

        claims: the directory of each PersistentVolumeClaim to create in `namespace`, by the name of the claim.
        expose: directories that all containers see read-only, in addition to the host's software and this Python.
        privileged: True runs each container in Linux namespaces with the uid of its manifest, which requires root.
            False runs containers as child processes of this user. None means True if this machine supports it.
        back_off_seconds: the delay before a container's second restart, and before a Job's next pod after a failure.
        Raises RuntimeError if another cluster runs in `state`, or if `privileged` is True and this machine does not
        support it.
        """
        able = abilities()
        if privileged and not able.namespaces:
            raise RuntimeError(f"pods cannot run with the uids of their users: {able.reason}")
        isolate = able.namespaces if privileged is None else privileged
        state = state.absolute()  # noqa: ASYNC240  (no I/O but the current directory)
        state.mkdir(parents=True, exist_ok=True)
        lock = _locked(state)
        kill_leftovers(state)
        for leftover in ("pods", "root"):
            shutil.rmtree(state / leftover, ignore_errors=True)
        given = {(namespace, name): path.resolve() for name, path in (claims or {}).items()}
        storage = Storage(state, given, host_paths)
        machine = Machine("", {}, storage, _exposed(expose), isolate, back_off_seconds)
        cluster = cls(state, namespace, storage, machine, lock)
        await cluster._begin(nodes, port)
        return cluster

    async def _begin(self, nodes: Sequence[NodeSpec], port: int) -> None:
        certificate = self.state / "api.pem"
        self.ca.write_bytes(self_signed(certificate, HOST))
        if self.namespace not in ("default", "kube-system"):
            self.store.create(NAMESPACE, None, {"metadata": {"name": self.namespace}})
        self.claims.start()
        self.jobs.back_off_seconds = self._machine.back_off_seconds
        self.jobs.start()
        for spec in nodes:
            self.add_node(spec)
        for namespace, name in self.storage.claims:
            self.store.create(CLAIM, namespace, _claim(name))
        self.scheduler.start()
        self.url = await self.api.start(HOST, certificate, port)
        self.write_kubeconfig(self.kubeconfig, ADMIN)

    def add_node(self, spec: NodeSpec) -> Node:
        shared = self._machine
        machine = Machine(
            spec.name, spec.allocatable, shared.storage, shared.exposed, shared.isolate, shared.back_off_seconds
        )
        node = Node(self.store, spec, machine, self._addresses)
        node.start()
        self.nodes.append(node)
        return node

    def add_user(self, name: str) -> str:
        """Add a user and return the user's token.  All users have all rights; the audit log names the user."""
        self.api.tokens[name] = secrets.token_urlsafe(32)
        return self.api.tokens[name]

    def write_kubeconfig(self, path: Path, user: str) -> None:
        """Write a kubeconfig with mode 0600.  Whoever can read this file can start processes of any uid."""
        cluster = {"server": self.url, "certificate-authority-data": base64.b64encode(self.ca.read_bytes()).decode()}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "embedded",
            "clusters": [{"name": "embedded", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self.api.tokens[user]}}],
            "contexts": [
                {"name": "embedded", "context": {"cluster": "embedded", "user": user, "namespace": self.namespace}}
            ],
        }
        write_private(path, json.dumps(config, indent=1).encode())

    async def apply(self, obj: Json) -> Json:
        """Create the object, or replace the existing object of this name.  Raises ApiError if it is refused."""
        kind = self.store.kinds.of(obj)
        namespace = obj["metadata"].get("namespace", self.namespace) if kind.namespaced else None
        old = self.store.find(kind, namespace, obj["metadata"].get("name", ""))
        if old is None:
            return self.store.create(kind, namespace, obj)
        stale = ("resourceVersion", "uid")
        metadata = {key: value for key, value in obj["metadata"].items() if key not in stale}
        return self.store.update(kind, old, {**obj, "metadata": {**metadata, "namespace": namespace}})

    async def stop(self) -> None:
        """Stop all pods and the API server.  The directory `state` remains."""
        await self.scheduler.stop()
        await self.jobs.stop()
        self.claims.stop()
        for node in self.nodes:
            await node.stop()
        await self.api.stop()
        self._addresses.close()
        for leftover in ("pods", "root"):
            shutil.rmtree(self.state / leftover, ignore_errors=True)
        for secret in (self.kubeconfig, self.state / "api.pem"):
            secret.unlink(missing_ok=True)
        self._lock.close()

    def _log(self, pod: Json, container: str, previous: bool) -> ContainerLog | None:
        node = self._node_of(pod)
        return node.log(pod, container, previous=previous) if node else None

    async def _command(self, pod: Json, container: str, request: CommandRequest) -> RunningCommand | None:
        node = self._node_of(pod)
        return await node.command(pod, container, request) if node else None

    def _node_of(self, pod: Json) -> Node | None:
        return next((node for node in self.nodes if node.spec.name == pod["spec"].get("nodeName")), None)


def _locked(state: Path) -> IO[str]:
    lock = (state / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise RuntimeError(f"another embedded cluster runs in {state}; stop it, or choose another directory") from None
    return lock


def _exposed(more: Sequence[Path]) -> list[Path]:
    """Return the host directories that containers see: this Python, its virtual environment and `more`.

    A parent directory comes before its subdirectories.
    """
    wanted = {Path(sys.base_prefix), Path(sys.prefix), *more}
    resolved = {path.absolute() for path in wanted} | {path.resolve() for path in wanted}
    return sorted(path for path in resolved if path.exists() and path != Path("/usr"))


def _claim(name: str) -> Json:
    spec = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "1Ti"}},
        "storageClassName": "embedded",
    }
    return {"metadata": {"name": name}, "spec": spec}
