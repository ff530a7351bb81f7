"""What all pods of a site look for in the cluster: the same declarations that the hub checks before it starts one."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from ..identity import PosixIdentity
from ..plan.needs import of_claims, of_gpu
from ..resources import Resources
from ..schedulers import SCHEDULERS, Need, Placement
from ..shape import NOTEBOOK_KIND, Shape
from ..site import Site

# No scheduler's need depends on who asks or for how much.
_SOMEBODY = PosixIdentity("somebody", 65533, 65533, (), "/home/somebody", "/bin/sh", "nobody")
_LITTLE = Resources(Decimal(1), 2**30)


def of_priority(site: Site, priority: str) -> tuple[Need, ...]:
    """What the scheduler looks for in a pod of this priority: the same in each queue, but for the queue itself."""
    return _needs(site, min(site.queues), priority)


def of_site(site: Site) -> tuple[Need, ...]:
    """Every queue's, every claim's and every profile's, sorted."""
    found: set[Need] = set()
    for name, queue in site.queues.items():
        found |= set(_needs(site, name, queue.priority or site.default_priority))
    claims = {home.claim for home in site.storage.homes.values()}
    claims |= {mount.claim for mount in site.storage.mounts.values()}
    found |= set(of_claims(claims, site.namespaces.name))
    for profile in site.profiles.values():
        found |= set(of_gpu(profile.gpu, site.namespaces.name))
    return tuple(sorted(found, key=lambda need: (need.api_version, need.kind, need.name, need.namespace or "")))


def _needs(site: Site, queue: str, priority: str) -> tuple[Need, ...]:
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
    return SCHEDULERS[site.scheduler.kind].needs(placement)
