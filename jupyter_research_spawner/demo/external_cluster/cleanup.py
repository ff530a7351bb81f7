"""Remove the demo from an external cluster: pods, files on the node, namespace, volumes, priority classes."""

from __future__ import annotations

from ...shape import Json
from ..cluster_api import Api
from ..demo_cluster import CannotStart
from . import demo_manifests, pod_waiting

SECONDS = 60.0
# Volumes are deleted after their claims, which are deleted with the namespace.
CLUSTER_SCOPED = (("v1", "PersistentVolume"), ("scheduling.k8s.io/v1", "PriorityClass"))


async def clean(api: Api, owner: str) -> list[str]:
    """Delete all objects with the label of `owner`, and the files on the node.  Return what could not be deleted.

    Raises CannotStart if the cluster does not answer.
    """
    left: list[str] = []
    namespace = await api.find("v1", "Namespace", demo_manifests.NAMESPACE)
    if namespace is not None and is_owned(namespace, owner):
        # In a namespace that is being deleted, the pod that deletes the files cannot be created.
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
    """Return whether the node may have files of the demo.  It has none if no container of the pod PREPARE started."""
    prepare = await api.find("v1", "Pod", demo_manifests.PREPARE, demo_manifests.NAMESPACE)
    if prepare is None:  # the pod may have been deleted after it had created files
        return True
    begun = prepare.get("status", {}).get("initContainerStatuses", [])
    return any({"running", "terminated"} & status.get("state", {}).keys() for status in begun)


async def _end_pods(api: Api) -> None:
    """Delete all jobs and pods, so that nothing writes to the storage.  If a pod remains, delete it by force."""
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
        return [f"the directory {directory} on node {run.hostname}; remove it there with rm -r ({error})"]
    return []


async def _remove(api: Api, obj: Json) -> list[str]:
    await api.delete(obj)
    if await pod_waiting.gone(api, obj, SECONDS):
        return []
    kind, name = obj["kind"], obj["metadata"]["name"]
    return [f"the {kind} {name}, whose deletion takes longer than {SECONDS:.0f} s"]
