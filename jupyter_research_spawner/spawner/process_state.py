"""The objects that all spawners of a hub process share: site, identity resolver, caches, and limit of starts.

The trait `installation` is only a key, and this module keeps the objects. traitlets makes a deep copy of each
configured value for each server, so a resolver would lose its cache, and a lock cannot be copied.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubernetes_asyncio.client import ApiClient

from ..form import FormBuilder
from ..identity import Resolver
from ..schedulers import SCHEDULERS, Place
from ..shape import Json
from ..site import Site
from ..watch import AcceptedUids, FreeCapacity, NodeCache, OwnedObjectCache, Prerequisites, QueuePlaces, offered_demands
from ..watch.api_server import ApiServer
from .background import run_in_background
from .deadline_writer import DeadlineWriter
from .end_recorder import MAX_READING_EVENTS
from .end_watch import MAX_NOTIFYING
from .pacing import Pacing
from .pod_changes import announce_related
from .start_recorder import StartRecorder

# The maximum number of interrupted starts that the hub requests at the same time after its restart.
MAX_RESUMING = 10
# After this time without a response of the API server, the user's options are refused.
PREREQUISITE_SECONDS = 10.0


class ProcessState:
    """The objects that the spawners of one site share in this process."""

    def __init__(self, site: Site, base: Path | None = None) -> None:
        self.site = site
        self.forms = FormBuilder(site)
        self.resolver = Resolver(site.identity, base)
        self.pacing = Pacing(site.hub.concurrent_starts)
        self.starts = StartRecorder(site)
        self.resuming = asyncio.Semaphore(MAX_RESUMING)
        self.notifying = asyncio.Semaphore(MAX_NOTIFYING)
        self.reading_events = asyncio.Semaphore(MAX_READING_EVENTS)
        # User and server of the interrupted starts that the hub has not requested yet.
        self.resuming_servers: set[tuple[str, str]] = set()
        # User and server of the starts whose pod from before the restart waits to be adopted.  A spawner could not
        # keep this, because JupyterHub makes a new one after each failed start.
        self.waiting_since_restart: set[tuple[str, str]] = set()
        self.has_background_work = False
        self._has_warned = False
        self._accepted_uids: dict[int, AcceptedUids] = {}
        self._prerequisites: dict[int, Prerequisites] = {}
        self._owned_objects: dict[int, OwnedObjectCache] = {}
        self._deadlines: dict[int, DeadlineWriter] = {}
        self._nodes: dict[int, NodeCache] = {}
        self._free_capacities: dict[int, FreeCapacity] = {}
        self._places: dict[int, QueuePlaces] = {}

    def identities(self, api: ApiClient) -> Resolver:
        """Return the resolver, which reads through this client which uids administrators have accepted."""
        if id(api) not in self._accepted_uids:
            server = ApiServer(api, answer_seconds=PREREQUISITE_SECONDS)
            self._accepted_uids[id(api)] = AcceptedUids(
                server, self.site.namespaces.name, self.site.identity.cache.uids
            )
        self.resolver.accepted = self._accepted_uids[id(api)].of
        return self.resolver

    def prerequisites(self, api: ApiClient) -> Prerequisites:
        """Return the cache of prerequisites that exist. Each client, and so each event loop, has its own cache."""
        if id(api) not in self._prerequisites:
            server = ApiServer(api, answer_seconds=PREREQUISITE_SECONDS)
            self._prerequisites[id(api)] = Prerequisites(server, self.site.hub.prerequisites_cache)
        return self._prerequisites[id(api)]

    def owned_objects(self, api: ApiClient) -> OwnedObjectCache:
        """Return the client's cache of the scheduler's objects. The first call for a client starts the watches."""
        if id(api) not in self._owned_objects:
            watched = SCHEDULERS[self.site.scheduler.kind].watched
            namespace = self.site.namespaces.name
            cache = OwnedObjectCache(ApiServer(api), namespace, watched, on_change=announce_related)
            self._owned_objects[id(api)] = cache
            run_in_background(cache.run())
        return self._owned_objects[id(api)]

    def deadlines(self, api: ApiClient) -> DeadlineWriter:
        """Return the client's writer of deadlines, which also knows the time at the API server."""
        if id(api) not in self._deadlines:
            server = ApiServer(api, answer_seconds=PREREQUISITE_SECONDS)
            self._deadlines[id(api)] = DeadlineWriter(server, self.site.hub.notices)
        return self._deadlines[id(api)]

    def nodes(self, api: ApiClient) -> NodeCache:
        """Return the client's cache of the sizes of nodes. The watch starts when a pod waits."""
        if id(api) not in self._nodes:
            self._nodes[id(api)] = NodeCache(ApiServer(api), can_grow=self.site.autoscaling)
        return self._nodes[id(api)]

    def free_capacity(self, api: ApiClient, added: Json) -> FreeCapacity:
        """Return what the client knows about free capacity. The watches start when a form is shown.

        added: the part of a PodSpec that KubeSpawner's settings add to all pods; the first call decides.
        """
        if id(api) not in self._free_capacities:
            offered = offered_demands(self.site, added)
            self._free_capacities[id(api)] = FreeCapacity(ApiServer(api), self.site, offered, self.nodes(api))
        return self._free_capacities[id(api)]

    async def place_of(self, api: ApiClient, pod: Json) -> Place | None:
        """Return the place of a pod in its queue, if its scheduler has an API for it."""
        scheduler = SCHEDULERS[self.site.scheduler.kind]
        if id(api) not in self._places:
            self._places[id(api)] = QueuePlaces(ApiServer(api), scheduler.ORDER, self.site.namespaces.name)
        (objects,) = await self._places[id(api)].added([self.owned_objects(api).of(pod)])
        return scheduler.status(pod, objects, ()).place

    def warn_of_spawn_limit(self, hub_settings: Mapping[str, Any], log: logging.Logger) -> None:
        """Log a warning once if `concurrent_spawn_limit`, which counts queued servers, was set after `configure`."""
        limit = hub_settings.get("concurrent_spawn_limit")
        if limit and not self._has_warned:
            self._has_warned = True
            log.warning(
                "c.JupyterHub.concurrent_spawn_limit is %s. Servers that wait in a queue count towards it, so users "
                "are told to try again later. Let configure() set it, and limit starts with hub.concurrent_starts",
                limit,
            )


_STATES: dict[str, ProcessState] = {}


def register_site(site: Site, base: Path | None = None) -> str:
    """Store `site` for this process and return the key for `ResearchSpawner.installation`.

    A second call with the same arguments returns the same key. Relative paths in the settings are relative to `base`.
    """
    key = f"{site.digest}-{hashlib.sha256(str((base or Path()).absolute()).encode()).hexdigest()[:8]}"
    if key not in _STATES:
        _STATES[key] = ProcessState(site, base)
    return key


def registered_state(key: str) -> ProcessState:
    """Return the state that `register_site` stored under `key`. Raises LookupError if the key is unknown."""
    try:
        return _STATES[key]
    except KeyError:
        raise LookupError(
            "ResearchSpawner has no settings. Call jupyter_research_spawner.configure(c, site) in jupyterhub_config.py "
            "instead of setting spawner_class alone."
        ) from None


def adoption_secret(cookie_secret: bytes | None) -> bytes:
    """Return the secret for adoption keys, derived from the hub's cookie secret; empty if the hub has none."""
    if not cookie_secret:
        return b""
    return hmac.new(cookie_secret, b"research-spawner adoption", hashlib.sha256).digest()
