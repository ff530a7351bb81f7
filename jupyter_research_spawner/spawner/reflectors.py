"""Reflectors for KubeSpawner that list once and then watch, and tell listeners about the changes.

KubeSpawner's own reflectors list everything again every 10 to 30 seconds, and end for ever, or end the hub, after
repeated failures. Written for the interface of kubespawner 7.1 (reflector.py, ResourceReflector).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from kubespawner import KubeSpawner
from kubespawner.reflector import ResourceReflector
from kubespawner.spawner import EventReflector, PodReflector
from traitlets import default

from ..refusal import Refusal
from ..shape import Json
from ..watch.api_server import ApiServer
from ..watch.follow import Change, follow
from .hub_errors import HubRefusal
from .pod_changes import PodChange, announce_related, is_followed, pod_listeners
from .pod_events import EventsByPod, pod_of_event

# After this time without the first list, a start is refused. The reflector still repeats the list.
FIRST_LIST_SECONDS = 10.0
SECONDS_AFTER_ERROR = 5.0
EVENTS_OF_A_PAGE = 500


class FollowingReflector(ResourceReflector):  # type: ignore[misc]
    """A reflector that `watch.follow` feeds. It never gives up, and never calls `on_failure`."""

    watch_task: asyncio.Task[None] | None
    resources: Any
    # Since when the API server does not answer, so that the resources can be old; None if they are up to date.
    lost_since: datetime | None = None
    # How many objects are listed at a time; None is all.
    page: int | None = None

    async def start(self) -> None:
        """Start the watch, and wait for the first list. Raises HubRefusal (503) as `require_list` does."""
        self.begin()
        await self.require_list(FIRST_LIST_SECONDS)

    def begin(self) -> None:
        """Start the watch, and do not wait for the first list."""
        if self.watch_task is None or self.watch_task.done():
            self.watch_task = asyncio.ensure_future(self._watch_and_update())

    async def require_list(self, limit_seconds: float | None) -> None:
        """Wait for the first list. Raises HubRefusal (503) if the API server does not answer it in time."""
        await asyncio.wait({self.first_load_future}, timeout=limit_seconds)
        if not self.first_load_future.done():
            raise HubRefusal(_not_listed(self.kind, self.namespace))

    async def restart(self) -> None:
        """List again, and watch from there. Raises HubRefusal (503) as `require_list` does."""
        await self.stop()
        self.first_load_future = asyncio.get_running_loop().create_future()
        await self.start()

    async def stop(self) -> None:
        """End the watch."""
        if self.watch_task is not None:
            self.watch_task.cancel()
            await asyncio.wait({self.watch_task})
        self.watch_task = None

    async def _watch_and_update(self) -> None:
        while True:
            await self._follow()
            await asyncio.sleep(SECONDS_AFTER_ERROR)

    async def _follow(self) -> None:
        where = "" if self.omit_namespace else f"/namespaces/{self.namespace}"
        selectors = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        query = {name: selector for name, selector in selectors.items() if selector}
        self.log.info("Watching %s in %s (%s)", self.kind, self.namespace, query)
        server, path = ApiServer(self.api.api_client), f"/api/v1{where}/{self.kind}"
        try:
            async for change in follow(server, path, query, page=self.page, keep=self._is_kept):
                self._take(change)
        except Exception:  # an error in our code or the client's must not end the watch
            self.log.exception("The watch of %s in %s failed", self.kind, self.namespace)

    def _take(self, change: Change) -> None:
        if change.kind == "lost":
            self.lost_since = datetime.now(timezone.utc)
            return
        self.lost_since = None
        if change.kind == "listed":
            self._take_list({_key(found): found for found in change.objects})
            return
        for found in change.objects:
            key = _key(found)
            if change.kind == "deleted":
                self.resources.pop(key, None)
            elif self._is_kept(found):
                self.resources[key] = found
            else:
                continue
            self._announce(found, is_deleted=change.kind == "deleted")

    def _take_list(self, listed: dict[str, Json]) -> None:
        known, self.resources = self.resources, listed
        if not self.first_load_future.done():
            self.first_load_future.set_result(None)
        for key, before in known.items():
            now = listed.get(key)
            if now is None or now["metadata"].get("uid") != before["metadata"].get("uid"):
                self._announce(before, is_deleted=True)
        for key, found in listed.items():
            if key not in known or _version(known[key]) != _version(found):
                self._announce(found, is_deleted=False)

    def _is_kept(self, found: Json) -> bool:
        """Return whether the hub needs this object."""
        return True

    def _announce(self, found: Json, *, is_deleted: bool) -> None:
        """Tell the listeners that this object was created, was changed or is gone."""


class FollowingPodReflector(FollowingReflector, PodReflector):  # type: ignore[misc]
    """The hub's pods, as KubeSpawner reads them."""

    def _announce(self, found: Json, *, is_deleted: bool) -> None:
        namespace, _, name = _key(found).partition("/")
        pod_listeners.announce((namespace, name), PodChange(found, is_deleted))
        announce_related(namespace, name)


class FollowingEventReflector(FollowingReflector, EventReflector):  # type: ignore[misc]
    """The events of the hub's pods, with an index by pod.

    Kubernetes cannot select events by the labels of their pod, and a namespace with batch jobs has many events of other
    pods. These are dropped as soon as they are read.
    """

    page = EVENTS_OF_A_PAGE
    # The hub's pods; None keeps the events of all pods.
    pods_of_hub: FollowingReflector | None = None

    @default("fields")
    def _only_of_pods(self) -> dict[str, str]:
        return {"involvedObject.kind": "Pod"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._resources = EventsByPod()
        super().__init__(*args, **kwargs)

    @property
    def resources(self) -> EventsByPod:
        return self._resources

    @resources.setter
    def resources(self, listed: Mapping[str, Json]) -> None:
        self._resources = EventsByPod(listed)

    def of(self, pod: str) -> list[Json]:
        """Return the events of the pod with this name, oldest first."""
        return self._resources.of(pod)

    def _is_kept(self, found: Json) -> bool:
        if self.pods_of_hub is None:
            return True
        namespace, name = pod_of_event(found)
        # The watch of the events can be ahead of that of the pods, but a start listens before it creates its pod.
        return f"{namespace}/{name}" in self.pods_of_hub.resources or is_followed(namespace, name)

    def _announce(self, found: Json, *, is_deleted: bool) -> None:
        if not is_deleted:
            announce_related(*pod_of_event(found))


async def watch_pods(
    spawner: KubeSpawner, *, restart: bool = False, limit_seconds: float | None = FIRST_LIST_SECONDS
) -> FollowingReflector:
    """Return the reflector of the hub's pods after its first list, and start it if it does not run.

    restart: whether to list again.  limit_seconds: how long to wait for the list; None is without a limit.
    Raises HubRefusal (503) if the API server does not answer in time.
    """
    reflector = _find(spawner, FollowingPodReflector, {"component": spawner.component_label})
    if restart:
        await reflector.restart()
    await reflector.require_list(limit_seconds)
    return reflector


async def watch_events(spawner: KubeSpawner) -> FollowingReflector:
    """Return the reflector of the events of the hub's pods, and start it if it does not run.

    This does not wait for the list: a start works without events, and a namespace can have tens of thousands of them.
    Raises HubRefusal (503) as `watch_pods` does.
    """
    return _find(spawner, FollowingEventReflector, {}, await watch_pods(spawner))


def _find(
    spawner: KubeSpawner,
    reflector_class: type[FollowingReflector],
    labels: dict[str, str],
    pods_of_hub: FollowingReflector | None = None,
) -> FollowingReflector:
    """Return the reflector of this class, which all spawners share, and start it if it does not run."""
    key, reflectors = spawner._get_reflector_key(reflector_class.kind), type(spawner).reflectors
    reflector: FollowingReflector | None = reflectors.get(key)
    if reflector is None:
        everywhere = spawner.enable_user_namespaces
        reflectors[key] = reflector = reflector_class(
            parent=spawner, namespace=spawner.namespace, omit_namespace=everywhere, labels=labels
        )
        if isinstance(reflector, FollowingEventReflector):
            reflector.pods_of_hub = pods_of_hub
    reflector.begin()
    return reflector


def _key(found: Json) -> str:
    metadata = found["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}"


def _version(found: Json) -> Any:
    return found["metadata"].get("resourceVersion")


def _not_listed(kind: str, namespace: str) -> Refusal:
    return Refusal(
        "watch-down",
        f"The hub cannot start servers at the moment, because it cannot list the {kind} in namespace {namespace!r}.",
        status=503,
        hint="Try again in a minute. If that does not help, ask your administrators: the hub's log has the reason.",
        retry_after=30,
    )
