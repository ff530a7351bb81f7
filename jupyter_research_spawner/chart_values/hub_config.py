"""Translate values of the chart `jupyterhub` (Zero to JupyterHub) to the configuration that its hub runs with.

Written for the chart 4.4: which key sets which trait, and in which order.  Only the standard library, traitlets and
YAML, because a hub of any version can import this module from its own configuration.  Secrets of the chart are left
out: they are in a Secret of the cluster.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from traitlets.config import Config

from ..settings import merge, read
from ..settings.problems import Problem
from . import hub_programs
from .chart_names import CHART, object_name

DEFAULT_RELEASE = "jhub"
VERSION = "4.4.0"
_DEFAULTS = Path(__file__).parent / "defaults.yaml"


def _camel_case(trait: str) -> str:
    return re.sub("_([a-z])", lambda found: found[1].upper(), trait)


# The key below `hub` of each trait of JupyterHub.
HUB_KEYS = {
    trait: _camel_case(trait)
    for trait in (
        "concurrent_spawn_limit",
        "active_server_limit",
        "base_url",
        "allow_named_servers",
        "named_server_limit_per_user",
        "authenticate_prometheus",
        "redirect_to_server",
        "shutdown_on_logout",
        "template_paths",
        "template_vars",
    )
}
# The key below `singleuser` of each trait of KubeSpawner that is set to the value as it is, if it is not null.
SPAWNER_KEYS = {
    **{
        trait: _camel_case(trait)
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
    "image_pull_policy": "image.pullPolicy",
    "events_enabled": "events",
    "service_account": "serviceAccountName",
    "storage_extra_labels": "storage.extraLabels",
    "node_affinity_required": "extraNodeAffinity.required",
    "node_affinity_preferred": "extraNodeAffinity.preferred",
    "pod_affinity_required": "extraPodAffinity.required",
    "pod_affinity_preferred": "extraPodAffinity.preferred",
    "pod_anti_affinity_required": "extraPodAntiAffinity.required",
    "pod_anti_affinity_preferred": "extraPodAntiAffinity.preferred",
    "mem_limit": "memory.limit",
    "mem_guarantee": "memory.guarantee",
    "cpu_limit": "cpu.limit",
    "cpu_guarantee": "cpu.guarantee",
    "extra_resource_limits": "extraResource.limits",
    "extra_resource_guarantees": "extraResource.guarantees",
    "environment": "extraEnv",
}
# Keys below `singleuser.storage`, which matter only for claims of the type `dynamic`.
_CLAIM_KEYS = {
    "pvc_name_template": "dynamic.pvcNameTemplate",
    "storage_class": "dynamic.storageClass",
    "storage_access_modes": "dynamic.storageAccessModes",
    "storage_capacity": "capacity",
}
# Settings of hub.config that the chart takes from its Secret instead.
_IN_SECRET = {
    "JupyterHub": ("proxy_auth_token", "cookie_secret", "services"),
    "ConfigurableHTTPProxy": ("auth_token",),
    "CryptKeeper": ("keys",),
}
# Keys that the chart silently ignores, and the keys that it reads instead.
IGNORED_KEYS = {"hub.config.JupyterHub.services": "hub.services"}
# The names of what the chart adds to a notebook's pod.
HOME_VOLUME = "home"
FILES_VOLUME = "files"
METADATA_CONTAINER = "block-cloud-metadata"


@dataclass(frozen=True)
class Setting:
    """A value of a trait, and the key that has set it."""

    key: str
    value: Any


@dataclass
class HubConfig:
    """The configuration of a hub, and which key of the values has set each trait."""

    values: dict[str, Any]
    config: Config
    # (section, trait) -> its values, in this order; the last one decides.
    origins: dict[tuple[str, str], list[Setting]] = field(default_factory=dict)
    # With these, the hub does not start.
    problems: list[Problem] = field(default_factory=list)
    # What a program's call of `configure` refuses, with which the hub does not start either, with the program's key.
    refused: list[tuple[str, Problem]] = field(default_factory=list)
    # Programs that could not run here.
    not_run: list[Problem] = field(default_factory=list)

    def unset(self, section: str, trait: str) -> None:
        """Remove the last value of a trait, so that the one before it decides, as if a program did not set it."""
        settings = self.origins.get((section, trait)) or [Setting("", None)]
        del settings[-1]
        if settings:
            self.config[section][trait] = settings[-1].value
        else:
            self.config[section].pop(trait, None)


def complete(*values: Mapping[str, Any], release: str = DEFAULT_RELEASE, namespace: str = "default") -> dict[str, Any]:
    """Return values as a hub gets them: merged over the chart's defaults, with the names of chart and release."""
    of_helm = {
        "Chart": {"Name": CHART, "Version": VERSION},
        "Release": {"Name": release, "Namespace": namespace, "Service": "Helm"},
    }
    return {**merge(chart_defaults(), *(_as_helm_passes(part) for part in values)), **of_helm}


def has_hub(values: Mapping[str, Any]) -> bool:
    """Return whether values configure a hub or its notebooks, so that they are more than settings."""
    return any(values.get(key) is not None for key in ("hub", "singleuser"))


def chart_defaults() -> dict[str, Any]:
    """Return the chart's own values, as far as its hub reads them."""
    return copy.deepcopy(_read_defaults())


@lru_cache
def _read_defaults() -> dict[str, Any]:
    return read(_DEFAULTS)


def _as_helm_passes(value: Any) -> Any:
    """Return a value as it is after Helm has written it as JSON: a date is text, and 2.0 is 2."""
    if isinstance(value, Mapping):
        return {_key(key): _as_helm_passes(below) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_helm_passes(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def build(values: Mapping[str, Any], config: Config | None = None) -> HubConfig:
    """Return the configuration that the hub has with these complete values, and run the programs in the values.

    config: the configuration to which the values are written.
    """
    result = HubConfig(copy.deepcopy(dict(values)), Config() if config is None else config)
    c, values = result.config, result.values
    record = _Recorder(result)
    _configure_hub(c, values)
    record("")
    for trait, key in SPAWNER_KEYS.items():
        _set(c.KubeSpawner, trait, look_up(values, f"singleuser.{key}"))
        record(f"singleuser.{key}")
    if look_up(values, "singleuser.storage.type") == "dynamic":
        for trait, key in _CLAIM_KEYS.items():
            _set(c.KubeSpawner, trait, look_up(values, f"singleuser.storage.{key}"))
            record(f"singleuser.storage.{key}")
    for key, step in _STEPS.items():
        step(c, values)
        record(key)
    for section, settings in (look_up(values, "hub.config") or {}).items():
        if section[:1].isupper():
            left_out = _IN_SECRET.get(section, ())
            c[section].update({trait: value for trait, value in (settings or {}).items() if trait not in left_out})
        else:
            why = "is not the name of a class, so the hub does not start. Move it to its place in the values"
            result.problems.append(Problem(f"hub.config.{section}", why))
        record(f"hub.config.{section}", each=True)
    program_names = hub_programs.namespace(c, hub_programs.z2jh_module(values))
    for key, source in hub_programs.programs(values):
        failure = hub_programs.run(key, source, program_names)
        if failure is None:
            pass
        elif failure.kind == "refused":
            result.refused += [(key, problem) for problem in failure.problems]
        elif failure.kind == "wrong" and not result.not_run:
            result.problems += failure.problems
        else:  # a program can also need the names of one that could not run here
            result.not_run += failure.problems
        record(key)
    return result


def look_up(values: Mapping[str, Any], key: str) -> Any:
    """Return the value at a key such as `singleuser.image.tag`, or None."""
    found: Any = values
    for level in key.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(level)
    return found


def _set(section: Config, trait: str, value: Any) -> None:
    if value is not None:
        setattr(section, trait, value)


class _Recorder:
    """Records in `origins` which traits have changed since the last call."""

    def __init__(self, result: HubConfig) -> None:
        self._result = result
        self._before: dict[tuple[str, str], str] = {}

    def __call__(self, key: str, each: bool = False) -> None:
        now = dict(self._traits())
        for place, value in now.items():
            if self._before.get(place) != value and key:
                settings = self._result.origins.setdefault(place, [])
                settings.append(Setting(f"{key}.{place[1]}" if each else key, _copied(self._result.config, place)))
        self._before = now

    def _traits(self) -> Iterator[tuple[tuple[str, str], str]]:
        # The text of a value: a later step can change a list or a map in place.
        for section, settings in self._result.config.items():
            if isinstance(settings, Config):
                for trait, value in settings.items():
                    yield (section, trait), repr(value)


def _copied(c: Config, place: tuple[str, str]) -> Any:
    value = c[place[0]][place[1]]
    try:
        return copy.deepcopy(value)
    except Exception:  # a value can be any object of a program
        return value


def _configure_hub(c: Config, values: Mapping[str, Any]) -> None:
    c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
    c.ConfigurableHTTPProxy.should_start = False
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.last_activity_interval = 60
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
    kind = look_up(values, "hub.db.type")
    urls = {"sqlite-pvc": "sqlite:///jupyterhub.sqlite", "sqlite-memory": "sqlite://"}
    _set(c.JupyterHub, "db_url", urls.get(kind) or look_up(values, "hub.db.url"))
    for trait, key in HUB_KEYS.items():
        _set(c.JupyterHub, trait, look_up(values, f"hub.{key}"))
    c.JupyterHub.hub_bind_url = "http://:8081"
    c.JupyterHub.hub_connect_url = f"http://{object_name(values, 'hub')}:8081"
    name, release = values.get("nameOverride") or CHART, values["Release"]["Name"]
    chart = f"{values['Chart']['Name']}-{values['Chart']['Version']}"
    c.KubeSpawner.common_labels = {
        **dict.fromkeys(("app.kubernetes.io/name", "app"), name),
        **dict.fromkeys(("app.kubernetes.io/instance", "release"), release),
        **dict.fromkeys(("helm.sh/chart", "chart"), chart),
        "app.kubernetes.io/managed-by": "kubespawner",
    }
    c.KubeSpawner.namespace = values["Release"]["Namespace"]
    _set(c.Spawner, "consecutive_failure_limit", look_up(values, "hub.consecutiveFailureLimit"))
    if look_up(values, "debug.enabled"):
        c.JupyterHub.log_level = "DEBUG"
        c.Spawner.debug = True
    c.JupyterHub.services, c.JupyterHub.load_roles = [], []
    if look_up(values, "cull.enabled"):
        _add_culler(c, values)
    secret = hub_programs.secret_placeholder
    for key, service in (look_up(values, "hub.services") or {}).items():
        given = {"name": key, **(service or {}), "api_token": secret(f"hub.services.{key}.apiToken")}
        c.JupyterHub.services.append({name: value for name, value in given.items() if name != "apiToken"})
    for key, role in (look_up(values, "hub.loadRoles") or {}).items():
        c.JupyterHub.load_roles.append({"name": key, **(role or {})})


_CULLER = "jupyterhub-idle-culler"
# The option of the culler for each number below `cull`.
_CULLER_OPTIONS = {"timeout": "timeout", "every": "cull-every", "concurrency": "concurrency"}


def _add_culler(c: Config, values: Mapping[str, Any]) -> None:
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    base_url = str(c.JupyterHub.get("base_url", "/")).rstrip("/")
    command = ["python3", "-m", "jupyterhub_idle_culler", f"--url=http://localhost:8081{base_url}/hub/api"]
    cull = values["cull"]
    command += [f"--{option}={cull[key]}" for key, option in _CULLER_OPTIONS.items() if cull.get(key)]
    if cull.get("users"):
        command.append("--cull-users")
        scopes.append("admin:users")
    if not cull.get("adminUsers"):
        command.append("--cull-admin-users=false")
    if cull.get("removeNamedServers"):
        command.append("--remove-named-servers")
    if cull.get("maxAge"):
        command.append(f"--max-age={cull['maxAge']}")
    c.JupyterHub.services.append({"name": _CULLER, "command": command})
    c.JupyterHub.load_roles.append({"name": _CULLER, "scopes": scopes, "services": [_CULLER]})


# Steps that set several traits, or one trait from several keys.


def _set_image(c: Config, values: Mapping[str, Any]) -> None:
    name, tag = look_up(values, "singleuser.image.name"), look_up(values, "singleuser.image.tag")
    if name:
        c.KubeSpawner.image = f"{name}:{tag}" if tag else name


def _set_escalation(c: Config, values: Mapping[str, Any]) -> None:
    # Null is a value of its own here.
    c.KubeSpawner.allow_privilege_escalation = look_up(values, "singleuser.allowPrivilegeEscalation")


def pull_secrets(values: Mapping[str, Any]) -> list[Any]:
    """Return the pull secrets of all pods of the chart, with these complete values."""
    own = values.get("imagePullSecret") or {}
    is_injected = own.get("create") and own.get("automaticReferenceInjection")
    return [
        *([object_name(values, "image-pull-secret")] if is_injected else []),
        *(values.get("imagePullSecrets") or []),
    ]


def _set_pull_secrets(c: Config, values: Mapping[str, Any]) -> None:
    if secrets := pull_secrets(values):
        c.KubeSpawner.image_pull_secrets = secrets


def _add_pull_secrets(c: Config, values: Mapping[str, Any]) -> None:
    if secrets := look_up(values, "singleuser.image.pullSecrets"):
        c.KubeSpawner.image_pull_secrets = [*c.KubeSpawner.get("image_pull_secrets", []), *secrets]


def _set_scheduler(c: Config, values: Mapping[str, Any]) -> None:
    if look_up(values, "scheduling.userScheduler.enabled"):
        c.KubeSpawner.scheduler_name = object_name(values, "user-scheduler")


def _set_priority(c: Config, values: Mapping[str, Any]) -> None:
    if look_up(values, "scheduling.podPriority.enabled"):
        c.KubeSpawner.priority_class_name = object_name(values, "priority")


def _add_node_purpose(c: Config, values: Mapping[str, Any]) -> None:
    term = {"matchExpressions": [{"key": "hub.jupyter.org/node-purpose", "operator": "In", "values": ["user"]}]}
    match = look_up(values, "scheduling.userPods.nodeAffinity.matchNodePurpose")
    if match == "prefer":
        c.KubeSpawner.node_affinity_preferred.append({"weight": 100, "preference": term})
    elif match == "require":
        c.KubeSpawner.node_affinity_required.append(term)


def _set_tolerations(c: Config, values: Mapping[str, Any]) -> None:
    tolerations = [*(look_up(values, "scheduling.userPods.tolerations") or [])]
    tolerations += look_up(values, "singleuser.extraTolerations") or []
    if tolerations:
        c.KubeSpawner.tolerations = tolerations


def _add_claim(c: Config, values: Mapping[str, Any]) -> None:
    storage = look_up(values, "singleuser.storage") or {}
    c.KubeSpawner.volumes, c.KubeSpawner.volume_mounts = {}, {}
    kind = storage.get("type")
    name, claim = home_volume(storage), "{pvc_name}"
    if kind == "dynamic":
        c.KubeSpawner.storage_pvc_ensure = True
    elif kind == "static":
        claim = look_up(storage, "static.pvcName")
    if name:
        mount = {
            "name": name,
            "mountPath": storage.get("homeMountPath"),
            "subPath": look_up(storage, f"{kind}.subPath"),
        }
        c.KubeSpawner.volumes[name] = {"name": name, "persistentVolumeClaim": {"claimName": claim}}
        c.KubeSpawner.volume_mounts[name] = mount


def home_volume(storage: Mapping[str, Any]) -> str | None:
    """Return the name of the volume that `singleuser.storage.type` adds, or None."""
    names = {"dynamic": look_up(storage, "dynamic.volumeNameTemplate"), "static": HOME_VOLUME}
    return names.get(str(storage.get("type")))


def _add_files(c: Config, values: Mapping[str, Any]) -> None:
    files = look_up(values, "singleuser.extraFiles") or {}
    if not files:
        return
    items = [{"key": key, "path": key, **_mode(details)} for key, details in files.items()]
    c.KubeSpawner.volumes[FILES_VOLUME] = {
        "name": FILES_VOLUME,
        "secret": {"secretName": object_name(values, "singleuser"), "items": items},
    }
    for index, (key, details) in enumerate(files.items()):
        mount = {"name": FILES_VOLUME, "mountPath": details.get("mountPath"), "subPath": key}
        c.KubeSpawner.volume_mounts[f"{index}-{FILES_VOLUME}"] = mount


def _mode(details: Mapping[str, Any]) -> dict[str, Any]:
    return {"mode": details["mode"]} if "mode" in details else {}


def _add_volumes(c: Config, values: Mapping[str, Any]) -> None:
    volumes = look_up(values, "singleuser.storage.extraVolumes") or {}
    if isinstance(volumes, list):
        volumes = {volume["name"]: volume for volume in volumes}
    mounts = look_up(values, "singleuser.storage.extraVolumeMounts") or {}
    if isinstance(mounts, list):
        mounts = {f"{index}-{mount['name']}": mount for index, mount in enumerate(mounts)}
    c.KubeSpawner.volumes.update(volumes)
    c.KubeSpawner.volume_mounts.update(mounts)


def _set_command(c: Config, values: Mapping[str, Any]) -> None:
    # `cmd: null` means the image's own command.
    if "cmd" in (values.get("singleuser") or {}):
        c.Spawner.cmd = values["singleuser"]["cmd"]


def _set_url(c: Config, values: Mapping[str, Any]) -> None:
    _set(c.Spawner, "default_url", look_up(values, "singleuser.defaultUrl"))


def _block_metadata(c: Config, values: Mapping[str, Any]) -> None:
    """Add the container that blocks the cloud's metadata server."""
    if look_up(values, "singleuser.cloudMetadata.blockWithIptables") is not True:
        return
    address = look_up(values, "singleuser.cloudMetadata.ip")
    image = look_up(values, "singleuser.networkTools.image") or {}
    rule = ["--append", "OUTPUT", "--protocol", "tcp", "--destination", address, "--destination-port", "80"]
    c.KubeSpawner.init_containers.append(
        {
            "name": METADATA_CONTAINER,
            "image": f"{image.get('name')}:{image.get('tag')}",
            "command": ["iptables", *rule, "--jump", "DROP"],
            "securityContext": {"privileged": True, "runAsUser": 0, "capabilities": {"add": ["NET_ADMIN"]}},
            "resources": look_up(values, "singleuser.networkTools.resources"),
        }
    )


# In the order of the chart.  The key is the one that is named if the result is refused.
_STEPS: dict[str, Callable[[Config, Mapping[str, Any]], None]] = {
    "singleuser.image": _set_image,
    "singleuser.allowPrivilegeEscalation": _set_escalation,
    "imagePullSecrets": _set_pull_secrets,
    "singleuser.image.pullSecrets": _add_pull_secrets,
    "scheduling.userScheduler.enabled": _set_scheduler,
    "scheduling.podPriority.enabled": _set_priority,
    "scheduling.userPods.nodeAffinity.matchNodePurpose": _add_node_purpose,
    "singleuser.extraTolerations": _set_tolerations,
    "singleuser.storage.type": _add_claim,
    "singleuser.extraFiles": _add_files,
    "singleuser.storage.extraVolumes": _add_volumes,
    "singleuser.cmd": _set_command,
    "singleuser.defaultUrl": _set_url,
    "singleuser.cloudMetadata.blockWithIptables": _block_metadata,
}
