"""The demo's own objects on a given cluster: its namespace, storage on one node, and two pods that run as root.

Pure.  Everything carries the label OWNER, so that what a demo made is found again, by that demo alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ...shape import Json
from .. import lay_out, storage
from . import probe
from .node import HOSTNAME, Node

NAMESPACE = "research-demo"
OWNER = f"{NAMESPACE}/owner"
NODE = f"{NAMESPACE}/node"
# Of the node.  Whatever else befalls it, this is emptied one day.
NODE_TMP = "/tmp"  # noqa: S108 - on the node, and the name below it is this demo's own
PROBE_PORT = 8888  # as notebooks' own
PREPARE, CLEAN = "prepare-storage", "clean-node"


def directory(owner: str) -> str:
    """Where the storage lies on the node."""
    return f"{NODE_TMP}/{NAMESPACE}-{owner}"


def labels(owner: str) -> dict[str, str]:
    return {"app.kubernetes.io/part-of": NAMESPACE, OWNER: owner}


def namespace(owner: str, node: Node) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            # A clean-up pod reaches the node's directory itself; people's pods are checked by the hub.
            "labels": {**labels(owner), "pod-security.kubernetes.io/enforce": "privileged"},
            "annotations": {NODE: node.hostname},
        },
    }


def account(owner: str) -> Json:
    """The namespace's default ServiceAccount, which a controller makes a moment too late for the first pod."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata("default", owner)}


def volumes(owner: str, node: Node) -> list[Json]:
    """Each claim with the directory of the node that it is."""
    return [found for claim in storage.CLAIMS for found in (_volume(claim, owner, node), _claim(claim, owner))]


SPACE = {"storage": "1Gi"}  # asked of nobody: a hostPath has no limit


def _volume(claim: str, owner: str, node: Node) -> Json:
    on_node = {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [node.hostname]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{NAMESPACE}-{claim}", "labels": labels(owner)},
        "spec": {
            "capacity": SPACE,
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": f"{directory(owner)}/{claim}", "type": "DirectoryOrCreate"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": NAMESPACE,
                "name": claim,
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [on_node]}},
        },
    }


def _claim(claim: str, owner: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(claim, owner),
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": f"{NAMESPACE}-{claim}",
            "resources": {"requests": SPACE},
        },
    }


def prepare(owner: str, node: Node, image: str, entries: Sequence[Json], hub: str, word: str) -> Json:
    """Lays out the storage as root; then, as nobody, says `word` to `hub` (HOST:PORT) and to whoever calls it."""
    mounts = [{"name": claim, "mountPath": f"/claims/{claim}"} for claim in storage.CLAIMS]
    makes = _root("lay-out", image, lay_out.__file__, {"ROOT": "/claims", "ENTRIES": json.dumps(entries)}, mounts)
    reaches = {
        **_python("probe", image, probe.__file__, {"HUB": hub, "WORD": word, "PORT": str(PROBE_PORT)}),
        "securityContext": {
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    reaches["env"].append({"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    claims = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in storage.CLAIMS]
    return _pod(PREPARE, owner, node.hostname, {"initContainers": [makes], "containers": [reaches], "volumes": claims})


REMOVE = "import os, shutil; path = os.environ['REMOVED']; os.path.lexists(path) and shutil.rmtree(path)"


def clean(owner: str, hostname: str, image: str) -> Json:
    """Removes the directory from the node."""
    removed = f"/node/{NAMESPACE}-{owner}"
    removes = _root("remove", image, None, {"REMOVED": removed}, [{"name": "tmp", "mountPath": "/node"}])
    on_node = {"name": "tmp", "hostPath": {"path": NODE_TMP, "type": "Directory"}}
    return _pod(CLEAN, owner, hostname, {"containers": [removes], "volumes": [on_node]})


def _pod(name: str, owner: str, hostname: str, spec: Json) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(name, owner),
        "spec": {
            **spec,
            "nodeSelector": {HOSTNAME: hostname},
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
        },
    }


def _root(name: str, image: str, script: str | None, env: dict[str, str], mounts: list[Json]) -> Json:
    """Root over files alone."""
    return {
        **_python(name, image, script, env),
        "volumeMounts": mounts,
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


def _metadata(name: str, owner: str) -> Json:
    return {"name": name, "namespace": NAMESPACE, "labels": labels(owner)}
