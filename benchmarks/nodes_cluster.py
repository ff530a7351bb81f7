"""The process that nodes.py starts: `python -m benchmarks.nodes_cluster DIRECTORY NODES PODS`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from rig import processes, states
from rig.api import Api, namespace, until
from rig.cluster import Cluster
from rig.controllers.kwok import TAINT, Kwok
from rig.programs import Programs

from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.site import Site, load

from . import decide, sides
from .nodes import Run
from .processes import cpu_seconds
from .sides import Json

SCHEDULER, API_SERVER = "kube-scheduler", "kube-apiserver"
SETTLE_SECONDS = 900.0
THREADS = 4


async def _measured(directory: Path, nodes: int, pods: int) -> list[Run]:
    people = sides.usernames(pods)
    made = {side: await decide.manifests(directory, side, people) for side in sides.SIDES}
    built = Programs()
    # Not below the temporary `directory`, because after a kill the next run must find this directory to clean up.
    with states.claim("bench"):
        cluster = Cluster.start(states.directory("bench") / "cluster", built.binary, built.source)
        try:
            _prepare(cluster.api, load(sides.site(directory, "plain")))
            kwok = Kwok.start(cluster)
            names = [f"node-{number:05}" for number in range(nodes)]
            kwok.add(names, {"cpu": "4", "memory": "16Gi", "pods": "110"}, {}, SETTLE_SECONDS)
            return [_run(cluster, side, _named(made[side], number)) for number, side in enumerate(sides.SIDES)]
        finally:
            cluster.stop()


def _prepare(api: Api, site: Site) -> None:
    """Create the objects to which the pods refer: a namespace, bound claims and priority classes."""
    api.apply(namespace(sides.NAMESPACE), *everything(site, Release(), only=["priorities"]))
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    room = {"storage": "1Gi"}
    for claim in sides.CLAIMS:
        name = {"name": claim, "namespace": sides.NAMESPACE}
        volume = {**common, "capacity": room, "hostPath": {"path": "/nowhere"}, "claimRef": name}
        asked = {**common, "volumeName": claim, "resources": {"requests": room}}
        api.apply(
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": claim}, "spec": volume},
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": name, "spec": asked},
        )

    def are_bound() -> bool:
        found = api.all_of("v1", "PersistentVolumeClaim", sides.NAMESPACE)
        has_account = api.find("v1", "ServiceAccount", "default", sides.NAMESPACE) is not None
        return has_account and all(claim["status"].get("phase") == "Bound" for claim in found)

    until(are_bound, "the claims are bound", seconds=SETTLE_SECONDS)


def _named(manifests: Sequence[Json], run: int) -> list[Json]:
    """Return the pods with names of their own run: kwok deletes by name, and a late request would reach a new pod."""
    return [
        {**manifest, "metadata": {**manifest["metadata"], "name": f"{manifest['metadata']['name']}-{run}"}}
        for manifest in manifests
    ]


def _run(cluster: Cluster, side: str, manifests: Sequence[Json]) -> Run:
    api = cluster.api

    def all_run() -> bool:
        found = api.all_of("v1", "Pod", sides.NAMESPACE, fieldSelector="status.phase=Running")
        return len(found) == len(manifests)

    before, begun = _used(cluster), time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(partial(_create, cluster), (manifests[first::THREADS] for first in range(THREADS))))
    until(all_run, f"{len(manifests)} pods of {side}'s run", seconds=SETTLE_SECONDS, every=0.5)
    wall, after = time.monotonic() - begun, _used(cluster)
    api.call("DELETE", f"/api/v1/namespaces/{sides.NAMESPACE}/pods")
    until(lambda: not api.all_of("v1", "Pod", sides.NAMESPACE), "no pod is left", seconds=SETTLE_SECONDS, every=1)
    scheduler, server = (after[name] - before[name] for name in (SCHEDULER, API_SERVER))
    return Run(side, len(manifests), scheduler, server, wall)


def _create(cluster: Cluster, manifests: Sequence[Json]) -> None:
    plane = cluster.plane
    api = Api(plane.url, str(plane.authority.certificate), pair=plane.administrator)  # one for each thread
    for manifest in manifests:
        tolerations = [*manifest["spec"].get("tolerations", []), {"key": TAINT["key"], "operator": "Exists"}]
        api.create({**manifest, "spec": {**manifest["spec"], "tolerations": tolerations}})


def _used(cluster: Cluster) -> dict[str, float]:
    """Return the CPU seconds that each process of the cluster has used so far."""
    return {one.name: cpu_seconds(one.pid) for one in processes.running(cluster.state)}


if __name__ == "__main__":
    where, *counts = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):  # the cluster prints messages while it starts
        measured = asyncio.run(_measured(Path(where), *map(int, counts)))
    print(json.dumps([run.as_json() for run in measured]))
