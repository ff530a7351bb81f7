"""Operators built with controller-runtime: they have CRDs, a health port, and often webhooks of their own.

Contract: sigs.k8s.io/controller-runtime 0.22 to 0.24, as JobSet, Trainer and KubeRay use it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import requests

from .. import processes
from ..api import Json, namespace
from ..cluster import Cluster
from ..extensions import HostService, apply_crds, read, remove_crds, webhooks


@dataclass(frozen=True)
class Operator:
    """`start` it on a cluster, and `stop` it.  `made` are the kinds whose objects go before it does: the last first."""

    cluster: Cluster
    binary: str
    namespace: str
    made: Sequence[tuple[str, str]]
    crds: Path
    service: HostService | None = None
    hooks: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def certificates(self) -> Path:
        """Return the directory in which its webhook server finds tls.crt and tls.key."""
        return self.cluster.state / self.binary / "k8s-webhook-server" / "serving-certs"

    def start(self, health: int, *words: str) -> None:
        """Start the operator, and wait until it and its webhooks are ready. `health` is its probes' port on 127.0.0.1.

        Raises DidNotStart.
        """
        api = self.cluster.api
        apply_crds(api, read(self.crds))
        api.apply(namespace(self.namespace))
        if self.service:
            api.apply(*self.service.objects())
            pair = self.service.certificate(self.cluster.authority)
            self.certificates.mkdir(parents=True, exist_ok=True)
            shutil.copy(pair.certificate, self.certificates / "tls.crt")
            shutil.copy(pair.key, self.certificates / "tls.key")
        self.cluster.run(
            self.binary,
            *words,
            is_ready=lambda: _answers(health),
            environment={"KUBECONFIG": str(self.cluster.kubeconfig), **self.environment},
        )
        # Last: from now on no object of its kinds is created without it.
        api.apply(*self._webhooks())

    def stop(self) -> None:
        api = self.cluster.api
        for kind in self.made:
            api.delete_all(*kind)
        for obj in self._webhooks():
            api.delete(obj)
        self.cluster.end(self.binary)
        remove_crds(api, read(self.crds))
        api.remove(namespace(self.namespace))

    def _webhooks(self) -> list[Json]:
        if not self.service or not self.hooks:
            return []
        found = webhooks(read(self.hooks), self.service, self.cluster.authority)
        for obj in found:
            obj["metadata"] = {"name": f"{self.namespace}-{obj['metadata']['name']}"}
        return found


def free_health_port() -> int:
    return processes.free_port("127.0.0.1")


def _answers(health: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{health}/readyz", timeout=2).ok
    except requests.RequestException:
        return False
