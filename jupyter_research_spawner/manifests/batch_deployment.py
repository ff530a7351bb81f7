"""Create the ConfigMap, Service and Deployment of the batch service.  The module `rbac` creates its roles.

The batch service is an external JupyterHub service with the token that the chart generates for `hub.services.batch`.
"""

from __future__ import annotations

import yaml

from ..shape import OUR_PREFIX, Json
from ..site import Site
from .release import BATCH, BATCH_PORT, Release, labels, metadata

SERVICE_NAME = "batch"
SETTINGS = "/etc/research-spawner"
# The key in the chart's Secret (templates/hub/secret.yaml).
TOKEN_KEY = f"hub.services.{SERVICE_NAME}.apiToken"
SELECTOR = {"app.kubernetes.io/name": "research-spawner", "app.kubernetes.io/component": "batch"}


def objects(site: Site, release: Release) -> list[Json]:
    """Return the objects of the batch service.  Raises ValueError if no image is set."""
    if release.batch_image is None:
        raise ValueError("the batch service requires an image with this package; the hub's image is suitable")
    hub_namespace = release.namespace_of(site)
    return [_settings(site, hub_namespace), _service(hub_namespace), _deployment(site, release, hub_namespace)]


def _settings(site: Site, hub_namespace: str) -> Json:
    """Return the ConfigMap with the merged settings.  Settings contain no secrets, only references to them."""
    written = site.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(BATCH, "batch", hub_namespace),
        "data": {"site.yaml": yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=100)},
    }


def _service(hub_namespace: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(BATCH, "batch", hub_namespace),
        "spec": {"selector": SELECTOR, "ports": [{"name": "http", "port": BATCH_PORT, "targetPort": "http"}]},
    }


def _deployment(site: Site, release: Release, hub_namespace: str) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(BATCH, "batch", hub_namespace),
        "spec": {
            # Only one replica: each process has its own memory of uids, and counts a user's requests itself.
            "replicas": 1,
            "selector": {"matchLabels": SELECTOR},
            "template": {
                "metadata": {
                    # The chart's network policy allows pods with the second label to reach the hub.
                    "labels": {**labels("batch"), "hub.jupyter.org/network-access-hub": "true"},
                    # A change of the settings restarts the pod.
                    "annotations": {OUR_PREFIX + "site": site.digest},
                },
                "spec": _pod(release),
            },
        },
    }


def _pod(release: Release) -> Json:
    sources: list[Json] = [{"name": "settings", "configMap": {"name": BATCH}}]
    mounts: list[Json] = [{"name": "settings", "mountPath": SETTINGS, "readOnly": True}]
    for index, (name, path) in enumerate(sorted(release.config_maps.items())):
        sources.append({"name": f"files-{index}", "configMap": {"name": name}})
        # The whole directory is mounted, because a file mounted by subPath is never updated while the pod runs.
        mounts.append({"name": f"files-{index}", "mountPath": path, "readOnly": True})
    shared = {found.volume["name"]: found.volume for found in release.hub_volumes}
    sources += shared.values()
    mounts += [found.mount for found in release.hub_volumes]
    pull_secrets = {"imagePullSecrets": [{"name": name} for name in release.pull_secrets]}
    return {
        **(pull_secrets if release.pull_secrets else {}),
        "serviceAccountName": BATCH,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            # The chart's hub image has a user name, but the kubelet checks runAsNonRoot only for numeric uids.
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": SERVICE_NAME,
                "image": release.batch_image,
                "command": ["python3", "-m", "jupyter_research_spawner.batch"],
                "args": ["--site", f"{SETTINGS}/site.yaml"],
                "env": _environment(release),
                "ports": [{"name": "http", "containerPort": BATCH_PORT}],
                "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "readinessProbe": _probe(release, every=5),
                "livenessProbe": _probe(release, every=30),
                "volumeMounts": [*mounts, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in a pod of its own
            }
        ],
        "volumes": [*sources, {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }


def _prefix(release: Release) -> str:
    return f"{release.base_url.rstrip('/')}/services/{SERVICE_NAME}/"


def _probe(release: Release, every: int) -> Json:
    return {
        "httpGet": {"path": _prefix(release) + "health", "port": "http"},
        "periodSeconds": every,
        "timeoutSeconds": 3,
        "failureThreshold": 3,
    }


def _environment(release: Release) -> list[Json]:
    """Return the environment that the hub gives to a managed service (jupyterhub/services/service.py)."""
    base = release.base_url.rstrip("/")
    plain = {
        "JUPYTERHUB_SERVICE_NAME": SERVICE_NAME,
        "JUPYTERHUB_SERVICE_PREFIX": _prefix(release),
        "JUPYTERHUB_SERVICE_URL": f"http://[::]:{BATCH_PORT}",
        "JUPYTERHUB_CLIENT_ID": f"service-{SERVICE_NAME}",
        "JUPYTERHUB_BASE_URL": f"{base}/",
        "JUPYTERHUB_API_URL": f"{release.hub_url.rstrip('/')}{base}/hub/api",
        # A service without these scopes accepts every token of the hub.
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": f'["access:services!service={SERVICE_NAME}"]',
    }
    token: Json = {
        "name": "JUPYTERHUB_API_TOKEN",
        "valueFrom": {"secretKeyRef": {"name": release.token_secret, "key": TOKEN_KEY}},
    }
    return [token, *({"name": name, "value": value} for name, value in plain.items())]
