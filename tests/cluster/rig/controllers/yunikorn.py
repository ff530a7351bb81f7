"""YuniKorn out of cluster: its scheduler beside kube-scheduler, for pods that name it.

Contract: YuniKorn 1.8, standard mode (its plugin mode is deprecated), deployments/scheduler of its module, without the
admission controller: pods bring their schedulerName, application, queue and user themselves.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from .. import processes
from ..api import Json, namespace, until
from ..cluster import Cluster
from ..network import NoNetwork

NAMESPACE = "yunikorn"
SCHEDULER = "yunikorn-scheduler"
CONFIGURATION = "yunikorn-configs"
# Its REST API listens on this port of every address it has, which cannot be changed: so it has addresses of its own.
PORT = 9080
_IN_ITS_OWN_NETWORK = 'until ip -4 route get "$1" > /dev/null 2>&1; do sleep 0.05; done; shift; exec "$@"'


@dataclass
class YuniKorn:
    """`start` it on a cluster, and `stop` it."""

    cluster: Cluster

    @classmethod
    def start(cls, cluster: Cluster, *queues: Json) -> YuniKorn:
        """Ready to schedule into `queues`, the children of root, when this returns.  Raises DidNotStart, NoNetwork."""
        yunikorn = cls(cluster)
        cluster.api.apply(namespace(NAMESPACE), yunikorn._configuration(queues))
        process = processes.start(
            cluster.state,
            SCHEDULER,
            [
                *("unshare", "--net", "--", "sh", "-ec", _IN_ITS_OWN_NETWORK, "sh", cluster.network.address),
                cluster.binary(SCHEDULER),
            ],
            environment={"NAMESPACE": NAMESPACE, "KUBECONFIG": str(cluster.kubeconfig)},
        )
        yunikorn._connect(process.pid)
        processes.ready(cluster.state, SCHEDULER, process, lambda: yunikorn._has(queues))
        return yunikorn

    def stop(self) -> None:
        """Leave the cluster as it was."""
        self.cluster.end(SCHEDULER)
        self.cluster.api.delete(namespace(NAMESPACE))
        until(lambda: self.cluster.api.find("v1", "Namespace", NAMESPACE) is None, f"namespace {NAMESPACE} is gone")

    def ask(self, path: str) -> Json | list[Json] | None:
        """What /ws/v1/... answers, None if there is no such thing."""
        url = f"http://{self.address}:{PORT}/ws/v1/{path}"
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(url, timeout=10) as answer:
            found: Json | list[Json] = json.load(answer)
            return found
        return None

    def queue(self, path: str) -> Json:
        """That queue and the resources in it."""
        found = self.ask(f"partition/default/queue/{path}")
        assert isinstance(found, dict), f"{path}: {found}"
        return found

    def application(self, name: str) -> Json | None:
        """With its queue, user, state and allocations."""
        found = self.ask(f"partition/default/application/{urllib.parse.quote(name)}")
        assert found is None or isinstance(found, dict)
        return found

    @property
    def address(self) -> str:
        """The last of the cluster's subnet: pods get theirs from the first on."""
        return str(ipaddress.ip_network(self.cluster.network.subnet)[-2])

    def _connect(self, pid: int) -> None:
        """Give the process an interface on the bridge.  It ends with the process's network namespace."""
        bridge = self.cluster.network.bridge
        here = f"{bridge}yk"
        inside = ["nsenter", f"--target={pid}", "--net", "--", "ip"]
        until(lambda: _network_of(pid) != _network_of("self"), "the scheduler has a network of its own")
        for command in (
            [
                "ip",
                "link",
                "add",
                here,
                "master",
                bridge,
                "up",
                "type",
                "veth",
                "peer",
                "name",
                "up0",
                "netns",
                str(pid),
            ],
            [*inside, "link", "set", "lo", "up"],
            [*inside, "address", "add", f"{self.address}/24", "dev", "up0"],
            [*inside, "link", "set", "up0", "up"],
        ):
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise NoNetwork(f"`{' '.join(command)}` failed: {done.stderr.strip()}")

    def _configuration(self, queues: Sequence[Json]) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CONFIGURATION, "namespace": NAMESPACE},
            "data": {"queues.yaml": yaml.safe_dump(_settings(queues))},
        }

    def _has(self, queues: Sequence[Json]) -> bool:
        with contextlib.suppress(OSError):
            found = self.ask("partition/default/queues")
            names = (
                {child["queuename"] for child in (found.get("children") or [])} if isinstance(found, dict) else set()
            )
            return {f"root.{queue['name']}" for queue in queues} <= names
        return False


def _settings(queues: Sequence[Json]) -> Json:
    """One partition.  Without placement rules a pod's own queue is taken, and one that is not there is refused.

    Nobody may use a queue without a `submitacl` of its own or of a parent.
    """
    root = {"name": "root", "queues": list(queues)}
    return {"partitions": [{"name": "default", "queues": [root]}]}


def _network_of(pid: int | Literal["self"]) -> str:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    return ""
