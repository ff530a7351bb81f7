"""Deletes pods of this hub that no server claims: they would use their resources until their wall time.

The pod of a start is left, for example, if the hub could not start its server again after a restart. A pod is claimed
while its server runs, starts or stops, or is to be started again. Only pods that this hub's database can have created
count (`pod_owner`), and only while the hub's watch of pods works.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiException, CoreV1Api, V1DeleteOptions, V1Preconditions
from kubespawner import KubeSpawner

from ..shape import Json
from .pod_owner import is_of_this_database, server_of
from .process_state import ProcessState
from .reflectors import watch_pods

log = logging.getLogger(__name__)

LONGEST_SECONDS_BETWEEN_LOOKS = 60.0
# How often a pod is found unclaimed during `hub.unclaimed_limit` before it is deleted.
_LOOKS_PER_LIMIT = 4


@dataclass
class UnclaimedTimes:
    """For how long pods have been unclaimed without a break, in this process.

    The times do not depend on the clock of the machine, and begin again when the hub starts again.
    """

    after: timedelta
    clock: Callable[[], float] = time.monotonic
    _since: dict[str, float] = field(default_factory=dict)

    def due(self, unclaimed: Iterable[Json]) -> list[Json]:
        """Take the pods that are unclaimed now. Return those that have been unclaimed for `after`."""
        now, before = self.clock(), self._since
        pods = list(unclaimed)
        self._since = {uid: before.get(uid, now) for uid in map(_uid, pods)}
        for pod in pods:
            if _uid(pod) not in before:
                log.warning("No server claims %s. It is deleted after %s", _described(pod), self.after)
        return [pod for pod in pods if now - self._since[_uid(pod)] >= self.after.total_seconds()]


@dataclass(frozen=True)
class HubServers:
    """The servers of the hub: those in its memory, those in its database, and those that will be started again."""

    users: Any
    secret: bytes
    resuming: set[tuple[str, str]]

    def unclaimed(self, pods: Iterable[Json]) -> Iterator[Json]:
        """Yield the pods that this hub's database can have created, and that no server claims."""
        places = {
            (spawner.namespace, spawner.pod_name)
            for user in self.users.values()
            for spawner in user.spawners.values()
            if spawner.active
        }
        for pod in pods:
            if "deletionTimestamp" not in pod["metadata"] and _place(pod) not in places and self._is_unclaimed(pod):
                yield pod

    def _is_unclaimed(self, pod: Json) -> bool:
        from jupyterhub import orm  # noqa: PLC0415 - the hub's database layer takes a second to import

        name, server = server_of(pod)
        if not name or (name, server) in self.resuming:
            return False
        row = orm.User.find(self.users.db, name)
        if row is None or not is_of_this_database(self.secret, row, pod):
            return False
        found = row.orm_spawners.get(server)
        if found is None or found.server is None:
            return True
        state = found.state or {}
        # A server without a known place claims the pod.
        return (state.get("namespace"), state.get("pod_name")) not in (_place(pod), (None, None))


async def delete_unclaimed_pods(spawner: KubeSpawner, shared: ProcessState) -> None:
    """Look for unclaimed pods and delete them, until the task is cancelled. The spawner is any one of the hub."""
    limits = shared.site.hub
    if limits.unclaimed_pods == "keep":
        return
    times = UnclaimedTimes(limits.unclaimed_limit)
    hub = HubServers(spawner.hub_settings["users"], spawner.hub_secret, shared.resuming_servers)
    every = min(LONGEST_SECONDS_BETWEEN_LOOKS, limits.unclaimed_limit.total_seconds() / _LOOKS_PER_LIMIT)
    while True:
        await asyncio.sleep(every)
        try:
            reflector = await watch_pods(spawner, limit_seconds=None)
            if reflector.lost_since is not None:
                continue
            for pod in times.due(hub.unclaimed(list(reflector.resources.values()))):
                # A server can have claimed it while another pod was deleted.
                if any(hub.unclaimed([pod])):
                    await _delete(spawner.api, pod, limits.unclaimed_limit, spawner.k8s_api_request_timeout)
        except Exception:  # an error about one pod must not keep the others
            log.exception("The search for pods that no server claims failed. It is repeated in %.0f s", every)


async def _delete(api: CoreV1Api, pod: Json, after: timedelta, request_seconds: float) -> None:
    namespace, name = _place(pod)
    log.warning(
        "Deleting %s, because no server of this hub has claimed it for %s. hub.unclaimed_pods: keep turns this off",
        *(_described(pod), after),
    )
    body = V1DeleteOptions(preconditions=V1Preconditions(uid=_uid(pod)))
    try:
        await api.delete_namespaced_pod(name, namespace, body=body, _request_timeout=request_seconds)
    except ApiException as error:
        if error.status not in (404, 409):  # 409: the pod has another uid now
            log.error("Pod %s/%s could not be deleted: HTTP %s %s", namespace, name, error.status, error.reason)
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        log.error("Pod %s/%s could not be deleted: %r", namespace, name, error)


def _described(pod: Json) -> str:
    user, server = server_of(pod)
    created = pod["metadata"].get("creationTimestamp", "an unknown time")
    return f"pod {'/'.join(_place(pod))}, created at {created} for server {server!r} of {user!r}"


def _place(pod: Json) -> tuple[str, str]:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def _uid(pod: Json) -> str:
    return str(pod["metadata"].get("uid"))
