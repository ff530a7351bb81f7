"""The prerequisites of all pods of a site, and the manifests of those that this project creates.

The manifests use the API versions of each scheduler's prerequisites.  Dynamic resource allocation uses
resource.k8s.io/v1 (Kubernetes 1.34 or later).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

from ..client.archive import build
from ..jobs import KINDS
from ..pod.client_commands import COMMANDS, client_config_map_name
from ..pod.notices import extension_files, notices_config_map_name
from ..prerequisite import Prerequisite, claim_prerequisites
from ..resources import DRA_API, DraGpu, gpu_prerequisites
from ..schedulers import SCHEDULERS, SELECTED_BY_PRIORITY
from ..shape import Json
from ..site import Site
from .release import Release, metadata


def site_prerequisites(site: Site) -> tuple[Prerequisite, ...]:
    """Return the sorted prerequisites of all queues, claims and profiles of the site, and of all kinds of jobs."""
    claims = {home.claim for home in site.storage.homes.values()}
    claims |= {mount.claim for mount in site.storage.mounts.values()}
    found = set(claim_prerequisites(claims, site.namespaces.name))
    for name in site.queues:
        found.update(_queue_prerequisites(site, name))
    for profile in site.profiles.values():
        found.update(gpu_prerequisites(profile.gpu, site.namespaces.name))
    for kind in KINDS.values():
        found.update(kind.PREREQUISITES)
    return tuple(sorted(found, key=lambda one: (one.api_version, one.kind, one.name, one.namespace or "")))


def priority_classes(site: Site, release: Release) -> list[Json]:
    """Return one manifest for each priority and each kind of priority class that the scheduler requires.

    A priority with the setting `class` is left out, because that class exists already.
    """
    return [
        {
            "apiVersion": prerequisite.api_version,
            "kind": prerequisite.kind,
            "metadata": metadata(prerequisite.name, "priorities"),
            "value": priority.value,
            "description": f"Priority {name} of the research spawner.",
        }
        for name, priority in sorted(site.priorities.items(), key=lambda item: (item[1].value, item[0]))
        if priority.class_ is None
        for prerequisite in _priority_prerequisites(site, name)
    ]


def claim_templates(site: Site, release: Release) -> list[Json]:
    """Return one ResourceClaimTemplate for each distinct claim.  Profiles with the same GPU settings share it."""
    gpus = {gpu.template: gpu for profile in site.profiles.values() if isinstance(gpu := profile.gpu, DraGpu)}
    return [
        {
            "apiVersion": DRA_API,
            "kind": "ResourceClaimTemplate",
            "metadata": metadata(name, "devices", site.namespaces.name),
            "spec": {"spec": gpu.claim_spec()},
        }
        for name, gpu in sorted(gpus.items())
    ]


def client_config_maps(site: Site, release: Release) -> list[Json]:
    """Return the ConfigMaps that notebooks mount: the client's commands, and the extension of JupyterLab.

    Their names contain a hash of their content, so that running notebooks keep the ConfigMaps of an earlier version.
    """
    content = base64.b64encode(build()).decode()
    return [
        _config_map(site, client_config_map_name(), {"binaryData": dict.fromkeys(COMMANDS, content)}),
        _config_map(site, notices_config_map_name(), {"data": dict(extension_files())}),
    ]


def _config_map(site: Site, name: str, content: Json) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(name, "client", site.namespaces.name),
        # Each content has its own name, so the kubelets need not watch for changes.
        "immutable": True,
        **content,
    }


def _queue_prerequisites(site: Site, queue: str, priority: str = "") -> tuple[Prerequisite, ...]:
    return SCHEDULERS[site.scheduler.kind].prerequisites(site.queue_placement(queue, priority))


def _priority_prerequisites(site: Site, priority: str) -> Iterator[Prerequisite]:
    """Yield the prerequisites that a priority selects.  They are the same in each queue.

    `value` and `description` are top-level fields of each of these kinds, as of PriorityClass.
    """
    for prerequisite in sorted(_queue_prerequisites(site, min(site.queues), priority)):
        if prerequisite.selected_by == SELECTED_BY_PRIORITY:
            yield prerequisite
