"""The values that manifests require in addition to the settings, for example the image of the batch service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..shape import Json
from ..site import Site

# The label of the chart's own pods (zero-to-jupyterhub 4 and later).
CHART_COMPONENT = "app.kubernetes.io/component"
BATCH = "research-batch"
BATCH_PORT = 8080


@dataclass(frozen=True)
class HubVolume:
    """A volume of the hub's pod that the batch service mounts too, and its mount, as in a PodSpec."""

    volume: Json
    mount: Json


@dataclass(frozen=True)
class Release:
    """Names and addresses of the hub's installation.  The defaults are those of the zero-to-jupyterhub chart.

    `namespace` is the namespace of the hub; None means the namespace of the pods.  `config_maps` maps names of
    ConfigMaps to the paths where the batch service mounts them, for example for passwd and group files that the
    settings refer to.  `hub_volumes` are volumes of the hub that the batch service mounts too, and `pull_secrets` are
    the names of the Secrets with which its image is pulled.  `job_networks` are private networks (CIDRs) that jobs may
    reach.  `storage_networks` are the networks of file servers, which neither jobs nor notebooks may reach.
    """

    batch_image: str | None = None
    namespace: str | None = None
    hub_service_account: str = "hub"
    hub_url: str = "http://hub:8081"
    base_url: str = "/"
    token_secret: str = "hub"  # noqa: S105 - the name of a Secret
    config_maps: Mapping[str, str] = field(default_factory=dict)
    hub_volumes: tuple[HubVolume, ...] = ()
    pull_secrets: tuple[str, ...] = ()
    job_networks: tuple[str, ...] = ()
    storage_networks: tuple[str, ...] = ()

    def namespace_of(self, site: Site) -> str:
        """Return the namespace of the hub and the batch service."""
        return self.namespace or site.namespaces.name


def labels(component: str) -> dict[str, str]:
    """Return the labels of an object.  `kubectl get -l` can select by them."""
    return {
        "app.kubernetes.io/name": "research-spawner",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "research-spawner",
    }


def metadata(name: str, component: str, namespace: str | None = None) -> Json:
    """Return the metadata of an object; `namespace` is None for a cluster-scoped object."""
    found: Json = {"name": name, "labels": labels(component)}
    return found if namespace is None else {"name": name, "namespace": namespace, "labels": found["labels"]}
