"""Priorities as the cluster knows them.  Contract: scheduling.k8s.io/v1, and Kueue's class of the same name."""

from __future__ import annotations

from ..shape import Json
from ..site import Site
from . import needs
from .release import Release, metadata

# Both have a name, a value and a description at the top.
KINDS = ("PriorityClass", "WorkloadPriorityClass")


def objects(site: Site, release: Release) -> list[Json]:
    """One of each kind that the scheduler looks for.  A class that the site names itself is the site's own."""
    return [
        {
            "apiVersion": need.api_version,
            "kind": need.kind,
            "metadata": metadata(need.name, "priorities"),
            "value": priority.value,
            "description": f"Priority {name} of the research spawner.",
        }
        for name, priority in sorted(site.priorities.items(), key=lambda item: (item[1].value, item[0]))
        if priority.class_ is None
        for need in sorted(needs.of_priority(site, name))
        if need.kind in KINDS
    ]
