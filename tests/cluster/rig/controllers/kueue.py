"""Kueue out of cluster: its controllers, webhooks and visibility API as one process of this machine.

Contract: Kueue 0.19.2, config/components of its module (what `kubectl apply -k config/default` installs).
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
import yaml

from .. import processes
from ..api import Json, namespace
from ..cluster import Cluster
from ..extensions import HostService, apply_crds, bundle, read, webhooks

NAMESPACE = "kueue-system"
NAME = "kueue"
API = "kueue.x-k8s.io/v1beta2"
# The webhooks of Kueue's own kinds.
HOOKS = tuple(
    f"{name}.kb.io"
    for name in (
        *("mclusterqueue", "mresourceflavor", "mworkload"),
        *("vclusterqueue", "vcohort", "vresourceflavor", "vworkload"),
    )
)
FRAMEWORKS = ("batch/job", "pod")
# As in config/components/crd/kustomization.yaml: on the others the API server would look for a conversion in vain.
CONVERTED = ("localqueues", "clusterqueues", "cohorts", "workloads", "multikueueclusters")
# Kueue reads the metrics' certificate below /etc, whatever its configuration says: so it has an /etc of its own, which
# goes when it ends.
OWN_ETC = """
certificates=$1; shift
mount -t tmpfs kueue /etc
mkdir -p /etc/kueue/metrics
cp -r "$certificates" /etc/kueue/metrics/certs
exec "$@"
"""


@dataclass(frozen=True)
class Ports:
    webhook: int
    visibility: int
    health: int

    @classmethod
    def free(cls, address: str) -> Ports:
        return cls(*(processes.free_port(where) for where in (address, address, "127.0.0.1")))


@dataclass
class Kueue:
    """`start` it on a cluster, and `stop` it; `down` and `up` again are what an operator sees of a crash."""

    cluster: Cluster
    ports: Ports
    frameworks: Sequence[str] = FRAMEWORKS
    settings: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def start(cls, cluster: Cluster, frameworks: Sequence[str] = FRAMEWORKS) -> Kueue:
        """Start Kueue, and wait until it admits objects of these frameworks. Raises DidNotStart."""
        kueue = cls(cluster, Ports.free(cluster.network.address), frameworks)
        kueue._write_certificates()
        apply_crds(cluster.api, (kueue._with_conversion(crd) for crd in read(kueue._components / "crd" / "bases")))
        cluster.api.apply(namespace(NAMESPACE), *kueue._webhook_service.objects(), *kueue._visibility_service.objects())
        cluster.api.apply(*kueue._api_services())
        kueue.up()
        # Last: from now on nothing is created without Kueue.
        cluster.api.apply(*kueue._webhooks())
        return kueue

    def up(self) -> None:
        """Start the process, and wait until it is ready."""
        self._configuration.write_text(yaml.safe_dump(self._configured()))
        command: list[str | Path] = [
            *("unshare", "--mount", "sh", "-euc", OWN_ETC, "sh", self._certificates),
            self.cluster.binary(NAME),
            f"--config={self._configuration}",
            f"--kubeconfig={self.cluster.kubeconfig}",
            "--zap-log-level=2",
        ]
        process = processes.start(self.cluster.state, NAME, command)
        processes.ready(self.cluster.state, NAME, process, self._is_ready)

    def down(self) -> None:
        """End the process. Its webhooks stay, so the API server refuses every pod and job."""
        self.cluster.end(NAME)

    @contextmanager
    def away(self) -> Iterator[None]:
        """End Kueue for the time of the context."""
        self.down()
        try:
            yield
        finally:
            self.up()

    def configure(self, settings: Mapping[str, object]) -> None:
        """Restart Kueue with these settings merged over its Configuration."""
        self.settings = settings
        self.down()
        self.up()

    def stop(self) -> None:
        """Remove Kueue from the cluster. It ends last, because it removes its finalizers from deleted objects."""
        api = self.cluster.api
        if not self._is_ready():
            self.up()
        for kind in ("Workload", "LocalQueue", "ClusterQueue", "ResourceFlavor", "WorkloadPriorityClass"):
            api.delete_all(API, kind)
        for obj in (*self._webhooks(), *self._api_services()):
            api.delete(obj)
        self.down()
        for crd in read(self._components / "crd" / "bases"):
            api.delete(crd)
        api.remove(namespace(NAMESPACE))

    @property
    def _components(self) -> Path:
        return self.cluster.source(NAME) / "config" / "components"

    @property
    def _configuration(self) -> Path:
        return self.cluster.state / "kueue.yaml"

    @property
    def _certificates(self) -> Path:
        """Where the link-time variable `certDir` of programs.yaml looks too, relative to the state directory."""
        return self.cluster.state / "kueue-visibility"

    @property
    def _webhook_service(self) -> HostService:
        return HostService(NAMESPACE, "kueue-webhook-service", self.cluster.network.address, self.ports.webhook)

    @property
    def _visibility_service(self) -> HostService:
        return HostService(NAMESPACE, "visibility-server", self.cluster.network.address, self.ports.visibility)

    def _write_certificates(self) -> None:
        """One for all three servers: as files of the names that controller-runtime wants."""
        hosts = [*self._webhook_service.hosts, *self._visibility_service.hosts]
        pair = self.cluster.authority.pair(NAME, hosts=hosts)
        self._certificates.mkdir(exist_ok=True, mode=0o700)
        shutil.copy(pair.certificate, self._certificates / "tls.crt")
        shutil.copy(pair.key, self._certificates / "tls.key")

    def _configured(self) -> Json:
        address = self.cluster.network.address
        return {
            "apiVersion": "config.kueue.x-k8s.io/v1beta2",
            "kind": "Configuration",
            "namespace": NAMESPACE,
            "health": {"healthProbeBindAddress": f"127.0.0.1:{self.ports.health}"},
            "metrics": {"bindAddress": "0"},
            "webhook": {"host": address, "port": self.ports.webhook, "certDir": str(self._certificates)},
            "visibilityServer": {"bindAddress": address, "bindPort": self.ports.visibility},
            "leaderElection": {"leaderElect": False},
            "internalCertManagement": {"enable": False},
            "clientConnection": {"qps": 300, "burst": 500},
            "integrations": {"frameworks": [*self.frameworks]},
            **self.settings,
        }

    def _is_ready(self) -> bool:
        """Return whether Kueue says that it is ready, and its other two servers accept connections."""
        try:
            for port in (self.ports.webhook, self.ports.visibility):
                socket.create_connection((self.cluster.network.address, port), timeout=2).close()
            return requests.get(f"http://127.0.0.1:{self.ports.health}/readyz", timeout=2).ok
        except OSError:  # that of requests is one too
            return False

    def _with_conversion(self, crd: Json) -> Json:
        if crd["spec"]["names"]["plural"] not in CONVERTED:
            return crd
        service = {"namespace": NAMESPACE, "name": self._webhook_service.name, "path": "/convert"}
        client = {"service": service, "caBundle": bundle(self.cluster.authority)}
        webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
        return {**crd, "spec": {**crd["spec"], "conversion": {"strategy": "Webhook", "webhook": webhook}}}

    def _webhooks(self) -> list[Json]:
        """As config/components/webhook/kustomization.yaml patches them.

        One whose framework is off answers 404, and that fails every create.
        """
        of_work = {f"{when}{framework.split('/')[-1]}.kb.io" for framework in self.frameworks for when in "mv"}
        installed = read(self._components / "webhook" / "manifests.yaml")
        found = webhooks(installed, self._webhook_service, self.cluster.authority, (*HOOKS, *of_work))
        for obj in found:
            obj["metadata"] = {"name": f"kueue-{obj['metadata']['name']}"}
            for hook in obj["webhooks"]:
                if hook["name"] in of_work:
                    hook["namespaceSelector"] = _outside("kube-system", NAMESPACE)
        return found

    def _api_services(self) -> list[Json]:
        return [obj for obj in read(self._components / "visibility") if obj.get("kind") == "APIService"]


def _outside(*names: str) -> Json:
    expression = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": list(names)}
    return {"matchExpressions": [expression]}
