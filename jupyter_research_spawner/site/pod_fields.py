"""What a site adds to every pod, and what else it lets hooks add.  Spelled as Kubernetes' PodSpec spells it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, StrictBool, StrictInt, StringConstraints

from ..resources import DEVICE_ENV, NO_DEVICES
from ..schedulers import reserved
from ..settings import Settings
from ..shape import OUR_PREFIX
from ..storage import HIJACKING_ENV, IDENTITY_ENV, ClaimName, absolute

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$", strict=True)]
# Kubernetes, Labels and Selectors, syntax: an optional DNS prefix and a name.
QualifiedKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$", strict=True
    ),
]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]

# KubeSpawner finds its pods by these: on a job they would make the hub take it for a server.
_KUBESPAWNER = (
    "app",
    "component",
    "app.kubernetes.io/component",
    "hub.jupyter.org/username",
    "hub.jupyter.org/servername",
)


def _not_ours(labels: dict[str, str]) -> dict[str, str]:
    for key in labels:
        is_kubernetes = key.partition("/")[0].endswith("k8s.io")
        if key.startswith(OUR_PREFIX) or reserved(key) or key in _KUBESPAWNER or is_kubernetes:
            raise ValueError(f"{key!r} belongs to the hub, to a scheduler or to Kubernetes; choose another key")
    return labels


def _plain_env(env: dict[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if name.startswith(("JUPYTERHUB_", "RESEARCH_")) or name in IDENTITY_ENV:
            raise ValueError(f"{name} is set by the hub or by this spawner; choose another name")
        if name.startswith(HIJACKING_ENV):
            raise ValueError(f"{name} would change who programs think they are")
        if name in DEVICE_ENV and value not in NO_DEVICES:
            raise ValueError(f"{name} would take GPUs past every queue. Profiles have them: profiles.<name>.gpu")
    return env


class PodFields(Settings):
    """Fields of Kubernetes' PodSpec that a site adds to notebooks and jobs alike, spelled as Kubernetes spells them."""

    nodeSelector: dict[str, str] = Field(default_factory=dict, title="Labels a node must have")
    tolerations: list[dict[str, JsonValue]] = Field(default_factory=list, title="Taints that are borne")
    affinity: dict[str, JsonValue] = Field(default_factory=dict, title="Affinity")
    topologySpreadConstraints: list[dict[str, JsonValue]] = Field(default_factory=list, title="Spreading")
    imagePullSecrets: list[dict[str, str]] = Field(default_factory=list, title="Secrets for private images")
    hostAliases: list[dict[str, JsonValue]] = Field(default_factory=list, title="Lines of /etc/hosts")
    runtimeClassName: str | None = Field(None, title="RuntimeClass")
    dnsPolicy: str | None = Field(None, title="DNS policy")
    dnsConfig: dict[str, JsonValue] | None = Field(None, title="DNS configuration")
    terminationGracePeriodSeconds: StrictInt | None = Field(None, title="Seconds between SIGTERM and SIGKILL", ge=0)
    env: Annotated[dict[EnvName, str], AfterValidator(_plain_env)] = Field(
        default_factory=dict,
        title="Environment of the main container",
        description="Taken as it stands: `$(NAME)` is not expanded.",
        examples=[{"HTTPS_PROXY": "http://proxy.example.edu:3128"}],
    )
    labels: Annotated[dict[QualifiedKey, LabelValue], AfterValidator(_not_ours)] = Field(
        default_factory=dict, title="Labels", examples=[{"hub.jupyter.org/network-access-hub": "true"}]
    )
    annotations: Annotated[dict[QualifiedKey, str], AfterValidator(_not_ours)] = Field(
        default_factory=dict, title="Annotations"
    )

    def spec(self) -> dict[str, Any]:
        """The PodSpec part: what is not empty, but for env, labels and annotations."""
        written = self.model_dump(exclude={"env", "labels", "annotations"}, exclude_defaults=True)
        return {key: value for key, value in written.items() if value}

    def over(self, base: PodFields) -> PodFields:
        """`base` with these on top: maps merge, lists add up, scalars replace."""
        merged = base.model_dump(exclude_defaults=True)
        for key, value in self.model_dump(exclude_defaults=True).items():
            if isinstance(value, dict):
                merged[key] = {**merged.get(key, {}), **value}
            elif isinstance(value, list):
                merged[key] = [*merged.get(key, []), *(item for item in value if item not in merged.get(key, []))]
            else:
                merged[key] = value
        return PodFields.model_validate(merged)


Access = Literal["ro", "rw"]


class Allowed(Settings):
    """What KubeSpawner's settings and hooks may add to a notebook beyond what is harmless."""

    claims: dict[ClaimName, Access] = Field(default_factory=dict, title="More claims", examples=[{"software": "ro"}])
    host_paths: dict[Annotated[str, AfterValidator(absolute)], Access] = Field(
        default_factory=dict, title="Directories of the node", examples=[{"/cvmfs": "ro"}]
    )
    secrets: dict[ClaimName, StrictBool] = Field(default_factory=dict, title="Secrets that may be mounted")
    scheduling_gates: dict[str, StrictBool] = Field(default_factory=dict, title="Scheduling gates")
    fields: dict[str, StrictBool] = Field(
        default_factory=dict, title="Further fields of PodSpec", examples=[{"readinessGates": True}]
    )


class Pods(Settings):
    """Every pod."""

    base: PodFields = Field(default_factory=PodFields, title="Added to notebooks and jobs")
    allow: Allowed = Field(default_factory=Allowed, title="What hooks may add")
