"""What zero-to-jupyterhub does with values, as far as they concern a spawner: `apply(c, values)`.

Order and names as in the chart's files/hub/jupyterhub_config.py (4.4): singleuser.* becomes c.KubeSpawner.*, then
hub.config, then hub.extraConfig in the order of its keys.  Only the standard library, traitlets and YAML: a hub of any
version imports this file from its own configuration.
"""

from __future__ import annotations

import re
import sys
import types
from typing import Any

# The chart's own values.yaml, where it differs from what we want or where its schema asks for it.
DEFAULTS: dict[str, Any] = {
    "custom": {},
    "imagePullSecrets": [],
    "hub": {
        "baseUrl": "/",
        "config": {"JupyterHub": {"admin_access": True, "authenticator_class": "dummy"}},
        "concurrentSpawnLimit": 64,
        "consecutiveFailureLimit": 5,
        "db": {"type": "sqlite-pvc", "pvc": {"storage": "1Gi"}},
        "allowNamedServers": False,
        "image": {"name": "quay.io/jupyterhub/k8s-hub", "tag": "4.4.0"},
        "services": {},
        "loadRoles": {},
        "extraConfig": {},
    },
    "rbac": {"create": True},
    "proxy": {"chp": {"networkPolicy": {"enabled": True}}},
    "singleuser": {
        "cloudMetadata": {"blockWithIptables": True, "ip": "169.254.169.254"},
        "networkTools": {"image": {"name": "quay.io/jupyterhub/k8s-network-tools", "tag": "4.4.0"}},
        "events": True,
        "extraLabels": {"hub.jupyter.org/network-access-hub": "true"},
        "allowPrivilegeEscalation": False,
        "uid": 1000,
        "fsGid": 100,
        "storage": {
            "type": "dynamic",
            "capacity": "10Gi",
            "homeMountPath": "/home/jovyan",
            "dynamic": {"volumeNameTemplate": "volume-{user_server}", "storageAccessModes": ["ReadWriteOnce"]},
        },
        "image": {"name": "quay.io/jupyterhub/k8s-singleuser-sample", "tag": "4.4.0"},
        "startTimeout": 300,
        "memory": {"guarantee": "1G"},
        "cmd": "jupyterhub-singleuser",
        "profileList": [],
    },
    "scheduling": {
        "userScheduler": {"enabled": True, "logLevel": 4, "plugins": {}, "pluginConfig": []},
        "userPlaceholder": {"enabled": True, "replicas": 0},
        "podPriority": {"enabled": False},
        "userPods": {
            "tolerations": [
                {"key": "hub.jupyter.org/dedicated", "operator": "Equal", "value": "user", "effect": "NoSchedule"}
            ],
            "nodeAffinity": {"matchNodePurpose": "prefer"},
        },
    },
    "prePuller": {"hook": {"enabled": True}, "continuous": {"enabled": True}, "extraImages": {}},
    "ingress": {"enabled": False},
    "cull": {"enabled": True, "users": False, "timeout": 3600, "every": 600, "concurrency": 10, "maxAge": 0},
    "debug": {"enabled": False},
    "global": {"safeToShowValues": False},
}

# singleuser.* that becomes a trait of KubeSpawner under another name than its own in snake case.
NAMES = {
    "image_pull_policy": "image.pullPolicy",
    "events_enabled": "events",
    "service_account": "serviceAccountName",
    "mem_limit": "memory.limit",
    "mem_guarantee": "memory.guarantee",
    "cpu_limit": "cpu.limit",
    "cpu_guarantee": "cpu.guarantee",
    "environment": "extraEnv",
    **{
        trait: re.sub("_([a-z])", lambda found: found[1].upper(), trait)
        for trait in (
            "pod_name_template",
            "start_timeout",
            "extra_labels",
            "extra_annotations",
            "uid",
            "fs_gid",
            "node_selector",
            "lifecycle_hooks",
            "init_containers",
            "extra_containers",
            "profile_list",
            "extra_pod_config",
        )
    },
}


def apply(c: Any, values: dict[str, Any], namespace: str = "jhub") -> None:
    """Set up `c` as the chart's hub pod does, and run hub.extraConfig."""

    def get(key: str, default: Any = None) -> Any:
        found: Any = values
        for level in key.split("."):
            if not isinstance(found, dict) or level not in found:
                return default
            found = found[level]
        return found

    c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
    c.JupyterHub.cleanup_servers = False
    for trait, key in (
        ("concurrent_spawn_limit", "concurrentSpawnLimit"),
        ("base_url", "baseUrl"),
        ("allow_named_servers", "allowNamedServers"),
    ):
        _set(c.JupyterHub, trait, get(f"hub.{key}"))
    _set(c.Spawner, "consecutive_failure_limit", get("hub.consecutiveFailureLimit"))
    c.KubeSpawner.common_labels = {
        "app.kubernetes.io/name": "jupyterhub",
        "app.kubernetes.io/managed-by": "kubespawner",
    }
    c.KubeSpawner.namespace = namespace
    for trait, key in NAMES.items():
        _set(c.KubeSpawner, trait, get(f"singleuser.{key}"))
    c.KubeSpawner.image = f"{get('singleuser.image.name')}:{get('singleuser.image.tag')}"
    c.KubeSpawner.allow_privilege_escalation = get("singleuser.allowPrivilegeEscalation")
    _scheduling(c, get)
    _storage(c, get)
    _services(c, get)
    c.Spawner.cmd = get("singleuser.cmd")
    if get("singleuser.cloudMetadata.blockWithIptables"):
        c.KubeSpawner.init_containers.append({"name": "block-cloud-metadata", "securityContext": {"privileged": True}})
    for section, settings in get("hub.config", {}).items():
        assert section[:1].isupper(), f"hub.config.{section} would end the chart's hub"
        c[section].update(settings)
    _extra_config(c, get)


def _set(section: Any, trait: str, value: Any) -> None:
    if value is not None:
        setattr(section, trait, value)


def _scheduling(c: Any, get: Any) -> None:
    if get("scheduling.userScheduler.enabled"):
        c.KubeSpawner.scheduler_name = "user-scheduler"
    if get("scheduling.podPriority.enabled"):
        c.KubeSpawner.priority_class_name = "jupyterhub-default-priority"
    expressions = [{"key": "hub.jupyter.org/node-purpose", "operator": "In", "values": ["user"]}]
    if get("scheduling.userPods.nodeAffinity.matchNodePurpose") == "prefer":
        c.KubeSpawner.node_affinity_preferred.append({"weight": 100, "preference": {"matchExpressions": expressions}})
    tolerations = get("scheduling.userPods.tolerations", []) + get("singleuser.extraTolerations", [])
    if tolerations:
        c.KubeSpawner.tolerations = tolerations


def _storage(c: Any, get: Any) -> None:
    volumes, mounts = {}, {}
    if get("singleuser.storage.type") == "dynamic":
        name = get("singleuser.storage.dynamic.volumeNameTemplate")
        c.KubeSpawner.storage_pvc_ensure = True
        volumes[name] = {"name": name, "persistentVolumeClaim": {"claimName": "{pvc_name}"}}
        mounts[name] = {"name": name, "mountPath": get("singleuser.storage.homeMountPath")}
    c.KubeSpawner.volumes, c.KubeSpawner.volume_mounts = volumes, mounts


def _services(c: Any, get: Any) -> None:
    c.JupyterHub.services = []
    c.JupyterHub.load_roles = []
    if get("cull.enabled"):
        name = "jupyterhub-idle-culler"
        scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
        c.JupyterHub.load_roles.append({"name": name, "scopes": scopes, "services": [name]})
        c.JupyterHub.services.append({"name": name, "command": ["python3", "-m", "jupyterhub_idle_culler"]})
    for key, service in get("hub.services", {}).items():
        given = {key: value for key, value in service.items() if key != "apiToken"}
        # The chart makes one for each service that has none.
        c.JupyterHub.services.append({"name": key, **given, "api_token": "made-by-the-chart"})
    for key, role in get("hub.loadRoles", {}).items():
        c.JupyterHub.load_roles.append({"name": key, **role})


def _extra_config(c: Any, get: Any) -> None:
    """The chart's module `z2jh` can be imported, but no name is bound to it."""
    module = types.ModuleType("z2jh")
    module.get_config = get  # type: ignore[attr-defined]
    sys.modules["z2jh"] = module
    for _, program in sorted(get("hub.extraConfig", {}).items()):
        exec(program, {"c": c})
