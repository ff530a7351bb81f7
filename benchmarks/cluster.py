"""The command `python -m benchmarks.cluster`, which runs an API server with a simulated node.

The API server is that of the embedded cluster.  The simulated node does not start containers.  After a delay it writes
the statuses and events of a real node.  All pods share one stub notebook server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import signal
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from aiohttp import web

from jupyter_research_spawner.embedded.apimachinery.api_resources import (
    CLAIM,
    EVENT,
    JOB,
    NAMESPACE,
    NODE,
    POD,
    PRIORITY_CLASS,
)
from jupyter_research_spawner.embedded.apimachinery.object_fields import micro_now, now
from jupyter_research_spawner.embedded.apiserver.http_server import ADMIN, Api
from jupyter_research_spawner.embedded.objectstore.object_store import Change, Store

from . import sides
from .sides import Json

HOST = "127.0.0.1"
OTHERS = "others"
OTHER_PODS_OF_NODE = 4
# Each pod runs this long, and each kubelet sends the status of its node this often (nodeStatusReportFrequency).
POD_SECONDS = 2000
NODE_STATUS_SECONDS = 300
NODE_NAME = "node-1"
NO_ROOM = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available."
FOREIGN_SPREAD = timedelta(hours=1)  # by default, an API server deletes events after this time


class SimulatedNode:
    """A node to which every new pod is bound immediately.  It reports a pod as running after `ready_after` seconds.

    Pods of users whose name begins with `sides.QUEUED` do not fit on it and stay pending.
    """

    def __init__(self, store: Store, ready_after: float) -> None:
        self._store = store
        self._ready_after = ready_after
        self._tasks: set[asyncio.Task[None]] = set()
        store.listeners.append(self._seen)

    def _seen(self, change: Change) -> None:
        if change.kind != POD:
            return
        if change.type == "ADDED" and "nodeName" not in change.new["spec"]:
            self._soon(self._run(change.new))
        elif change.type == "MODIFIED" and change.new["metadata"].get("deletionTimestamp"):
            self._soon(self._end(change.new))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, pod: Json) -> None:
        name = pod["metadata"]["name"]
        await asyncio.sleep(0)
        if pod["metadata"]["annotations"]["hub.jupyter.org/username"].startswith(sides.QUEUED):
            self._change(pod, lambda new: new.update(status={"phase": "Pending", "conditions": [_unschedulable()]}))
            self._record(pod, "FailedScheduling", NO_ROOM, "default-scheduler")
            return
        self._change(pod, _bind)
        self._record(
            pod, "Scheduled", f"Successfully assigned {sides.NAMESPACE}/{name} to {NODE_NAME}", "default-scheduler"
        )
        await asyncio.sleep(self._ready_after / 2)
        self._record(pod, "Pulled", f'Container image "{sides.IMAGE}" already present on machine')
        self._record(pod, "Created", "Created container: notebook")
        await asyncio.sleep(self._ready_after / 2)
        self._record(pod, "Started", "Started container notebook")
        self._change(pod, lambda new: new.update(status=_running(new)))

    async def _end(self, pod: Json) -> None:
        await asyncio.sleep(0)
        self._record(pod, "Killing", "Stopping container notebook")
        if (current := self._current(pod)) is not None:
            self._store.delete(POD, current, {"gracePeriodSeconds": 0})

    def _current(self, pod: Json) -> Json | None:
        found = self._store.find(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
        return found if found is not None and found["metadata"]["uid"] == pod["metadata"]["uid"] else None

    def _change(self, pod: Json, change: Callable[[Json], None]) -> None:
        if self._current(pod) is not None:
            self._store.modify(POD, pod, change)

    def _record(self, pod: Json, reason: str, message: str, source: str = "kubelet") -> None:
        if self._current(pod) is not None:
            self._store.record(pod, reason, message, source=source)


def _bind(pod: Json) -> None:
    """Set what the API server sets when a scheduler binds a pod."""
    pod["spec"]["nodeName"] = NODE_NAME
    pod["status"] = {**(pod.get("status") or {}), "conditions": [_condition("PodScheduled")]}


def _condition(name: str) -> Json:
    return {"type": name, "status": "True", "lastTransitionTime": now()}


def _running(pod: Json) -> Json:
    container = {
        "name": "notebook",
        "image": sides.IMAGE,
        "imageID": f"{sides.IMAGE}@sha256:{64 * '0'}",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": now()}},
    }
    conditions = [_condition(name) for name in ("PodScheduled", "Initialized", "ContainersReady", "Ready")]
    return {
        **pod.get("status", {}),
        "phase": "Running",
        "podIP": HOST,
        "hostIP": HOST,
        "startTime": now(),
        "conditions": conditions,
        "containerStatuses": [container],
    }


def _unschedulable() -> Json:
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_ROOM}
    return {**refused, "lastTransitionTime": now()}


def create_site_objects(store: Store) -> None:
    """Create the objects to which the site's settings refer: namespace, claims and priority classes."""
    store.create(NAMESPACE, None, {"metadata": {"name": sides.NAMESPACE}})
    for claim in sides.CLAIMS:
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Ti"}}}
        store.create(CLAIM, sides.NAMESPACE, {"metadata": {"name": claim}, "spec": spec})
    for name, value in (("low", -100), ("normal", 0), ("high", 100)):
        store.create(PRIORITY_CLASS, None, {"metadata": {"name": f"research-{name}"}, "value": value})


def add_foreign_events(store: Store, number: int) -> None:
    """Create events about other pods in the namespace, such as the pods of batch jobs."""
    first = datetime.now(timezone.utc) - FOREIGN_SPREAD
    for place in range(number):
        pod = f"train-{place // 4:05}"
        when = (first + FOREIGN_SPREAD * place / number).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {"apiVersion": "v1", "kind": "Pod", "name": pod, "namespace": sides.NAMESPACE, "uid": f"uid-of-{pod}"}
        event = {
            "metadata": {"name": f"{pod}.{place:016x}", "namespace": sides.NAMESPACE},
            "involvedObject": about,
            "reason": "Pulled",
            "message": f'Container image "{sides.IMAGE}" already present on machine',
            "type": "Normal",
            "firstTimestamp": when,
            "lastTimestamp": when,
            "count": 1,
            "source": {"component": "kubelet"},
        }
        store.create(EVENT, sides.NAMESPACE, event)


def add_jobs(store: Store, number: int) -> None:
    """Create batch jobs in the namespace, each with a running pod and the events of its start."""
    for place in range(number):
        name = f"job-{place:05}"
        labels = {"app": "simulation", "batch.kubernetes.io/job-name": name}
        container = {"name": "main", "image": sides.IMAGE, "command": ["simulate"]}
        template = {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [container]}}
        store.create(JOB, sides.NAMESPACE, {"metadata": {"name": name}, "spec": {"template": template}})
        pod = {
            "metadata": {"name": f"{name}-x7k2p", "labels": labels},
            "spec": {**template["spec"], "nodeName": NODE_NAME},
        }
        created = store.create(POD, sides.NAMESPACE, pod)
        store.modify(POD, created, lambda new: new.update(status={"phase": "Running"}))
        for reason in ("Scheduled", "Pulled", "Started"):
            store.record(created, reason, f"{reason} pod {name}", source="kubelet")


class OtherWork:
    """Nodes of several pools with pods of other people, which end and begin, while the nodes send their status."""

    def __init__(self, store: Store, nodes: int, pods: int) -> None:
        self._store = store
        self._random = random.Random(1)
        self._nodes = [store.create(NODE, None, _node(place)) for place in range(nodes)]
        for node in self._nodes:
            store.modify(NODE, node, _ready)
        self._names = count(1)
        store.create(NAMESPACE, None, {"metadata": {"name": OTHERS}})
        names = [node["metadata"]["name"] for node in self._nodes]
        self._pods = deque(self._begin(names[place % nodes]) for place in range(pods))

    def _begin(self, node: str) -> Json:
        cpu = self._random.randint(1, sides.NODE_CPU // OTHER_PODS_OF_NODE)
        resources = {"requests": {"cpu": str(cpu), "memory": f"{2 * cpu}Gi"}}
        environment = [{"name": name, "value": value} for name, value in sides.ENVIRONMENT.items()]
        container = {"name": "main", "image": sides.IMAGE, "env": environment, "resources": resources}
        spec = {"nodeName": node, "restartPolicy": "Never", "containers": [container]}
        pod = {"metadata": {"name": f"other-{next(self._names)}"}, "spec": spec}
        created = self._store.create(POD, OTHERS, pod)
        return self._store.modify(POD, created, lambda new: new.update(status={"phase": "Running"}))

    async def go_on(self) -> None:
        """Replace pods, and send the status of nodes, as often as in a real cluster."""
        for second in count():
            await asyncio.sleep(1)
            for _ in range(math.ceil(len(self._pods) / POD_SECONDS)):
                ended = self._pods.popleft()
                self._store.delete(POD, ended, {"gracePeriodSeconds": 0})
                self._pods.append(self._begin(ended["spec"]["nodeName"]))
            for node in self._nodes[second % NODE_STATUS_SECONDS :: NODE_STATUS_SECONDS]:
                self._store.modify(NODE, node, _ready)


def _node(place: int) -> Json:
    name = f"node-{place}"
    return {"metadata": {"name": name, "labels": {sides.POOL: sides.POOLS[place % len(sides.POOLS)]}}}


def _ready(node: Json) -> None:
    """Set the status that a kubelet sends."""
    amounts = {"cpu": str(sides.NODE_CPU), "memory": sides.NODE_MEMORY, "pods": "110"}
    images = [{"names": [f"{sides.IMAGE}-{number}"], "sizeBytes": 10**9} for number in range(50)]
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": micro_now()}
    node["status"] = {"capacity": amounts, "allocatable": amounts, "conditions": [ready], "images": images}


async def start_stub_notebook() -> int:
    """Start the stub server of all notebooks and return its port.  The hub only checks that the server answers."""
    headers = {"X-JupyterHub-Version": version("jupyterhub")}  # without this, the hub logs a warning at each start

    async def handle(_: web.Request) -> web.Response:
        return web.json_response({"version": "2"}, headers=headers)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, backlog=2048).start()
    return int(runner.addresses[0][1])


async def serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store = Store()
    create_site_objects(store)
    add_foreign_events(store, options.foreign_events)
    add_jobs(store, options.jobs)
    SimulatedNode(store, options.ready_after)
    api = Api(store, {ADMIN: options.token_file.read_text()})
    # Without TLS, because its cost, which is equal for both spawners, would hide differences.
    url = await api.start(HOST, None)
    others = OtherWork(store, options.nodes, options.other_pods) if options.nodes else None
    going_on = asyncio.ensure_future(others.go_on()) if others else None
    print(json.dumps({"url": url, "notebook_port": await start_stub_notebook()}), flush=True)
    await stop.wait()
    if going_on is not None:
        going_on.cancel()
    await api.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--ready-after", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--foreign-events", type=int, default=0, metavar="N")
    parser.add_argument("--jobs", type=int, default=0, metavar="N")
    parser.add_argument("--nodes", type=int, default=0, metavar="N")
    parser.add_argument("--other-pods", type=int, default=0, metavar="N")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
