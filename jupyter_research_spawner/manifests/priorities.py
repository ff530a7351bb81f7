"""Priorities as the cluster knows them.  Contract: scheduling.k8s.io/v1, and Kueue's class of the same name."""

from __future__ import annotations

from ..shape import Json
from ..site import Site
from .release import Release, metadata
from .site_prerequisites import priority_prerequisites

# Both have a name, a value and a description at the top.
KINDS = ("PriorityClass", "WorkloadPriorityClass")


def objects(site: Site, release: Release) -> list[Json]:
    """One of each kind that the scheduler looks for.  A class that the site names itself is the site's own."""
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
        for prerequisite in sorted(priority_prerequisites(site, name))
        if prerequisite.kind in KINDS
    ]
