"""A site as cluster objects: what must exist before its pods do.  Pure: settings in, plain dicts out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..shape import Json
from ..site import Site
from . import batch_deployment, network, rbac
from .release import Release
from .site_prerequisites import claim_templates, client_config_map, priority_classes

# In the order in which they can be applied: the batch service comes last, when its rights and limits are there.
PARTS: dict[str, Callable[[Site, Release], list[Json]]] = {
    "priorities": priority_classes,
    "devices": claim_templates,
    "client": client_config_map,
    "rbac": rbac.objects,
    "network": network.objects,
    "batch": batch_deployment.objects,
}


def everything(site: Site, release: Release, only: Iterable[str] = tuple(PARTS)) -> list[Json]:
    """The objects of the parts named in `only`, for `kubectl apply -f -`.

    Raises ValueError with a sentence if a part lacks something that `release` should say.
    """
    wanted = frozenset(only)
    return [found for part, objects in PARTS.items() if part in wanted for found in objects(site, release)]


__all__ = ["PARTS", "Release", "everything"]
