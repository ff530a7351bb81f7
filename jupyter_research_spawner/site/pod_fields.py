"""Settings for fields that are added to all pods, and for fields that KubeSpawner's configuration and hooks may add.

The field names are those of Kubernetes' PodSpec.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    StringConstraints,
    WithJsonSchema,
)

from ..resources import NO_DEVICES, gives_devices
from ..schedulers import reserved
from ..settings import Settings, SeveralProblems
from ..shape import OUR_PREFIX
from ..storage import HIJACKING_ENV, IDENTITY_ENV, env_text, validate_absolute_path
from .pod_merge import merge_field

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$", strict=True)]
EnvValue = Annotated[
    str,
    BeforeValidator(env_text),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]}),
]
# Kubernetes, Labels and Selectors, syntax: an optional DNS prefix and a name.
QualifiedKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$", strict=True
    ),
]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]

# KubeSpawner finds its pods by these labels, so a job with them would look like a server.
_KUBESPAWNER = (
    "app",
    "component",
    "app.kubernetes.io/component",
    "hub.jupyter.org/username",
    "hub.jupyter.org/servername",
)


def _not_ours(labels: dict[str, str]) -> dict[str, str]:
    SeveralProblems.check(
        (key, f"{key!r} is reserved for the hub, a scheduler or Kubernetes; choose another key")
        for key in labels
        if key.startswith(OUR_PREFIX)
        or reserved(key)
        or key in _KUBESPAWNER
        or key.partition("/")[0].endswith("k8s.io")
    )
    return labels


def _plain_env(env: dict[str, str]) -> dict[str, str]:
    SeveralProblems.check((name, why) for name, value in env.items() if (why := _why_no_variable(name, value)))
    return env


def _why_no_variable(name: str, value: str) -> str | None:
    if name.startswith(("JUPYTERHUB_", "RESEARCH_")) or name in IDENTITY_ENV:
        return f"{name} is reserved for the hub or this spawner; choose another name"
    if name.startswith(HIJACKING_ENV):
        return f"{name} is not allowed, because it could make programs believe that they run as another user"
    if gives_devices(name) and value not in NO_DEVICES:
        return f"{name} is not allowed, because it gives access to GPUs without a queue. Use profiles.<name>.gpu"
    return None


class PodFields(Settings):
    """Fields of Kubernetes' PodSpec that are added to the pods of notebooks and jobs."""

    nodeSelector: dict[str, str] = Field(default_factory=dict, title="Labels that the node must have")
    tolerations: list[dict[str, JsonValue]] = Field(default_factory=list, title="Tolerated taints")
    affinity: dict[str, JsonValue] = Field(default_factory=dict, title="Affinity")
    topologySpreadConstraints: list[dict[str, JsonValue]] = Field(
        default_factory=list, title="Topology spread constraints"
    )
    imagePullSecrets: list[dict[str, str]] = Field(default_factory=list, title="Secrets for pulling private images")
    hostAliases: list[dict[str, JsonValue]] = Field(default_factory=list, title="Entries of /etc/hosts")
    runtimeClassName: str | None = Field(None, title="RuntimeClass")
    dnsPolicy: str | None = Field(None, title="DNS policy")
    dnsConfig: dict[str, JsonValue] | None = Field(None, title="DNS configuration")
    terminationGracePeriodSeconds: StrictInt | None = Field(None, title="Seconds between SIGTERM and SIGKILL", ge=0)
    env: Annotated[dict[EnvName, EnvValue], AfterValidator(_plain_env)] = Field(
        default_factory=dict,
        title="Environment variables of the main container",
        description="Values are used literally: `$(NAME)` is not expanded. Numbers and booleans become text.",
        examples=[{"HTTPS_PROXY": "http://proxy.example.edu:3128"}],
    )
    labels: Annotated[dict[QualifiedKey, LabelValue], AfterValidator(_not_ours)] = Field(
        default_factory=dict, title="Labels", examples=[{"hub.jupyter.org/network-access-hub": "true"}]
    )
    annotations: Annotated[dict[QualifiedKey, str], AfterValidator(_not_ours)] = Field(
        default_factory=dict, title="Annotations"
    )

    def spec(self) -> dict[str, Any]:
        """Return the PodSpec fields that are not empty, without env, labels and annotations."""
        written = self.model_dump(exclude={"env", "labels", "annotations"}, exclude_defaults=True)
        return {key: value for key, value in written.items() if value}

    def over(self, base: PodFields) -> PodFields:
        """Return these fields merged over `base`.

        Keys of maps and scalars are replaced; affinity and lists are merged so that both hold.
        Raises Contradiction if items of a list contradict each other.
        """
        merged = base.model_dump(exclude_defaults=True)
        for key, value in self.model_dump(exclude_defaults=True).items():
            if key == "affinity" or isinstance(value, list):
                merged[key] = merge_field(key, merged[key], value) if key in merged else value
            elif isinstance(value, dict):
                merged[key] = {**merged.get(key, {}), **value}
            else:
                merged[key] = value
        return PodFields.model_validate(merged)


Access = Literal["ro", "rw"]
V = TypeVar("V")


def _normal_export(export: str) -> str:
    path = export.partition(":/")[2]
    if posixpath.normpath(f"/{path}") != f"/{path}" or path.startswith("/"):
        raise ValueError(f"{export!r} must end in a normalized absolute path, for example nfs.example.edu:/export/data")
    return export


def _unambiguous_user(exports: dict[str, Access]) -> dict[str, Access]:
    for export in exports:
        if (bare := export.replace(_USER, "")) and any(sign in bare for sign in "{}"):
            raise ValueError(f"{export!r} has a brace that is not part of {_USER}")
    return exports


# A name of a claim or a secret, or a pattern with {user} and at least one more character.
OwnName = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?|[-a-z0-9.]*\{user\}[-a-z0-9.]*)$", strict=True),
]
_USER = "{user}"


def _not_only_user(names: dict[str, Any]) -> dict[str, Any]:
    if _USER in names:
        raise ValueError(f"{_USER} alone would match the name of any claim or secret. Write for example claim-{_USER}")
    return names


# Kubernetes: a DNS subdomain (CSIDriver), at most 63 characters.
DriverName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$", strict=True)]
ImageReference = Annotated[str, StringConstraints(pattern=r"^[^\s{}$]+$", strict=True, max_length=1024)]
# A server and an absolute path: `SERVER:/PATH`, with the server in [] if it is an IPv6 address.
NfsExport = Annotated[
    str,
    StringConstraints(
        pattern=r"^([A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):/[^\s:$]*$", strict=True
    ),
    AfterValidator(_normal_export),
]


def nfs_export(server: str, path: str) -> str:
    """Return the server and the path of an NFS volume as in the setting `nfs`."""
    return f"[{server}]:{path}" if ":" in server else f"{server}:{path}"


class Allowed(Settings):
    """Additions that KubeSpawner's settings and hooks may make to a notebook, besides those that are always allowed."""

    claims: Annotated[dict[OwnName, Access], AfterValidator(_not_only_user)] = Field(
        default_factory=dict,
        title="PersistentVolumeClaims that may be mounted",
        description="`{user}` is the user's POSIX name, so that users can mount only their own claims. A pattern with "
        "`{user}` matches nothing for a user whose name is not valid in the name of a claim.",
        examples=[{"software": "ro", "claim-{user}": "rw"}],
    )
    host_paths: dict[Annotated[str, AfterValidator(validate_absolute_path)], Access] = Field(
        default_factory=dict, title="Directories of the node that may be mounted", examples=[{"/cvmfs": "ro"}]
    )
    secrets: Annotated[dict[OwnName, StrictBool | Literal["optional"]], AfterValidator(_not_only_user)] = Field(
        default_factory=dict,
        title="Secrets that may be mounted or read into variables",
        description="`{user}` has the same meaning as in `claims`. A notebook does not start if such a secret does not "
        "exist. With `optional` it starts without the secret.",
        examples=[{"eos-ticket-{user}": "optional"}],
    )
    csi: dict[DriverName, Access] = Field(
        default_factory=dict,
        title="CSI drivers of volumes in the pod's own definition",
        description="With any attributes. A secret in `nodePublishSecretRef` must be one of `secrets`.",
        examples=[{"cvmfs.csi.cern.ch": "ro"}],
    )
    nfs: Annotated[dict[NfsExport, Access], AfterValidator(_unambiguous_user)] = Field(
        default_factory=dict,
        title="Directories of NFS servers that may be mounted",
        description="`SERVER:/PATH`, with the server in [] if it is an IPv6 address. In the path, `{user}` is the "
        "user's POSIX name.",
        examples=[{"nfs.example.edu:/scratch/{user}": "rw"}],
    )
    images: dict[ImageReference, StrictBool] = Field(
        default_factory=dict,
        title="Images that may be mounted as volumes",
        description="Full names, with the tag or digest. Such mounts are read-only.",
        examples=[{"registry.example.edu/models:2026-10": True}],
    )
    localhost_profiles: dict[str, StrictBool] = Field(
        default_factory=dict,
        title="seccomp and AppArmor profiles on the nodes that containers may have",
        description="Names of profiles of type Localhost. RuntimeDefault is always allowed.",
        examples=[{"profiles/jupyter.json": True}],
    )
    scheduling_gates: dict[str, StrictBool] = Field(default_factory=dict, title="Scheduling gates that may be added")
    fields: dict[str, StrictBool] = Field(
        default_factory=dict, title="Other fields of the PodSpec that may be set", examples=[{"readinessGates": True}]
    )

    def of_user(self, name: str) -> Allowed:
        """Return a copy in which the POSIX user name replaces `{user}`."""
        if not any(_USER in key for names in (self.claims, self.secrets, self.nfs) for key in names):
            return self
        return self.model_copy(
            update={
                "claims": _with_user(self.claims, name, _IN_OBJECT_NAME),
                "secrets": _with_user(self.secrets, name, _IN_OBJECT_NAME),
                "nfs": _with_user(self.nfs, name, _IN_PATH),
            }
        )


# What a user name must be so that it can replace `{user}`.
_IN_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_IN_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def _with_user(names: Mapping[str, V], user: str, valid: re.Pattern[str]) -> dict[str, V]:
    fits = valid.fullmatch(user) is not None
    return {key.replace(_USER, user): value for key, value in names.items() if fits or _USER not in key}


class Pods(Settings):
    """Settings for the pods of notebooks and jobs."""

    base: PodFields = Field(default_factory=PodFields, title="Fields added to all pods")
    allow: Allowed = Field(default_factory=Allowed, title="Additions that KubeSpawner's settings and hooks may make")
