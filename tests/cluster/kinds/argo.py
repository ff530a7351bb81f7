"""Workflows of Argo: two steps side by side, and a last one after both.

A Workflow has no pod template: the plan goes into a pod, and that into the Workflow's own fields and a podSpecPatch.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ground import Ground
from rig.api import Json
from rig.cluster import Cluster
from rig.controllers.argo import API, Argo
from rig.node import Node

from . import Composed, Kind, Kinds, template, weigh

NAMES = ("first", "second")
MAIN = ("pod",)
# What a site has to say once, for whoever's pods: what Argo adds runs as the person, and may no more than they.
EXECUTOR = {
    "securityContext": {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    },
    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
}
TOKEN = "executor.service-account-token"


def executors_account(ground: Ground) -> list[Json]:
    """A token that only the executor's container sees, and may do no more than report results."""
    here = {"name": "executor", "namespace": ground.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "executor"}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": here},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
            "metadata": {**here, "name": TOKEN, "annotations": {"kubernetes.io/service-account.name": "executor"}},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": here,
            "rules": [
                {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": here,
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", **here}],
        },
    ]


def workflow(kinds: Kinds, name: str, *, cpu: str | None = None, **of_step: Any) -> Composed:
    """Two steps side by side, and a last one after both."""
    manifest = {"apiVersion": API, "kind": "Workflow", "metadata": {"name": name}, "pod": template("main")}
    composed = kinds.compose("workflow", manifest, {MAIN: "main"})
    found = (weigh(composed, MAIN, cpu) if cpu else composed).manifest
    pod = found.pop("pod")
    (main,) = pod["spec"].pop("containers")
    steps = [{"name": step, "template": step} for step in (*NAMES, "last")]
    container = {key: value for key, value in main.items() if key != "name"}
    found["spec"] = {
        "entrypoint": "all",
        # The person's containers get no account; the executor's gets its own.
        "automountServiceAccountToken": False,
        "executor": {"serviceAccountName": "executor"},
        "podMetadata": pod["metadata"],
        "volumes": pod["spec"].pop("volumes"),
        "podSpecPatch": json.dumps(pod["spec"]),
        "templates": [
            {"name": "all", "steps": [steps[:2], steps[2:]]},
            *({"name": step["name"], "container": container, **of_step} for step in steps),
        ],
    }
    return replace(composed, manifest=found)


def operator(cluster: Cluster, node: Node) -> Argo:
    return Argo.start(cluster, node, EXECUTOR)


def weighed(kinds: Kinds, name: str, leader: str, worker: str) -> Composed:
    kinds.api.apply(*executors_account(kinds.ground))
    made = workflow(kinds, name, cpu=worker)
    # No scheduler knows a Workflow: each of its pods is queued by itself, so what is the object's is theirs.
    made.manifest["spec"]["podMetadata"]["labels"] |= made.plan.marks.object.labels
    return made


def nodes(workflow: Json) -> dict[str, tuple[str, str]]:
    """Phase and message of each pod's node, by the step's name."""
    found = workflow.get("status", {}).get("nodes", {}).values()
    return {node["displayName"]: (node["phase"], node.get("message", "")) for node in found if node["type"] == "Pod"}


def sees_running(workflow: Json, *names: str) -> bool:
    """The controller knows that these run (else both first): it makes one again that is deleted before."""
    return {(name, ("Running", "")) for name in names or NAMES} <= nodes(workflow).items()


# Without a leader: its controller launches.
KIND = Kind("Workflow", (operator,), weighed, NAMES, leader=None, worker="first", knows=sees_running)
