"""What all spawners of one hub process share: the Site, who people are, what the cluster is known to have, the pacing.

Traitlets copies whatever stands in a configuration deeply, once per server (a resolver in it would lose its cache, a
lock could not be copied).  So the configuration holds only a key, and this module the rest.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from pathlib import Path

from kubernetes_asyncio.client import ApiClient

from ..identity import Resolver
from ..schedulers import SCHEDULERS
from ..site import Site
from ..watch import OwnedObjectCache, Prerequisites
from ..watch.api_server import ApiServer
from . import resume
from .pacing import Pacing

# Pods of a former hub process that start again at once after a restart; each is a spawn for the hub.
RESUMED_AT_ONCE = 10


class Installation:
    """One Site in one process."""

    def __init__(self, site: Site, base: Path | None = None) -> None:
        self.site = site
        self.resolver = Resolver(site.identity, base)
        self.pacing = Pacing(site.hub.concurrent_starts)
        self.resuming = asyncio.Semaphore(RESUMED_AT_ONCE)
        self.has_warned = False
        self._prerequisites: dict[int, Prerequisites] = {}
        self._owned_objects: dict[int, OwnedObjectCache] = {}

    def prerequisites(self, api: ApiClient) -> Prerequisites:
        """The cache of what exists, one per client (there is one client per event loop)."""
        return self._prerequisites.setdefault(id(api), Prerequisites(api, self.site.hub.prerequisites_cache))

    def owned_objects(self, api: ApiClient) -> OwnedObjectCache:
        """What the scheduler keeps about pods, followed from the first call on, one per client."""
        if id(api) not in self._owned_objects:
            watched = SCHEDULERS[self.site.scheduler.kind].watched
            owned_objects = self._owned_objects[id(api)] = OwnedObjectCache(
                ApiServer(api), self.site.namespaces.name, watched
            )
            resume.in_background(owned_objects.run())
        return self._owned_objects[id(api)]


_INSTALLATIONS: dict[str, Installation] = {}


def register(site: Site, base: Path | None = None) -> str:
    """Keep `site` for this process.  Returns the key for `ResearchSpawner.installation`.  Idempotent."""
    key = f"{site.digest}-{hashlib.sha256(str((base or Path()).absolute()).encode()).hexdigest()[:8]}"
    if key not in _INSTALLATIONS:
        _INSTALLATIONS[key] = Installation(site, base)
    return key


def registered(key: str) -> Installation:
    """Raises LookupError with a sentence when `configure` was not called in this process."""
    try:
        return _INSTALLATIONS[key]
    except KeyError:
        raise LookupError(
            "ResearchSpawner has no settings. Call jupyter_research_spawner.configure(c, site) in jupyterhub_config.py "
            "instead of setting spawner_class alone."
        ) from None


def adoption_secret(cookie_secret: bytes | None) -> bytes:
    """The hub's secret for adoption keys: derived, so that a key on a pod says nothing about the hub's cookies."""
    if not cookie_secret:
        return b""
    return hmac.new(cookie_secret, b"research-spawner adoption", hashlib.sha256).digest()
