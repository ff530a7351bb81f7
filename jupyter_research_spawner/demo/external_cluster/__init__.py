"""Run the demo on an existing cluster, such as kind, k3s or `make cluster`, on one node that is large enough.

All objects of the demo have the label demo_manifests.OWNER and are deleted at the end.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import jupyterhub

from ...manifests import Release, everything
from ...settings.units import format_bytes, format_cores
from ...shape import Json
from ...site import Site, load
from .. import shared_storage
from ..cluster_api import Api, Conflict, connected
from ..demo_cluster import BatchNode, CannotStart, People, PreparedCluster, Say, settings
from . import cleanup, demo_manifests, network_check, node_choice, pod_waiting

# `make cluster` builds this image.  On other clusters the demo uses an image with the same JupyterHub version.
OWN_IMAGE = "localhost/rig/notebook:1"
PUBLIC_IMAGE = f"quay.io/jupyter/base-notebook:hub-{jupyterhub.__version__}"
# Alice's kernel, which has a quarter of a CPU, takes seconds to submit her job.  Bob's jobs must run longer than that.
JOB_SECONDS = 30
_IMAGES_SECONDS = 45.0


class LeftBehind(CannotStart):
    """Objects of the demo remain on the cluster.  The message lists them and says how to delete them."""


@dataclass(frozen=True)
class ExternalCluster:
    """The cluster of a kubeconfig.

    `kubeconfig` is one path or several, as in $KUBECONFIG.  `image` contains jupyterhub-singleuser and python3.
    """

    kubeconfig: str
    image: str | None = None

    @property
    def announced(self) -> str:
        return f"Preparing the cluster of {self.kubeconfig} ..."

    @contextlib.asynccontextmanager
    async def prepared(self, state: Path, people: People, say: Say) -> AsyncIterator[PreparedCluster]:
        kubeconfig = _absolute(self.kubeconfig)
        owner = _owner(state)
        async with connected(kubeconfig) as api:
            say(f"The cluster at {api.url} runs Kubernetes {await api.version()}.")
            await _sweep(api, owner, say)
            chosen = node_choice.choose(await api.list("v1", "Node"), await api.list("v1", "Pod"))
            found = node_choice.sizes(chosen)
            say(node_choice.derived(chosen, found))
            image = self.image or await _image(api, chosen, say)
            say(f"Notebooks and jobs use the image {image}.")
            address = network_check.address_towards(chosen.address)
            written = settings(_settings(chosen, found, image))
            site = load(written)
            wanted = await _wanted(api, site)
            run = demo_manifests.Run(owner, secrets.token_hex(4), chosen.hostname, image)
            async with _removed_at_the_end(api, owner, say):
                await api.create(demo_manifests.namespace(run))
                with contextlib.suppress(Conflict):  # the service account controller was faster
                    await api.create(demo_manifests.account(run))
                for obj in (*demo_manifests.volumes(run), *(_marked(obj, run) for obj in wanted)):
                    await api.create(obj)
                await _prepare(api, run, chosen, people, address, say)
                yield PreparedCluster(
                    kubeconfig=kubeconfig,
                    settings=written,
                    site=site,
                    address=address,
                    batch=_batch(chosen, found),
                    where=f"Pods run as containers on node {chosen.name}",
                )


def _absolute(kubeconfig: str) -> str:
    paths = [os.path.abspath(Path(path).expanduser()) for path in kubeconfig.split(os.pathsep) if path]  # noqa: PTH100
    if not any(Path(path).is_file() for path in paths):
        raise CannotStart(f"The kubeconfig {kubeconfig or '(an empty path)'} does not exist.")
    return os.pathsep.join(paths)


async def _image(api: Api, chosen: node_choice.Node, say: Say) -> str:
    """Return the image for notebooks and jobs: OWN_IMAGE if the node has it, else PUBLIC_IMAGE.

    Wait until the kubelet has reported the node's images, at most _IMAGES_SECONDS.
    """
    if not chosen.images:
        say("The node has not reported its images yet. Waiting for it ...")

    async def told() -> Json | None:
        there = await api.find("v1", "Node", chosen.name)
        return there if there and there["status"].get("images") else None

    there = await pod_waiting.until(told, _IMAGES_SECONDS)
    return OWN_IMAGE if there and OWN_IMAGE in node_choice.images(there) else PUBLIC_IMAGE


def _owner(state: Path) -> str:
    """Return the random identifier in `state`, by which a run finds and deletes the objects of earlier runs."""
    file = state / "owner"
    if not file.exists():
        file.write_text(secrets.token_hex(4))
    return file.read_text()


def _settings(chosen: node_choice.Node, found: node_choice.Sizes, image: str) -> Json:
    """Return site settings that place all pods on this node, with sizes that fit on it, and only profiles that do."""
    offered = settings()["profiles"]
    here = {
        "images": {**dict.fromkeys(offered["small"]["images"]), "default": image},
        "pod": {"nodeSelector": {"pool": None, node_choice.HOSTNAME: chosen.hostname}},
    }
    return {
        "namespaces": {"name": demo_manifests.NAMESPACE},
        "profiles": {
            **dict.fromkeys(offered),
            "small": {
                **here,
                "cpu": format_cores(found.notebook_cpu),
                "memory": format_bytes(node_choice.NOTEBOOK_MEMORY),
            },
            "half-node": {**here, "cpu": format_cores(found.job_cpu), "memory": format_bytes(node_choice.JOB_MEMORY)},
        },
    }


def _batch(chosen: node_choice.Node, found: node_choice.Sizes) -> BatchNode:
    rest = chosen.free_cpu - node_choice.NOTEBOOKS * found.notebook_cpu
    told = f"The notebooks leave {node_choice.cpus(rest)} of node {chosen.name}."
    return BatchNode(told, node_choice.cpus(found.job_cpu), JOB_SECONDS)


async def _sweep(api: Api, owner: str, say: Say) -> None:
    """Delete the objects of an earlier run.  Raises CannotStart if someone else created the namespace."""
    there = await api.find("v1", "Namespace", demo_manifests.NAMESPACE)
    if there is not None and not cleanup.is_owned(there, owner):
        whose = "another demo" if demo_manifests.OWNER in there["metadata"].get("labels", {}) else "someone else"
        raise CannotStart(
            f"The namespace {demo_manifests.NAMESPACE} already exists and was created by {whose}. "
            f"If nobody needs it, delete it: kubectl delete namespace {demo_manifests.NAMESPACE}"
        )
    if there is not None:
        say("Deleting the namespace of an earlier demo that was killed ...")
    if left := await cleanup.clean(api, owner):
        raise LeftBehind(f"Objects of an earlier demo could not be removed: {'; '.join(left)}.")


async def _wanted(api: Api, site: Site) -> list[Json]:
    """Return the PriorityClasses and the ConfigMaps for notebooks, except those that the cluster has already.

    Raises CannotStart if a priority class exists with another value.
    """
    missing = []
    for obj in everything(site, Release(), only=("priorities", "client")):
        metadata = obj["metadata"]
        there = await api.find(obj["apiVersion"], obj["kind"], metadata["name"], metadata.get("namespace"))
        if there is None:
            missing.append(obj)
        elif there.get("value") != obj.get("value"):
            raise CannotStart(
                f"{obj['kind']} {metadata['name']} already exists with the value {there.get('value')}, but the demo "
                f"needs {obj.get('value')}. Someone else created it, so use another cluster."
            )
    return missing


def _marked(obj: Json, run: demo_manifests.Run) -> Json:
    metadata = obj["metadata"]
    return {**obj, "metadata": {**metadata, "labels": {**metadata["labels"], **run.labels}}}


@contextlib.asynccontextmanager
async def _removed_at_the_end(api: Api, owner: str, say: Say) -> AsyncIterator[None]:
    """Delete the demo's objects when the context ends.

    If objects remain, raises LeftBehind; if the context ends with another exception, only prints the message.
    """
    try:
        yield
    except BaseException:
        if sentence := await _remove(api, owner, say):
            say(sentence)
        raise
    if sentence := await _remove(api, owner, say):
        raise LeftBehind(sentence)


async def _remove(api: Api, owner: str, say: Say) -> str:
    """Delete the demo's objects.  Return a sentence about the objects that remain; "" if none remain."""
    say("\nRemoving the demo from the cluster ...")
    try:
        left = await cleanup.clean(api, owner)
    except CannotStart as error:
        kinds = ",".join(kind.lower() for _, kind in cleanup.CLUSTER_SCOPED)
        return (
            f"The demo's objects could not be deleted: {error} When the cluster answers, start the demo again, or run: "
            f"kubectl delete namespace {demo_manifests.NAMESPACE}; "
            f"kubectl delete {kinds} -l {demo_manifests.OWNER}={owner}"
        )
    if left:
        return f"These objects remain on the cluster: {'; '.join(left)}."
    say("The demo is removed from the cluster: namespace, volumes, priority classes, files on the node.")
    return ""


async def _prepare(
    api: Api, run: demo_manifests.Run, chosen: node_choice.Node, people: People, address: str, say: Say
) -> None:
    """Create the homes on the storage, and check that pods and this machine can connect to each other."""
    word = secrets.token_hex(8)
    async with network_check.listening(address, word) as ear:
        entries = shared_storage.entries(people, owned=True)
        await api.create(demo_manifests.prepare(run, entries, ear.address, word))
        pod = await pod_waiting.address_of(api, demo_manifests.PREPARE, say)
        await network_check.both_ways(ear, chosen, pod, demo_manifests.PROBE_PORT, word)
    await pod_waiting.ended(api, demo_manifests.PREPARE, cleanup.SECONDS)
    say(f"Pods can connect to this machine at {address}, and this machine can connect to pods (tried: {pod}).")
