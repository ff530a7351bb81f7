"""Deletes pods that a server has left under another name or in another namespace.

While the hub was down, `namespaces.name`, `pod_name_template` or the user's name in the hub can have changed. The next
start of an interrupted server then has another place for its pod, and the old pod would never be deleted.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict, dataclass
from typing import Any

from kubernetes_asyncio.client import ApiException, CoreV1Api, V1DeleteOptions, V1Pod, V1Preconditions

from .pod_owner import is_of_this_hub, server_of

log = logging.getLogger(__name__)

SECONDS_BETWEEN_READS = 0.5


@dataclass(frozen=True)
class LeftPod:
    """The place of a pod that a server may have left. `user` is the user's name in the hub when the pod was created."""

    namespace: str
    name: str
    user: str
    server: str

    def as_state(self) -> dict[str, str]:
        """Return this place as JSON, for the hub's database."""
        return asdict(self)

    @staticmethod
    def from_state(saved: Any) -> list[LeftPod]:
        """Return the places in the hub's database; [] if they are not valid."""
        try:
            return [LeftPod(**place) for place in saved or ()]
        except TypeError:
            return []


async def delete_left_pod(
    api: CoreV1Api, left: LeftPod, secret: bytes, *, request_seconds: float, stop_seconds: float
) -> None:
    """Delete the pod at this place and wait until it is gone, if this hub has created it for the server that left it.

    Raises ApiException, aiohttp.ClientError or asyncio.TimeoutError.
    """
    pod = await _read(api, left, request_seconds)
    if pod is None or not _is_owned(pod, left, secret):
        return
    log.warning("Deleting pod %s/%s, which server %r of %s has left", left.namespace, left.name, left.server, left.user)
    uid = pod.metadata.uid
    body = V1DeleteOptions(grace_period_seconds=0, preconditions=V1Preconditions(uid=uid))
    try:
        await api.delete_namespaced_pod(left.name, left.namespace, body=body, _request_timeout=request_seconds)
    except ApiException as error:
        if error.status not in (404, 409):  # 409: the pod has another uid now
            raise
    await asyncio.wait_for(_is_gone(api, left, uid, request_seconds), stop_seconds)


async def _is_gone(api: CoreV1Api, left: LeftPod, uid: str, request_seconds: float) -> None:
    while True:
        pod = await _read(api, left, request_seconds)
        if pod is None or pod.metadata.uid != uid:
            return
        await asyncio.sleep(SECONDS_BETWEEN_READS)


async def _read(api: CoreV1Api, left: LeftPod, request_seconds: float) -> V1Pod | None:
    try:
        return await api.read_namespaced_pod(left.name, left.namespace, _request_timeout=request_seconds)
    except ApiException as error:
        if error.status == 404:
            return None
        raise


def _is_owned(pod: V1Pod, left: LeftPod, secret: bytes) -> bool:
    metadata = {"namespace": left.namespace, "name": left.name, "annotations": pod.metadata.annotations or {}}
    found = {"metadata": metadata}
    return server_of(found) == (left.user, left.server) and is_of_this_hub(secret, found)
