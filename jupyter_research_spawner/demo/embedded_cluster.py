"""Run the demo on an embedded cluster with three nodes.  Its storage is in directories of this machine.

The sizes of the nodes are only numbers for the scheduler: pods are processes of this machine, and there is no GPU.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from ..embedded import Cluster, NodeSpec, abilities
from ..manifests import Release, everything
from ..shape import Json
from ..site import load
from .demo_cluster import HERE, BatchNode, People, PreparedCluster, Say, settings
from .shared_storage import CLAIMS, entries
from .storage_layout import lay_out

# Two A100, and a third one that is divided.
GPUS = {"nvidia.com/gpu": "2", "nvidia.com/mig-1g.10gb": "7"}


def homes_on_this_machine(state: Path, homes: Path) -> Json:
    """Return settings with the homes at their paths on this machine, which pods without mounts see.

    Otherwise each job from a notebook has a warning: its directory is not in the home that the identity source names.
    """
    root = str(homes.resolve())
    if ":" in root:  # no line of passwd(5) can have such a path
        return {}
    passwd = state / "people.passwd"
    passwd.write_text((HERE / "people.passwd").read_text().replace(":/home/", f":{root}/"))
    return {
        "identity": {"sources": {"people": {"passwd": str(passwd.resolve())}}},
        "storage": {"homes": {"main": {"root": root}}},
    }


class EmbeddedCluster:
    """The embedded cluster, which this process starts."""

    announced = "Starting an embedded cluster, a JupyterHub and the batch service ..."

    @contextlib.asynccontextmanager
    async def prepared(self, state: Path, people: People, _: Say) -> AsyncIterator[PreparedCluster]:
        able = abilities()
        shared = state / "shared"
        written = settings() if able.namespaces else settings(homes_on_this_machine(state, shared / "home"))
        site = load(written)
        shutil.rmtree(shared, ignore_errors=True)
        shared.mkdir()
        lay_out(shared, entries(people, owned=able.namespaces))
        cluster = await Cluster.start(
            state / "cluster",
            nodes=[
                NodeSpec("interactive", cpu=16, memory="64Gi", labels={"pool": "interactive"}),
                NodeSpec("batch", cpu=4, memory="16Gi", labels={"pool": "batch"}),
                NodeSpec("gpu", cpu=32, memory="256Gi", labels={"pool": "gpu"}, resources=GPUS),
            ],
            namespace=site.namespaces.name,
            claims={name: shared / name for name in CLAIMS},
            expose=[HERE.parent.parent],
        )
        try:
            for manifest in everything(site, Release(), only=("priorities", "client")):
                await cluster.apply(manifest)
            yield PreparedCluster(
                kubeconfig=str(cluster.kubeconfig),
                settings=written,
                site=site,
                address="127.0.0.1",
                batch=BatchNode("The node for batch jobs has 4 CPUs.", "2 CPUs", seconds=8),
                where="Pods run in their own mount namespaces",
                shortcoming=able.reason,
                pods_are_root=able.root and not able.namespaces,
                pods_have_mounts=able.namespaces,
            )
        finally:
            await cluster.stop()
            shutil.rmtree(shared, ignore_errors=True)
