"""MPIJobs of the MPI operator: a launcher and two workers."""

from __future__ import annotations

from typing import Any

from rig.api import Json
from rig.cluster import Cluster
from rig.controllers.mpi import API, MpiOperator
from rig.node import Node

from . import Composed, Kind, Kinds, conditions, template, weigh

LAUNCHER = ("spec", "mpiReplicaSpecs", "Launcher", "template")
WORKER = ("spec", "mpiReplicaSpecs", "Worker", "template")
NAMES = ("launcher", "worker-0", "worker-1")
RUNNING = {"Created": "MPIJobCreated", "Running": "MPIJobRunning"}


def mpi_job(kinds: Kinds, name: str, *, launcher: str = "Never", worker: str = "Never", **policy: Any) -> Composed:
    """A launcher and two workers, with these restart policies."""
    replicas = {
        "Launcher": {"replicas": 1, "restartPolicy": launcher, "template": template("launcher")},
        "Worker": {"replicas": 2, "restartPolicy": worker, "template": template("worker")},
    }
    manifest = {
        "apiVersion": API,
        "kind": "MPIJob",
        "metadata": {"name": name},
        "spec": {
            "slotsPerWorker": 1,
            "sshAuthMountPath": "/tmp/ssh",
            "runPolicy": {"cleanPodPolicy": "Running", **policy},
            "mpiReplicaSpecs": replicas,
        },
    }
    return kinds.compose("mpi", manifest, {LAUNCHER: "launcher", WORKER: "worker"})


def operator(cluster: Cluster, node: Node) -> MpiOperator:
    return MpiOperator.start(cluster)


def weighed(kinds: Kinds, name: str, leader: str, worker: str) -> Composed:
    return weigh(weigh(mpi_job(kinds, name, backoffLimit=0), LAUNCHER, leader), WORKER, worker)


def says_running(job: Json) -> bool:
    return "Running" in conditions(job)


KIND = Kind("MPIJob", (operator,), weighed, NAMES, leader="launcher", worker="worker-0", knows=says_running)
