"""A cluster that a kubeconfig gives, as the tour's ground: kind, k3s, `make cluster`, any with one node for the tour.

Everything that is made there carries this demo's mark, is validated strictly, and goes again at the end.
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

# What `make cluster` brings along; other clusters fetch one of the same JupyterHub.
OWN_IMAGE = "localhost/rig/notebook:1"
PUBLIC_IMAGE = f"quay.io/jupyter/base-notebook:hub-{jupyterhub.__version__}"
# A kernel with a quarter of a CPU takes some seconds to submit a job, and the jobs that wait for it must not be over.
JOB_SECONDS = 30
_IMAGES_SECONDS = 45.0


class LeftBehind(CannotStart):
    """Something stays on the cluster; the sentence says what, and how it is removed."""


@dataclass(frozen=True)
class ExternalCluster:
    """The demo's cluster, if a kubeconfig leads to one.

    `kubeconfig` is one path or several, as in $KUBECONFIG.  `image` has jupyterhub-singleuser and python3.
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
            say(f"It is Kubernetes {await api.version()} at {api.url}.")
            await _sweep(api, owner, say)
            chosen = node_choice.choose(await api.list("v1", "Node"), await api.list("v1", "Pod"))
            found = node_choice.sizes(chosen)
            say(node_choice.derived(chosen, found))
            image = self.image or await _image(api, chosen, say)
            say(f"Notebooks and jobs run the image {image}.")
            address = network_check.address_towards(chosen.address)
            written = settings(_settings(chosen, found, image))
            site = load(written)
            wanted = await _wanted(api, site)
            run = demo_manifests.Run(owner, secrets.token_hex(4), chosen.hostname, image)
            async with _removed_at_the_end(api, owner, say):
                await api.create(demo_manifests.namespace(run))
                with contextlib.suppress(Conflict):  # a controller was faster
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
        raise CannotStart(f"There is no kubeconfig at {kubeconfig or 'an empty path'}.")
    return os.pathsep.join(paths)


async def _image(api: Api, chosen: node_choice.Node, say: Say) -> str:
    """A kubelet (1.36) looks which images there are twice a minute, so one that has just begun knows none."""
    if not chosen.images:
        say("The node does not say yet which images it has; waiting for it ...")

    async def told() -> Json | None:
        there = await api.find("v1", "Node", chosen.name)
        return there if there and there["status"].get("images") else None

    there = await pod_waiting.until(told, _IMAGES_SECONDS)
    return OWN_IMAGE if there and OWN_IMAGE in node_choice.images(there) else PUBLIC_IMAGE


def _owner(state: Path) -> str:
    """Who we are on any cluster: the same after a run that was killed, so that the next one can sweep."""
    file = state / "owner"
    if not file.exists():
        file.write_text(secrets.token_hex(4))
    return file.read_text()


def _settings(chosen: node_choice.Node, found: node_choice.Sizes, image: str) -> Json:
    """Over the demo's site: this node alone, with pods as large as fit there."""
    here = {
        "images": {"default": image},
        "pod": {"nodeSelector": {"pool": None, node_choice.HOSTNAME: chosen.hostname}},
    }
    return {
        "namespaces": {"name": demo_manifests.NAMESPACE},
        "profiles": {
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
    told = f"The notebooks leave {node_choice.cpus(rest)} of node {chosen.name} free."
    return BatchNode(told, node_choice.cpus(found.job_cpu), JOB_SECONDS)


async def _sweep(api: Api, owner: str, say: Say) -> None:
    """What a killed run of this demo left.  Raises CannotStart where the namespace is somebody else's."""
    there = await api.find("v1", "Namespace", demo_manifests.NAMESPACE)
    if there is not None and not cleanup.is_owned(there, owner):
        whose = "another demo" if demo_manifests.OWNER in there["metadata"].get("labels", {}) else "somebody else"
        raise CannotStart(
            f"The cluster has a namespace {demo_manifests.NAMESPACE} that {whose} made. If nobody needs it, remove it: "
            f"kubectl delete namespace {demo_manifests.NAMESPACE}"
        )
    if there is not None:
        say("A demo that did not end in order left its namespace; it is removed first ...")
    if left := await cleanup.clean(api, owner):
        raise LeftBehind(f"What an earlier demo left cannot be removed: {'; '.join(left)}.")


async def _wanted(api: Api, site: Site) -> list[Json]:
    """The site's own objects that are not there yet.  Raises CannotStart where one says something else."""
    missing = []
    for obj in everything(site, Release(), only=("priorities", "client")):
        metadata = obj["metadata"]
        there = await api.find(obj["apiVersion"], obj["kind"], metadata["name"], metadata.get("namespace"))
        if there is None:
            missing.append(obj)
        elif there.get("value") != obj.get("value"):
            raise CannotStart(
                f"The cluster has a {obj['kind']} {metadata['name']} of value {there.get('value')}, but the demo needs "
                f"{obj.get('value')}. It belongs to somebody else: take another cluster."
            )
    return missing


def _marked(obj: Json, run: demo_manifests.Run) -> Json:
    metadata = obj["metadata"]
    return {**obj, "metadata": {**metadata, "labels": {**metadata["labels"], **run.labels}}}


@contextlib.asynccontextmanager
async def _removed_at_the_end(api: Api, owner: str, say: Say) -> AsyncIterator[None]:
    """Whatever happens in between.  Raises LeftBehind only where no other error is under way."""
    try:
        yield
    except BaseException:
        if sentence := await _remove(api, owner, say):
            say(sentence)
        raise
    if sentence := await _remove(api, owner, say):
        raise LeftBehind(sentence)


async def _remove(api: Api, owner: str, say: Say) -> str:
    """What is left, as a sentence; empty when nothing is."""
    say("\nRemoving the demo from the cluster ...")
    try:
        left = await cleanup.clean(api, owner)
    except CannotStart as error:
        kinds = ",".join(kind.lower() for _, kind in cleanup.CLUSTER_SCOPED)
        return (
            f"The cluster could not be cleaned: {error} When it answers, start the demo once more, or: "
            f"kubectl delete namespace {demo_manifests.NAMESPACE}; "
            f"kubectl delete {kinds} -l {demo_manifests.OWNER}={owner}"
        )
    if left:
        return f"Left on the cluster: {'; '.join(left)}."
    say("Nothing of it is left there: no namespace, no volume, no priority, no file on the node.")
    return ""


async def _prepare(
    api: Api, run: demo_manifests.Run, chosen: node_choice.Node, people: People, address: str, say: Say
) -> None:
    """People's homes on the storage, and the proof that pods and this machine reach each other."""
    word = secrets.token_hex(8)
    async with network_check.listening(address, word) as ear:
        entries = shared_storage.entries(people, owned=True)
        await api.create(demo_manifests.prepare(run, entries, ear.address, word))
        pod = await pod_waiting.address_of(api, demo_manifests.PREPARE, say)
        await network_check.both_ways(ear, chosen, pod, demo_manifests.PROBE_PORT, word)
    await pod_waiting.ended(api, demo_manifests.PREPARE, cleanup.SECONDS)
    say(f"Pods reach this machine at {address}, and it reaches them (tried with {pod}).")
