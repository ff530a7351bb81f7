"""Takes away what a demo made on a given cluster: pods, files on the node, namespace, volumes, priorities."""

from __future__ import annotations

from ...shape import Json
from ..cluster_api import Api
from ..demo_cluster import CannotStart
from . import demo_manifests, pod_waiting

SECONDS = 60.0
# Volumes after the claims that hold them, which go with the namespace.
CLUSTER_SCOPED = (("v1", "PersistentVolume"), ("scheduling.k8s.io/v1", "PriorityClass"))


async def clean(api: Api, owner: str) -> list[str]:
    """By what the cluster itself says is `owner`'s, so that also goes what was made when nobody heard of it.

    Returns what is left.  Raises CannotStart when the cluster does not answer.
    """
    left: list[str] = []
    namespace = await api.find("v1", "Namespace", demo_manifests.NAMESPACE)
    if namespace is not None and is_owned(namespace, owner):
        # One that is going is past this: no pod can be made in it any more.
        if not namespace["metadata"].get("deletionTimestamp"):
            on_node = await _is_on_node(api)
            await _end_pods(api)
            left += await _clean_node(api, demo_manifests.run_of(namespace)) if on_node else []
        left += await _remove(api, namespace)
    for api_version, kind in CLUSTER_SCOPED:
        for found in await api.list(api_version, kind, labelSelector=f"{demo_manifests.OWNER}={owner}"):
            left += await _remove(api, found)
    return left


def is_owned(obj: Json, owner: str) -> bool:
    return bool(obj["metadata"].get("labels", {}).get(demo_manifests.OWNER) == owner)


async def _is_on_node(api: Api) -> bool:
    """Whether there may be files on the node.  Where an image cannot be fetched, no pod can look either."""
    prepare = await api.find("v1", "Pod", demo_manifests.PREPARE, demo_manifests.NAMESPACE)
    if prepare is None:  # a demo that was killed may have come further
        return True
    begun = prepare.get("status", {}).get("initContainerStatuses", [])
    return any({"running", "terminated"} & status.get("state", {}).keys() for status in begun)


async def _end_pods(api: Api) -> None:
    """Nobody writes to the storage any more.  Pods of a node that is dead are taken from the API by force."""
    for job in await api.list("batch/v1", "Job", demo_manifests.NAMESPACE):
        await api.delete(job)
    for grace_seconds in (1, 0):

        async def none_left(grace_seconds: int = grace_seconds) -> bool | None:
            found = await api.list("v1", "Pod", demo_manifests.NAMESPACE)
            for pod in found:
                if pod["metadata"].get("deletionGracePeriodSeconds") != grace_seconds:
                    await api.delete(pod, grace_seconds)
            return None if found else True

        if await pod_waiting.until(none_left, SECONDS):
            return


async def _clean_node(api: Api, run: demo_manifests.Run) -> list[str]:
    try:
        await api.create(demo_manifests.clean(run))
        await pod_waiting.ended(api, demo_manifests.CLEAN, SECONDS)
    except CannotStart as error:
        await _end_pods(api)
        directory = f"{demo_manifests.NODE_TMP}/{run.directory}"
        return [f"the directory {directory} on node {run.hostname}, which rm -r removes there ({error})"]
    return []


async def _remove(api: Api, obj: Json) -> list[str]:
    await api.delete(obj)
    if await pod_waiting.gone(api, obj, SECONDS):
        return []
    kind, name = obj["kind"], obj["metadata"]["name"]
    return [f"the {kind} {name}, which is still going after {SECONDS:.0f} s"]
