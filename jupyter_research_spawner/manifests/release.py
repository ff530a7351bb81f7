"""What a site's settings do not say: where the hub was installed, and with which image the batch service runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..shape import Json
from ..site import Site

# As the chart labels its own pods (zero-to-jupyterhub 4 and later).
CHART_COMPONENT = "app.kubernetes.io/component"
BATCH = "research-batch"
BATCH_PORT = 8080


@dataclass(frozen=True)
class Release:
    """Names around a site; the defaults are zero-to-jupyterhub's.

    `namespace` is the hub's, by default the pods' own.  `config_maps` are mounted into the batch service
    (path by ConfigMap): files that the settings name, passwd and group for one.  `job_networks` are CIDRs that jobs
    may reach besides the internet.
    """

    batch_image: str | None = None
    namespace: str | None = None
    hub_service_account: str = "hub"
    hub_url: str = "http://hub:8081"
    base_url: str = "/"
    token_secret: str = "hub"  # noqa: S105 - the name of a Secret
    config_maps: Mapping[str, str] = field(default_factory=dict)
    job_networks: tuple[str, ...] = ()

    def namespace_of(self, site: Site) -> str:
        return self.namespace or site.namespaces.name


def labels(component: str) -> dict[str, str]:
    """On every object, so that `kubectl get -l app.kubernetes.io/name=research-spawner` finds them all."""
    return {
        "app.kubernetes.io/name": "research-spawner",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "research-spawner",
    }


def metadata(name: str, component: str, namespace: str | None = None) -> Json:
    """`namespace` is None for what is cluster-scoped."""
    found: Json = {"name": name, "labels": labels(component)}
    return found if namespace is None else {"name": name, "namespace": namespace, "labels": found["labels"]}
