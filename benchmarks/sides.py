"""The settings of the two compared spawners ("sides"), with which both create nearly the same pod.

The pods have the same user, storage, resources and environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]

KUBE, RESEARCH = SIDES = ("KubeSpawner", "ResearchSpawner")

NAMESPACE = "jhub"
CLAIMS = ("home", "project-climate", "era5")
IMAGE = "quay.io/jupyter/scipy-notebook:2026-10-01"
FIRST_UID, GID, CLIMATE = 20001, 20000, 20500
TOLERATIONS = [{"key": "research", "operator": "Exists"}]
ENVIRONMENT = {f"SITE_SETTING_{number}": "a value that a site would set" for number in range(10)}


# Of the nodes of a large cluster: their size, and the label by which profiles ask for some of them.
NODE_CPU, NODE_MEMORY = 64, "256Gi"
POOL = "pool"
POOLS = ("interactive", "batch", "bigmem", "gpu")

# The simulated node starts no pods of users with this prefix, as if the cluster were full for them.
QUEUED = "bob"


def usernames(number: int, prefix: str = "alice") -> list[str]:
    """Return `number` distinct user names."""
    return [f"{prefix}{place}" for place in range(1, number + 1)]


def write_accounts(directory: Path, names: Sequence[str]) -> None:
    """Write passwd(5) and group(5) files that contain all these users."""
    passwd = [f"{name}:x:{FIRST_UID + place}:{GID}::/home/{name}:/bin/bash" for place, name in enumerate(names)]
    (directory / "people.passwd").write_text("\n".join(passwd) + "\n")
    group = [f"students:x:{GID}:", f"climate:x:{CLIMATE}:{','.join(names)}"]
    (directory / "people.group").write_text("\n".join(group) + "\n")


def site(directory: Path, scheduler: str, concurrent_starts: int | None = None) -> Json:
    """Return the site settings of ResearchSpawner.  `directory` contains the passwd and group files.

    If `concurrent_starts` is None, the default is used.
    """
    files = {"passwd": str(directory / "people.passwd"), "group": str(directory / "people.group")}
    settings: Json = {
        "identity": {"sources": {"people": {"kind": "static", **files}}},
        "namespaces": {"mode": "shared", "name": NAMESPACE},
        "storage": {
            "homes": {"main": {"claim": "home", "root": "/home"}},
            "mounts": {
                "climate": {"claim": "project-climate", "path": "/project/climate", "groups": {"climate": True}},
                "era5": {"claim": "era5", "path": "/data/era5", "read_only": True},
            },
        },
        "scheduler": {"kind": scheduler},
        "priorities": {"low": {"value": -100}, "normal": {"value": 0, "default": True}, "high": {"value": 100}},
        "queues": {
            "climate": {"groups": {"climate": True}, "share": 2, "order": 1},
            "teaching": {"groups": {"students": True}, "order": 2},
            "backfill": {"priority": "low", "preemptible": True},
        },
        "profiles": {
            "small": {
                "title": "Small",
                "cpu": 2,
                "memory": "4Gi",
                "wall_time": "8h",
                "order": 1,
                "images": {"default": IMAGE},
            },
            "a100": {
                "title": "A100, one NUMA node",
                "like": "small",
                "cpu": 16,
                "memory": "120Gi",
                "gpu": {"kind": "whole", "count": 1},
                "numa": "single-node",
                "groups": {"climate": True},
                "queues": {"climate": True},
                "order": 2,
            },
        },
        "pods": {"base": {"tolerations": TOLERATIONS, "env": ENVIRONMENT}},
    }
    if concurrent_starts is not None:
        settings["hub"] = {"concurrent_starts": concurrent_starts}
    return settings


def kube_spawner() -> Json:
    """Return the traits with which KubeSpawner creates nearly the same pod.

    All users have the same uid, because KubeSpawner cannot set a uid per user without a hook.
    """
    return {
        "namespace": NAMESPACE,
        "image": IMAGE,
        "uid": FIRST_UID,
        "gid": GID,
        "supplemental_gids": [CLIMATE],
        "volumes": {claim: {"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in CLAIMS},
        "volume_mounts": {
            "home": {"name": "home", "mountPath": "/home"},
            "project-climate": {"name": "project-climate", "mountPath": "/project/climate"},
            "era5": {"name": "era5", "mountPath": "/data/era5", "readOnly": True},
        },
        "environment": ENVIRONMENT,
        "tolerations": TOLERATIONS,
        "priority_class_name": "research-normal",
        "cpu_limit": 2,
        "cpu_guarantee": 2,
        "mem_limit": "4G",
        "mem_guarantee": "4G",
    }


def profile_list(titles: Sequence[str]) -> list[Json]:
    """Return a profile_list of KubeSpawner with these titles, which changes nothing of the pod."""
    return [
        {"display_name": title, "description": "For looking at data", "slug": title.lower().replace(" ", "-")}
        for title in titles
    ]


def kubeconfig(server: str, token: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "benchmark",
        "clusters": [{"name": "benchmark", "cluster": {"server": server}}],
        "users": [{"name": "hub", "user": {"token": token}}],
        "contexts": [{"name": "benchmark", "context": {"cluster": "benchmark", "user": "hub"}}],
    }
