"""What all pods of a site look for in the cluster: the same declarations that the hub checks before it starts one."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from ..identity import PosixIdentity
from ..prerequisite import Prerequisite, claim_prerequisites
from ..resources import Resources, gpu_prerequisites
from ..schedulers import SCHEDULERS, Placement
from ..shape import NOTEBOOK_KIND, Shape
from ..site import Site

# No scheduler's prerequisite depends on who asks or for how much.
_SOMEBODY = PosixIdentity("somebody", 65533, 65533, (), "/home/somebody", "/bin/sh", "nobody")
_LITTLE = Resources(Decimal(1), 2**30)


def priority_prerequisites(site: Site, priority: str) -> tuple[Prerequisite, ...]:
    """What the scheduler looks for in a pod of this priority: the same in each queue, but for the queue itself."""
    return _prerequisites(site, min(site.queues), priority)


def site_prerequisites(site: Site) -> tuple[Prerequisite, ...]:
    """Every queue's, every claim's and every profile's, sorted."""
    found: set[Prerequisite] = set()
    for name, queue in site.queues.items():
        found |= set(_prerequisites(site, name, queue.priority or site.default_priority))
    claims = {home.claim for home in site.storage.homes.values()}
    claims |= {mount.claim for mount in site.storage.mounts.values()}
    found |= set(claim_prerequisites(claims, site.namespaces.name))
    for profile in site.profiles.values():
        found |= set(gpu_prerequisites(profile.gpu, site.namespaces.name))
    return tuple(sorted(found, key=lambda one: (one.api_version, one.kind, one.name, one.namespace or "")))


def _prerequisites(site: Site, queue: str, priority: str) -> tuple[Prerequisite, ...]:
    placement = Placement(
        identity=_SOMEBODY,
        queue=queue,
        options=site.queues[queue].options(site.scheduler.kind),
        scheduler_name=site.scheduler.name,
        priority_class=site.priority_class(priority),
        priority_value=site.priorities[priority].value,
        preemptible=site.queues[queue].preemptible,
        wall_time_hard=timedelta(hours=1),
        resources=_LITTLE,
        shape=Shape(NOTEBOOK_KIND, "somebody"),
        run_id="none",
        namespace=site.namespaces.name,
    )
    return SCHEDULERS[site.scheduler.kind].prerequisites(placement)
