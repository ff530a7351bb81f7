"""The demo's own objects on a given cluster: its namespace, storage on one node, and two pods that run as root.

Pure.  Everything carries the label OWNER, so that what a demo made is found again, by that demo alone.
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
# Of the node.  Whatever else befalls it, this is emptied one day.
NODE_TMP = "/tmp"  # noqa: S108 - on the node, and the name below it is this demo's own
PROBE_PORT = 8888  # as notebooks' own
PREPARE, CLEAN = "prepare-storage", "clean-node"


@dataclass(frozen=True)
class Run:
    """One tour on one node, by the value of its kubernetes.io/hostname.

    `owner` is whose demo it is, also after it was killed; `number` is in hexadecimal, and nobody can guess it before.
    `image` is that of its pods, so that what ran before can also clean up.
    """

    owner: str
    number: str
    hostname: str
    image: str

    @property
    def directory(self) -> str:
        """Where the storage lies, below NODE_TMP of the node."""
        return f"{NAMESPACE}-{self.number}"

    @property
    def labels(self) -> dict[str, str]:
        return {"app.kubernetes.io/part-of": NAMESPACE, OWNER: self.owner}

    def metadata(self, name: str) -> Json:
        return {"name": name, "namespace": NAMESPACE, "labels": self.labels}


def run_of(found: Json) -> Run:
    """Which run made this namespace.  Raises CannotStart when it does not say so any more."""
    metadata = found["metadata"]
    owner, written = metadata.get("labels", {}).get(OWNER), metadata.get("annotations", {})
    if owner is None or not {NODE, RUN, IMAGE} <= written.keys() or not re.fullmatch("[0-9a-f]{8}", written[RUN]):
        raise CannotStart(
            f"The annotations of the namespace {NAMESPACE} were changed, so where its files lie is unknown. "
            f"Remove it: kubectl delete namespace {NAMESPACE}"
        )
    return Run(owner, written[RUN], written[NODE], written[IMAGE])


def namespace(run: Run) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            # Two pods of the demo reach a directory of the node itself; people's pods are checked by the hub.
            "labels": {**run.labels, "pod-security.kubernetes.io/enforce": "privileged"},
            "annotations": {NODE: run.hostname, RUN: run.number, IMAGE: run.image},
        },
    }


def account(run: Run) -> Json:
    """The namespace's default ServiceAccount, which a controller makes a moment too late for the first pod."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": run.metadata("default")}


def volumes(run: Run) -> list[Json]:
    """Each claim with the directory of the node that it is."""
    return [found for claim in shared_storage.CLAIMS for found in (_volume(claim, run), _claim(claim, run))]


SPACE = {"storage": "1Gi"}  # asked of nobody: a hostPath has no limit


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
    """Lays out the storage as root; then, as nobody, says `word` to `hub` (HOST:PORT) and to whoever calls it."""
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
    """Removes the storage from the node."""
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
    """Root over files alone."""
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
        # An image's own may be a home that nobody else may enter.
        "workingDir": "/",
        "command": ["python3", "-c", REMOVE if script is None else Path(script).read_text()],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
