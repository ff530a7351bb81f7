"""Takes away what a demo made on a given cluster: pods, files on the node, namespace, volumes, priorities."""

from __future__ import annotations

from ...shape import Json
from ..api import Api
from ..ground import CannotStart
from . import objects, pods

SECONDS = 90.0
# Volumes after the claims that hold them, which go with the namespace.
CLUSTER_SCOPED = (("v1", "PersistentVolume"), ("scheduling.k8s.io/v1", "PriorityClass"))


async def clean(api: Api, owner: str, image: str) -> list[str]:
    """By what the cluster itself says is `owner`'s, so that also goes what was made when nobody heard of it.

    What is left, with the command that removes it.  Raises CannotStart when the cluster does not answer.
    """
    left: list[str] = []
    namespace = await api.find("v1", "Namespace", objects.NAMESPACE)
    if namespace is not None and is_owned(namespace, owner):
        # One that is going is past this: no pod can be made in it any more.
        if not namespace["metadata"].get("deletionTimestamp"):
            await _end_pods(api)
            left += await _clean_node(api, owner, namespace["metadata"]["annotations"][objects.NODE], image)
        left += await _remove(api, namespace)
    for api_version, kind in CLUSTER_SCOPED:
        for found in await api.list(api_version, kind, labelSelector=f"{objects.OWNER}={owner}"):
            left += await _remove(api, found)
    return left


def is_owned(obj: Json, owner: str) -> bool:
    return bool(obj["metadata"].get("labels", {}).get(objects.OWNER) == owner)


async def _end_pods(api: Api) -> None:
    """Nobody writes to the storage any more.  Pods that stay are told by the namespace that stays with them."""
    for job in await api.list("batch/v1", "Job", objects.NAMESPACE):
        await api.delete(job)

    async def none_left() -> bool | None:
        found = await api.list("v1", "Pod", objects.NAMESPACE)
        for pod in found:
            if not pod["metadata"].get("deletionTimestamp"):
                await api.delete(pod, grace_seconds=1)
        return None if found else True

    await pods.until(none_left, SECONDS)


async def _clean_node(api: Api, owner: str, hostname: str, image: str) -> list[str]:
    try:
        await api.create(objects.clean(owner, hostname, image))
        await pods.ended(api, objects.CLEAN, SECONDS)
    except CannotStart as error:
        directory = objects.directory(owner)
        return [f"the directory {directory} on node {hostname} ({error}). Remove it there: rm -r {directory}"]
    return []


async def _remove(api: Api, obj: Json) -> list[str]:
    await api.delete(obj)
    if await pods.gone(api, obj, SECONDS):
        return []
    kind, name = obj["kind"], obj["metadata"]["name"]
    return [f"the {kind} {name}, which is still going after {SECONDS:.0f} s: kubectl get {kind.lower()} {name} -o yaml"]
