"""Manifests of the demo on an external cluster: namespace, storage on one node, and two pods that run as root.

All objects have the label OWNER, so that a demo deletes only the objects that it created.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...shape import Json
from .. import shared_storage, storage_layout
from ..demo_cluster import CannotStart
from . import network_probe
from .node_choice import HOSTNAME

NAMESPACE = "research-demo"
OWNER = f"{NAMESPACE}/owner"
NODE, RUN, IMAGE = f"{NAMESPACE}/node", f"{NAMESPACE}/run", f"{NAMESPACE}/image"
# Most operating systems clean this directory, so that files of a killed demo do not stay forever.
NODE_TMP = "/tmp"  # noqa: S108 - a path on the node; the directory below it has a random name
PROBE_PORT = 8888  # the port of notebooks
PREPARE, CLEAN = "prepare-storage", "clean-node"


@dataclass(frozen=True)
class Run:
    """One run of the demo on one node.  `hostname` is the node's label kubernetes.io/hostname.

    `owner` identifies the demo and is the same in later runs.  `number` is random and hexadecimal.  `image` is the
    image of the demo's pods.  An annotation of the namespace has it, so that a later run can clean up with it.
    """

    owner: str
    number: str
    hostname: str
    image: str

    @property
    def directory(self) -> str:
        """Return the name of the directory on the node that contains the storage."""
        return f"{NAMESPACE}-{self.number}"

    @property
    def labels(self) -> dict[str, str]:
        return {"app.kubernetes.io/part-of": NAMESPACE, OWNER: self.owner}

    def metadata(self, name: str) -> Json:
        return {"name": name, "namespace": NAMESPACE, "labels": self.labels}


def run_of(found: Json) -> Run:
    """Return the run that created this namespace.  Raises CannotStart if its annotations were changed."""
    metadata = found["metadata"]
    owner, written = metadata.get("labels", {}).get(OWNER), metadata.get("annotations", {})
    if owner is None or not {NODE, RUN, IMAGE} <= written.keys() or not re.fullmatch("[0-9a-f]{8}", written[RUN]):
        raise CannotStart(
            f"The annotations of the namespace {NAMESPACE} were changed, so the demo cannot find its files on a node. "
            f"Delete the namespace: kubectl delete namespace {NAMESPACE}"
        )
    return Run(owner, written[RUN], written[NODE], written[IMAGE])


def namespace(run: Run) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            # Two pods of the demo mount a hostPath, which Pod Security Admission would refuse at a stricter level.
            "labels": {**run.labels, "pod-security.kubernetes.io/enforce": "privileged"},
            "annotations": {NODE: run.hostname, RUN: run.number, IMAGE: run.image},
        },
    }


def account(run: Run) -> Json:
    """Return the default ServiceAccount.  The cluster's controller would create it too late for the first pod."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": run.metadata("default")}


def volumes(run: Run) -> list[Json]:
    """Return the PersistentVolumeClaims, each with a volume that is a directory of the node."""
    return [found for claim in shared_storage.CLAIMS for found in (_volume(claim, run), _claim(claim, run))]


SPACE = {"storage": "1Gi"}  # required, but without effect on a hostPath volume


def _volume(claim: str, run: Run) -> Json:
    on_node = {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [run.hostname]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{NAMESPACE}-{claim}", "labels": run.labels},
        "spec": {
            "capacity": SPACE,
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": f"{NODE_TMP}/{run.directory}/{claim}", "type": "Directory"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": NAMESPACE,
                "name": claim,
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [on_node]}},
        },
    }


def _claim(claim: str, run: Run) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": run.metadata(claim),
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": f"{NAMESPACE}-{claim}",
            "resources": {"requests": SPACE},
        },
    }


def prepare(run: Run, entries: Sequence[Json], hub: str, word: str) -> Json:
    """Return the pod that creates the homes as root, and then checks the network as the user nobody.

    For the check, it sends `word` to `hub` (HOST:PORT) and to the first client that connects to it.
    """
    own: Json = {"path": ".", "mode": 0o755, "uid": 0, "gid": 0}
    told = {"ROOT": f"/node/{run.directory}", "ENTRIES": json.dumps([own, *entries])}
    reaches = {
        **_python("probe", run.image, network_probe.__file__, {"HUB": hub, "WORD": word, "PORT": str(PROBE_PORT)}),
        "securityContext": {
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    reaches["env"].append({"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    makes = _root("lay-out", run.image, storage_layout.__file__, told)
    return _pod(PREPARE, run, initContainers=[makes], containers=[reaches])


REMOVE = "import os, shutil; path = os.environ['REMOVED']; os.path.lexists(path) and shutil.rmtree(path)"


def clean(run: Run) -> Json:
    """Return the pod that removes the storage from the node."""
    return _pod(CLEAN, run, containers=[_root("remove", run.image, None, {"REMOVED": f"/node/{run.directory}"})])


def _pod(name: str, run: Run, **containers: list[Json]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": run.metadata(name),
        "spec": {
            **containers,
            "volumes": [{"name": "node", "hostPath": {"path": NODE_TMP, "type": "Directory"}}],
            "nodeSelector": {HOSTNAME: run.hostname},
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
        },
    }


def _root(name: str, image: str, script: str | None, env: dict[str, str]) -> Json:
    """Return a container that runs as root, with only the capabilities that it needs to create files."""
    return {
        **_python(name, image, script, env),
        "volumeMounts": [{"name": "node", "mountPath": "/node"}],
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"]},
        },
    }


def _python(name: str, image: str, script: str | None, env: dict[str, str]) -> Json:
    return {
        "name": name,
        "image": image,
        # The image's working directory may be a home directory that this user cannot enter.
        "workingDir": "/",
        "command": ["python3", "-c", REMOVE if script is None else Path(script).read_text()],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
