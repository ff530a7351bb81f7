"""What a site needs in a cluster before its first pod: a namespace, shared directories and priority classes."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from directory_files import Directory
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
# A program of a job that ends well as soon as the test calls Ground.release.
UNTIL_RELEASED = ("sh", "-c", 'until [ -e "$HOME/released" ]; do sleep 0.1; done; echo done')


@dataclass(frozen=True)
class Ground:
    """A namespace of a cluster with the claims of SITE, and the directories that they are on this machine."""

    cluster: Cluster
    namespace: str
    home: Path
    climate: Path

    def pods(self) -> list[Json]:
        return self.cluster.api.all_of("v1", "Pod", self.namespace)

    def release(self, person: str = "alice") -> None:
        """Let the person's jobs of program UNTIL_RELEASED end."""
        (self.home / person / "released").touch()

    def make_homes(self) -> None:
        """Make the users' homes as they are at first, and remove everything else beside them."""
        for left in self.home.glob("*"):
            shutil.rmtree(left)
        for person, (uid, gid) in PEOPLE.items():
            (self.home / person).mkdir(parents=True)
            (self.home / person).chmod(0o700)
            os.chown(self.home / person, uid, gid)

    def clean(self) -> None:
        """Remove all pods and jobs, and wait until they are gone."""
        for person in PEOPLE:
            (self.home / person / "released").unlink(missing_ok=True)
        kinds = [("batch/v1", "Job"), ("v1", "Pod")]
        for kind in kinds:
            for obj in self.cluster.api.all_of(*kind, self.namespace):
                self.cluster.api.delete(obj, gracePeriodSeconds=0)
        for kind in kinds:
            self.cluster.api.delete_all(*kind, self.namespace)

    def directory(self, where: Path) -> Directory:
        """Return the people of SITE as files, which a test can edit."""
        passwd = "".join(f"{name}:x:{uid}:{gid}::/home/{name}:/bin/bash\n" for name, (uid, gid) in PEOPLE.items())
        return Directory.write(where, passwd, f"alice:x:20001:\nstudents:x:20600:\nclimate:x:{CLIMATE}:alice\n")

    def site(self, **changes: Any) -> Json:
        """SITE in this namespace with an image that this cluster has, and the top-level settings in `changes`."""
        site = copy.deepcopy(SITE)
        site["namespaces"]["name"] = self.namespace
        for profile in site["profiles"].values():
            profile["images"] = {"default": NOTEBOOK}
        return {**site, **changes}


@contextmanager
def ground(cluster: Cluster, name: str, storage: Path, *, leave: bool = False) -> Iterator[Ground]:
    """Make a ground, and remove it at the end. Homes belong to their users, mode 0700; climate to its group, 2770.

    leave: do not remove it, because its cluster is thrown away.
    """
    home, climate = storage / "home", storage / "climate"
    found = Ground(cluster, name, home, climate)
    found.make_homes()
    climate.mkdir()
    os.chown(climate, 0, CLIMATE)
    climate.chmod(0o2770)
    storage.chmod(0o755)
    api = cluster.api
    api.apply(namespace(name), *_volume(name, "home", home), *_volume(name, "project-climate", climate))
    api.apply(*everything(Site.model_validate(found.site()), Release(), only=["priorities"]))
    until(lambda: api.find("v1", "ServiceAccount", "default", name), "the namespace has its ServiceAccount")
    try:
        yield found
    finally:
        if not leave:
            _remove(api, found)
            shutil.rmtree(storage)


def _volume(namespace_: str, claim: str, path: Path) -> list[Json]:
    """Return a claim and its PersistentVolume, which is this directory of the node (hostPath, bound by name)."""
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
