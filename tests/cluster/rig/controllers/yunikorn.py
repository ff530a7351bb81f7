"""YuniKorn out of cluster: its scheduler beside kube-scheduler, for pods that name it.

Contract: YuniKorn 1.8, standard mode (its plugin mode is deprecated), deployments/scheduler of its module, without the
admission controller: pods bring their schedulerName, application, queue and user themselves.
"""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from .. import apart
from ..api import Json, namespace
from ..cluster import Cluster

NAMESPACE = "yunikorn"
SCHEDULER = "yunikorn-scheduler"
CONFIGURATION = "yunikorn-configs"
# Its REST API listens on this port of every address it has, which cannot be changed.
PORT = 9080


@dataclass
class YuniKorn:
    """`start` it on a cluster, and `stop` it."""

    cluster: Cluster

    @classmethod
    def start(cls, cluster: Cluster, *queues: Json) -> YuniKorn:
        """Ready to schedule into `queues`, the children of root, when this returns.  Raises DidNotStart, NoNetwork."""
        yunikorn = cls(cluster)
        cluster.api.apply(namespace(NAMESPACE), yunikorn._configuration(queues))
        apart.run(
            cluster,
            SCHEDULER,
            is_ready=lambda: yunikorn._has(queues),
            environment={"NAMESPACE": NAMESPACE, "KUBECONFIG": str(cluster.kubeconfig)},
        )
        return yunikorn

    def stop(self) -> None:
        """Leave the cluster as it was."""
        self.cluster.end(SCHEDULER)
        self.cluster.api.remove(namespace(NAMESPACE))

    def ask(self, path: str) -> Json | list[Json] | None:
        """What /ws/v1/... answers, None if there is no such thing."""
        url = f"http://{apart.address(self.cluster, SCHEDULER)}:{PORT}/ws/v1/{path}"
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
