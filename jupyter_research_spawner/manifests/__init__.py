"""The manifests of the cluster objects that a site requires, as plain dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..shape import Json
from ..site import Site
from . import batch_deployment, network, rbac
from .cluster_diff import difference, place_of
from .queue_manifests import queue_comments, queue_objects
from .release import HubVolume, Release
from .site_prerequisites import claim_templates, client_config_maps, priority_classes

# The objects are applied in this order, so that the batch service starts after its roles and network policies exist.
PARTS: dict[str, Callable[[Site, Release], list[Json]]] = {
    "priorities": priority_classes,
    "queues": queue_objects,
    "devices": claim_templates,
    "client": client_config_maps,
    "rbac": rbac.objects,
    "network": network.objects,
    "batch": batch_deployment.objects,
}


def everything(site: Site, release: Release, only: Iterable[str] = tuple(PARTS)) -> list[Json]:
    """Return the objects of the parts in `only`, for `kubectl apply -f -`.

    Raises ValueError with a message if `release` lacks a value that a part requires.
    """
    wanted = frozenset(only)
    return [found for part, objects in PARTS.items() if part in wanted for found in objects(site, release)]


__all__ = ["PARTS", "HubVolume", "Release", "difference", "everything", "place_of", "queue_comments"]
