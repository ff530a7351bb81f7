"""The objects of queues, as far as the settings describe them, and what administrators decide about the others."""

from __future__ import annotations

from collections.abc import Iterator

from ..schedulers import SCHEDULERS, QueueManifest
from ..settings import ordered
from ..shape import Json
from ..site import Site
from .release import Release, labels


def queue_objects(site: Site, release: Release) -> list[Json]:
    """Return one manifest for each queue object that the settings describe.

    Raises ValueError if two queues describe one object differently.
    """
    found: dict[tuple[str, str], tuple[str, Json]] = {}
    for queue, manifest in _manifests(site):
        if (one := manifest.object) is not None:
            key = one["kind"], one["metadata"]["name"]
            other, same = found.setdefault(key, (queue, one))
            if same != one:
                raise ValueError(f"queues {other} and {queue} describe {key[0]} {key[1]} differently")
    return [{**one, "metadata": {**one["metadata"], "labels": labels("queues")}} for _, one in found.values()]


def queue_comments(site: Site) -> list[str]:
    """Return sentences about what administrators create and decide for the queues."""
    return list(dict.fromkeys(manifest.comment for _, manifest in _manifests(site)))


def _manifests(site: Site) -> Iterator[tuple[str, QueueManifest]]:
    for name, queue in ordered(site.queues):
        share = queue.share if "share" in queue.model_fields_set else None
        manifest = SCHEDULERS[site.scheduler.kind].queue_manifest(site.queue_placement(name), share)
        if manifest is not None:
            yield name, manifest
