"""What a site needs in a cluster before its first pod: a namespace, shared directories, priority classes."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub import SITE
from rig.api import Api, Json, namespace, until
from rig.cluster import Cluster

from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.site import Site

NOTEBOOK = "localhost/rig/notebook:1"
JOB = "localhost/rig/job:1"
# name: (uid, gid) as in SITE
PEOPLE = {"alice": (20001, 20001), "bob": (20002, 20600)}
CLIMATE = 20500


@dataclass(frozen=True)
class Ground:
    """A namespace of a cluster with the claims of SITE, and the directories that they are on this machine."""

    cluster: Cluster
    namespace: str
    home: Path
    climate: Path

    def pods(self) -> list[Json]:
        return self.cluster.api.all_of("v1", "Pod", self.namespace)

    def clean(self) -> None:
        """Nothing that ran here is left."""
        kinds = [("batch/v1", "Job"), ("v1", "Pod")]
        for kind in kinds:
            for obj in self.cluster.api.all_of(*kind, self.namespace):
                self.cluster.api.delete(obj, gracePeriodSeconds=0)
        for kind in kinds:
            self.cluster.api.delete_all(*kind, self.namespace)

    def site(self, **changes: Any) -> Json:
        """SITE in this namespace with an image that this cluster has, and the top-level settings in `changes`."""
        site = copy.deepcopy(SITE)
        site["namespaces"]["name"] = self.namespace
        for profile in site["profiles"].values():
            profile["images"] = {"default": NOTEBOOK}
        return {**site, **changes}


@contextmanager
def ground(cluster: Cluster, name: str, storage: Path) -> Iterator[Ground]:
    """Make it, and take it away again.  Homes belong to their people, mode 0700; climate to its group, 2770."""
    home, climate = storage / "home", storage / "climate"
    for person, (uid, gid) in PEOPLE.items():
        (home / person).mkdir(parents=True)
        (home / person).chmod(0o700)
        os.chown(home / person, uid, gid)
    climate.mkdir()
    os.chown(climate, 0, CLIMATE)
    climate.chmod(0o2770)
    storage.chmod(0o755)
    found = Ground(cluster, name, home, climate)
    api = cluster.api
    api.apply(namespace(name), *_volume(name, "home", home), *_volume(name, "project-climate", climate))
    api.apply(*everything(Site.model_validate(found.site()), Release(), only=["priorities"]))
    until(lambda: api.find("v1", "ServiceAccount", "default", name), "the namespace has its ServiceAccount")
    try:
        yield found
    finally:
        _remove(api, found)
        shutil.rmtree(storage)


def _volume(namespace_: str, claim: str, path: Path) -> list[Json]:
    """A claim that is this directory of the node (a PersistentVolume of kind hostPath, bound by name)."""
    name = f"{namespace_}-{claim}"
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            **common,
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": str(path), "type": "Directory"},
            "claimRef": {"name": claim, "namespace": namespace_},
        },
    }
    asked = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim, "namespace": namespace_},
        "spec": {**common, "volumeName": name, "resources": {"requests": {"storage": "1Gi"}}},
    }
    return [volume, asked]


def _remove(api: Api, ground: Ground) -> None:
    for pod in ground.pods():
        api.delete(pod, gracePeriodSeconds=1)
    until(lambda: not ground.pods(), f"no pod is left in {ground.namespace}")
    volumes = [f"{ground.namespace}-{claim}" for claim in ("home", "project-climate")]
    api.remove(namespace(ground.namespace))
    api.remove(*({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}} for name in volumes))
