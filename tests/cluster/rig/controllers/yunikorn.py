"""YuniKorn out of cluster: its scheduler beside kube-scheduler, for pods that name it.

Contract: YuniKorn 1.8, standard mode (its plugin mode is deprecated), deployments/scheduler of its module.  Pods bring
their schedulerName, application, queue and user themselves; its admission controller, which its chart installs too,
sees to them where a test asks for it.
"""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from .. import apart
from ..api import Json, namespace
from ..cluster import Cluster
from ..extensions import CONFIGURATIONS, HostService

NAMESPACE = "yunikorn"
SCHEDULER = "yunikorn-scheduler"
CONFIGURATION = "yunikorn-configs"
# Between two looks of the shim at applications and tasks; as installed, a second.
INTERVAL = "200ms"
# Its REST API listens on this port of every address it has, which cannot be changed.
PORT = 9080
ADMISSION = "yunikorn-admission-controller"
ADMISSION_PORT = 9089
# It writes the webhooks itself, and its own certificates into a Secret that must be there.
WEBHOOKS: list[Json] = [
    {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": f"{ADMISSION}-{name}"}}
    for kind, name in zip(CONFIGURATIONS, ("mutations", "validations"), strict=True)
]
CERTIFICATES: Json = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "admission-controller-secrets", "namespace": NAMESPACE},
    "type": "Opaque",
}


@dataclass
class YuniKorn:
    """`start` it on a cluster, and `stop` it."""

    cluster: Cluster

    @classmethod
    def start(cls, cluster: Cluster, *queues: Json) -> YuniKorn:
        """Start YuniKorn with `queues` below root, and wait until it has them. Raises DidNotStart, NoNetwork."""
        yunikorn = cls(cluster)
        cluster.api.apply(namespace(NAMESPACE), yunikorn._configuration(queues))
        apart.run(cluster, SCHEDULER, is_ready=lambda: yunikorn._has(queues), environment=yunikorn._environment)
        return yunikorn

    @contextlib.contextmanager
    def admitting(self, trusted: str) -> Iterator[None]:
        """Run its admission controller for the time of the context.

        trusted: externalUsers, a regular expression of the accounts that may say whose a pod is.
        """
        cluster, api = self.cluster, self.cluster.api
        service = HostService(NAMESPACE, f"{ADMISSION}-service", apart.address(cluster, ADMISSION), ADMISSION_PORT)
        configured = {
            "admissionController.accessControl.externalUsers": trusted,
            "admissionController.webHook.schedulerServiceAddress": f"{apart.address(cluster, SCHEDULER)}:{PORT}",
        }
        configuration = self._configuration([])
        api.patch(configuration, {"data": configured})
        api.apply(CERTIFICATES, *service.objects())
        try:
            apart.run(cluster, ADMISSION, is_ready=self._is_asked, environment=self._environment)
            yield
        finally:
            cluster.end(ADMISSION)
            api.remove(*WEBHOOKS, CERTIFICATES, *service.objects())
            api.patch(configuration, {"data": dict.fromkeys(configured)})

    def stop(self) -> None:
        """Remove YuniKorn from the cluster."""
        self.cluster.end(SCHEDULER)
        self.cluster.api.remove(namespace(NAMESPACE))

    def ask(self, path: str) -> Json | list[Json] | None:
        """Return the answer of /ws/v1/..., or None if there is no such object."""
        url = f"http://{apart.address(self.cluster, SCHEDULER)}:{PORT}/ws/v1/{path}"
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(url, timeout=10) as answer:
            found: Json | list[Json] = json.load(answer)
            return found
        return None

    def queue(self, path: str) -> Json:
        """Return that queue with its resources."""
        found = self.ask(f"partition/default/queue/{path}")
        assert isinstance(found, dict), f"{path}: {found}"
        return found

    def application(self, name: str) -> Json | None:
        """Return the application with its queue, user, state and allocations, or None."""
        found = self.ask(f"partition/default/application/{urllib.parse.quote(name)}")
        assert found is None or isinstance(found, dict)
        return found

    def _configuration(self, queues: Sequence[Json]) -> Json:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CONFIGURATION, "namespace": NAMESPACE},
            "data": {"queues.yaml": yaml.safe_dump(_settings(queues)), "service.schedulingInterval": INTERVAL},
        }

    @property
    def _environment(self) -> dict[str, str]:
        return {"NAMESPACE": NAMESPACE, "KUBECONFIG": str(self.cluster.kubeconfig)}

    def _is_asked(self) -> bool:
        """Return whether the API server calls the admission controller. Until then pods are created unchanged."""
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "asks"},
            "spec": {"containers": [{"name": "main", "image": "none"}]},
        }
        made = self.cluster.api.call("POST", "/api/v1/namespaces/default/pods", pod, dryRun="All")
        scheduler: str = made["spec"]["schedulerName"]
        return scheduler == "yunikorn"

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
