"""What controllers add to an API server: CRDs, and webhooks and aggregated APIs served by a process of this machine.

A Service without selector and an EndpointSlice to the machine's address stand for it; with
--enable-aggregator-routing=true the API server needs nobody to forward the Service's own address.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .api import Api, Json, documents, until
from .certificates import Authority, Pair

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
CONFIGURATIONS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
PORT_NAME = "https"  # of the Service and of the EndpointSlice: they are matched by it


@dataclass(frozen=True)
class HostService:
    """A Service whose one endpoint is a port of this machine."""

    namespace: str
    name: str
    address: str
    port: int
    service_port: int = 443

    @property
    def hosts(self) -> list[str]:
        """Return the host names that its certificate must have."""
        return [f"{self.name}.{self.namespace}.svc", f"{self.name}.{self.namespace}", self.address, "127.0.0.1"]

    def certificate(self, authority: Authority) -> Pair:
        return authority.pair(f"{self.namespace}-{self.name}", hosts=self.hosts)

    def objects(self) -> list[Json]:
        here = {"name": self.name, "namespace": self.namespace}
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": here,
            "spec": {"ports": [{"name": PORT_NAME, "port": self.service_port, "targetPort": self.port}]},
        }
        endpoints = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**here, "labels": {"kubernetes.io/service-name": self.name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [self.address], "conditions": {"ready": True}}],
            "ports": [{"name": PORT_NAME, "port": self.port, "protocol": "TCP"}],
        }
        return [service, endpoints]


def bundle(authority: Authority) -> str:
    """Return the `caBundle` of webhooks and APIServices."""
    return base64.b64encode(authority.certificate.read_bytes()).decode()


def read(*paths: Path) -> list[Json]:
    """Return all objects of these YAML files, and of the YAML files in these directories."""
    files = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    return documents(file.read_text() for file in files)


def apply_crds(api: Api, crds: Iterable[Json]) -> list[Json]:
    """Apply them and wait until the API server serves their kinds."""
    applied = api.apply(*(obj for obj in crds if obj["kind"] == CRD[1]))
    names = [crd["metadata"]["name"] for crd in applied]
    until(lambda: all(_is_established(api, name) for name in names), f"{', '.join(names)} are served")
    return applied


def remove_crds(api: Api, crds: Iterable[Json]) -> None:
    """Delete the CRDs among these objects, and wait until they are gone."""
    api.remove(*(crd for crd in crds if crd["kind"] == CRD[1]))


def _is_established(api: Api, name: str) -> bool:
    conditions = api.get(*CRD, name).get("status", {}).get("conditions") or []
    return any(found["type"] == "Established" and found["status"] == "True" for found in conditions)


def webhooks(
    objects: Iterable[Json], service: HostService, authority: Authority, only: Sequence[str] = ()
) -> list[Json]:
    """Return the webhook configurations among `objects`, calling `service`, with the hooks in `only` (or all)."""
    found = []
    for obj in objects:
        if obj["kind"] not in CONFIGURATIONS:
            continue
        hooks = [_called_at(hook, service, authority) for hook in obj["webhooks"] if not only or hook["name"] in only]
        if hooks:
            found.append({**obj, "webhooks": hooks})
    return found


def _called_at(hook: Json, service: HostService, authority: Authority) -> Json:
    called = hook["clientConfig"]["service"]
    reference = {"name": service.name, "namespace": service.namespace, "path": called.get("path", "/")}
    config = {"caBundle": bundle(authority), "service": {**reference, "port": service.service_port}}
    return {**hook, "clientConfig": config}
