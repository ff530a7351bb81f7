"""The secrets that KubeSpawner's settings and hooks use in a pod: which must exist, and which may be absent.

Kubernetes starts a container without an absent secret only if the reference has `optional: true` (SecretVolumeSource,
SecretProjection, SecretKeySelector).
"""

from __future__ import annotations

from collections.abc import Iterator

from ..plan import Plan
from ..prerequisite import Prerequisite
from ..shape import Json
from .containers import all_containers


def make_optional(plan: Plan, pod: Json) -> None:
    """Let the pod start without the secrets that are `optional` in `pods.allow.secrets`."""
    for name, reference, can_be_absent in _references(pod):
        if can_be_absent and plan.allowed.secrets.get(name) == "optional":
            reference["optional"] = True


def secret_prerequisites(pod: Json, namespace: str) -> tuple[Prerequisite, ...]:
    """Return one Prerequisite for each secret without which the pod would wait, sorted by name.

    `pod` is a finished manifest.
    """
    required = {name for name, reference, _ in _references(pod) if reference.get("optional") is not True}
    return tuple(
        Prerequisite("v1", "Secret", name, namespace, selected_by="secrets", is_reported=True)
        for name in sorted(required)
    )


def _references(pod: Json) -> Iterator[tuple[str, Json, bool]]:
    """Yield (name of the secret, the field that refers to it, whether that field can be `optional`)."""
    for volume in pod["spec"].get("volumes") or ():
        if secret := volume.get("secret"):
            yield str(secret.get("secretName")), secret, True
        for part in (volume.get("projected") or {}).get("sources") or ():
            if secret := part.get("secret"):
                yield str(secret.get("name")), secret, True
        if secret := (volume.get("csi") or {}).get("nodePublishSecretRef"):
            yield str(secret.get("name")), secret, False
    for _, container in all_containers(pod):
        for entry in container.get("env") or ():
            if secret := (entry.get("valueFrom") or {}).get("secretKeyRef"):
                yield str(secret.get("name")), secret, True
