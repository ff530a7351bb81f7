"""Find the trait of KubeSpawner that has set a field of a pod, such as `c.KubeSpawner.init_containers`.

The paths are those of `pod.all_problems`, which have the names of containers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from traitlets.config import Config

from ..chart_values import FILES_VOLUME, HOME_VOLUME, METADATA_CONTAINER
from ..jobs.notebook import SLOTS
from ..shape import Json
from .kubespawner_traits import chart_key
from .traits import section_of, value_of

MAIN = SLOTS.templates[0].main


@dataclass(frozen=True)
class Source:
    """Where a field of a pod comes from.

    trait: the name of the trait, "" if it is not known.
    chart: the key in the chart's values that sets the trait, or "".
    subject: the part of the trait that the problem is about, for example "container 'chown'"; or "".
    field: the field of that part.
    """

    trait: str
    chart: str
    subject: str
    field: str


_FIELD = re.compile(r"spec\.(initContainers|containers|ephemeralContainers)\[([^]]*)\](?:\.(.*))?")
_VOLUME = re.compile(r"spec\.volumes\[([^]]*)\](?:\.(.*))?")
_OF_MAIN = {
    "securityContext.privileged": "privileged",
    "securityContext.allowPrivilegeEscalation": "allow_privilege_escalation",
}
_BY_FIRST = {
    "env": "environment",
    "image": "image",
    "imagePullPolicy": "image_pull_policy",
    "lifecycle": "lifecycle_hooks",
    "resources": "extra_resource_limits",
    "securityContext": "container_security_context",
    "volumeMounts": "volume_mounts",
}
# Without the key of the container that the chart adds to the same trait.
_CHART = {"init_containers": "singleuser.initContainers"}
_BY_SPEC = {
    "affinity": "node_affinity_required",
    "automountServiceAccountToken": "automount_service_account_token",
    "imagePullSecrets": "image_pull_secrets",
    "nodeSelector": "node_selector",
    "securityContext": "pod_security_context",
    "serviceAccount": "service_account",
    "serviceAccountName": "service_account",
    "tolerations": "tolerations",
}


def source_of(path: str, pod: Json, c: Config, sections: Sequence[str]) -> Source:
    """Return the trait that has set the field at `path` of the finished pod."""
    if found := _FIELD.fullmatch(path):
        return _of_container(found[1], found[2], found[3] or "", pod, c, sections)
    if found := _VOLUME.fullmatch(path):
        return _of_volume(found[1], found[2] or "", c, sections)
    if path.startswith("workingDir of"):
        return Source("working_dir", chart_key("working_dir"), "", "")
    if path.startswith("env of"):
        return Source("environment", chart_key("environment"), "", "")
    if path.startswith("the mount "):
        return Source("volume_mounts", chart_key("volume_mounts"), path, "")
    head, _, rest = path.partition(".")
    key = re.split(r"[.\[]", rest, maxsplit=1)[0]
    if head == "metadata":
        trait = {"labels": "extra_labels", "annotations": "extra_annotations"}.get(key, "")
        return Source(trait, chart_key(trait), "", path)
    in_config = key in (value_of(c, "extra_pod_config", sections) or {})
    trait = "extra_pod_config" if in_config or key not in _BY_SPEC else _BY_SPEC[key]
    trait = trait if section_of(c, trait, sections) else ""
    return Source(trait, chart_key(trait), "", rest or path)


def _of_container(kind: str, name: str, field: str, pod: Json, c: Config, sections: Sequence[str]) -> Source:
    if kind == "initContainers" or name != MAIN:
        own = "init_containers" if kind == "initContainers" else "extra_containers"
        trait = next((trait for trait in (own, "extra_pod_config") if section_of(c, trait, sections)), "")
        is_of_metadata = own == "init_containers" and name == METADATA_CONTAINER
        chart = "singleuser.cloudMetadata.blockWithIptables" if is_of_metadata else _CHART.get(trait, chart_key(trait))
        return Source(trait, chart, f"container {name!r}", field)
    first = re.split(r"[.\[]", field, maxsplit=1)[0]
    if first in (value_of(c, "extra_container_config", sections) or {}):
        return Source("extra_container_config", "", "", field)
    trait = _OF_MAIN.get(field) or _BY_FIRST.get(first, "extra_container_config")
    entry = _entry(pod, field)
    if first == "env":
        return Source(trait, chart_key(trait), f"variable {entry.get('name')!r}", "")
    if first == "volumeMounts":
        volume = _volume(str(entry.get("name")), c, sections)
        subject, rest = f"mount {entry.get('mountPath')!r}", field.partition("].")[2]
        return Source(trait, _chart_of_volume(volume, mounts=True), subject, rest)
    return Source(trait if section_of(c, trait, sections) else "", chart_key(trait), "", field)


def _entry(pod: Json, field: str) -> Mapping[str, Any]:
    """Return the entry of a list of the main container: that of `volumeMounts[2].mountPath`."""
    found = re.match(r"(\w+)\[(\d+)\]", field)
    (main,) = [container for container in pod["spec"]["containers"] if container["name"] == MAIN]
    entry: Mapping[str, Any] = main[found[1]][int(found[2])] if found else {}
    return entry


def _of_volume(name: str, field: str, c: Config, sections: Sequence[str]) -> Source:
    volume = _volume(name, c, sections)
    # A volume's message already names the field, so `field` is empty.
    return Source("volumes", _chart_of_volume(volume, mounts=False), f"volume {name!r}", "")


def _volume(name: str, c: Config, sections: Sequence[str]) -> Mapping[str, Any]:
    """Return the volume with this name in the configuration, where the name can be a template; {} if there is none."""
    written = value_of(c, "volumes", sections) or []
    volumes = list(written.values()) if isinstance(written, Mapping) else list(written)
    known = [volume for volume in volumes if isinstance(volume, Mapping)]
    exact = [volume for volume in known if volume.get("name") == name]
    templates = [volume for volume in known if "{" in str(volume.get("name"))]
    volume = next(iter([*exact, *templates]), {})
    is_by_user = any(mount.get("name") == volume.get("name") for mount in _mounts_by_user(c, sections))
    return {**volume, "name": HOME_VOLUME} if volume and is_by_user else volume


def _mounts_by_user(c: Config, sections: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the mounts in the configuration whose directory in the volume depends on the user."""
    written = value_of(c, "volume_mounts", sections) or []
    mounts = list(written.values()) if isinstance(written, Mapping) else list(written)
    return [mount for mount in mounts if isinstance(mount, Mapping) and "{" in str(mount.get("subPath", ""))]


def _chart_of_volume(volume: Mapping[str, Any], *, mounts: bool) -> str:
    if is_home(volume):
        return "singleuser.storage.type"
    if volume.get("name") == FILES_VOLUME and "secret" in volume:
        return "singleuser.extraFiles"
    return f"singleuser.storage.{'extraVolumeMounts' if mounts else 'extraVolumes'}"


def is_home(volume: Mapping[str, Any]) -> bool:
    """Return whether a volume of the configuration is the chart's home of a user, of type dynamic or static."""
    claim = str((volume.get("persistentVolumeClaim") or {}).get("claimName", ""))
    return bool(claim) and ("{" in claim or volume.get("name") == HOME_VOLUME)
