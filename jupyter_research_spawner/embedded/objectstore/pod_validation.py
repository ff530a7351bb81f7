"""Validate pods, with the API server's messages (pkg/apis/core/validation, compared with 1.36.3).

Affinity, topology spread, host aliases, hooks and resource claims are not validated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..apimachinery.api_errors import Fault
from ..apimachinery.field_rules import (
    LABEL,
    LABEL_RULE,
    MAX_ID,
    POD_UPDATE_RULE,
    SUBDOMAIN,
    SUBDOMAIN_RULE,
    duplicate,
    forbidden_field,
    key_faults,
    labels_faults,
    number_fault,
    required,
    unsupported,
    wrong_value,
)
from ..apimachinery.object_fields import Json
from .container_validation import container_faults, security_faults
from .volume_validation import volume_faults

_SUPPORTED = {
    "restartPolicy": ["Always", "OnFailure", "Never"],
    "dnsPolicy": ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
}
_EFFECTS = ["NoSchedule", "PreferNoSchedule", "NoExecute"]
_MAY_CHANGE = {"tolerations", "activeDeadlineSeconds", "schedulingGates", "nodeName", "nodeSelector"}


def pod_faults(new: Json, old: Json | None) -> list[Fault]:
    faults = list(spec_faults(new.get("spec") or {}, "spec"))
    if old:
        faults += pod_update_faults(new["spec"], old["spec"])
    elif new["spec"].get("ephemeralContainers"):
        faults.append(forbidden_field("spec.ephemeralContainers", "cannot be set on create"))
    return faults


def spec_faults(spec: Json, path: str) -> Iterator[Fault]:
    """Yield faults of the spec of a pod or of a pod template."""
    volumes = spec.get("volumes") or []
    yield from volume_faults(volumes, f"{path}.volumes")
    yield from all_containers_faults(spec, path, {volume.get("name") for volume in volumes})
    for field, supported in _SUPPORTED.items():
        if spec.get(field) not in supported:
            yield unsupported(f"{path}.{field}", spec.get(field), supported)
    yield from labels_faults(spec.get("nodeSelector"), f"{path}.nodeSelector")
    yield from pod_security_faults(spec.get("securityContext") or {}, f"{path}.securityContext")
    for field in ("serviceAccountName", "nodeName"):
        if spec.get(field) and not SUBDOMAIN.fullmatch(spec[field]):
            yield wrong_value(f"{path}.{field}", spec[field], SUBDOMAIN_RULE)
    yield from number_fault(f"{path}.activeDeadlineSeconds", spec.get("activeDeadlineSeconds"), 1, MAX_ID)
    for field in ("hostname", "subdomain"):
        if spec.get(field) and not LABEL.fullmatch(spec[field]):
            yield wrong_value(f"{path}.{field}", spec[field], LABEL_RULE)
    for index, toleration in enumerate(spec.get("tolerations") or []):
        yield from toleration_faults(toleration, f"{path}.tolerations[{index}]")
    yield from gate_faults(spec, path)


def all_containers_faults(spec: Json, path: str, volumes: set[Any]) -> Iterator[Fault]:
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    names: list[str] = []
    for part in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(part) or []):
            here = f"{path}.{part}[{index}]"
            yield from container_faults(container, here, volumes, is_init=part == "initContainers")
            if container.get("name") in names:
                yield duplicate(f"{here}.name", container["name"])
            names.append(container.get("name") or "")


def pod_security_faults(context: Json, path: str) -> Iterator[Fault]:
    yield from security_faults(context, path)
    yield from number_fault(f"{path}.fsGroup", context.get("fsGroup"), 0, MAX_ID)
    for index, group in enumerate(context.get("supplementalGroups") or []):
        yield from number_fault(f"{path}.supplementalGroups[{index}]", group, 0, MAX_ID)
    for field, supported in (
        ("supplementalGroupsPolicy", ["Merge", "Strict"]),
        ("fsGroupChangePolicy", ["Always", "OnRootMismatch"]),
    ):
        if context.get(field, supported[0]) not in supported:
            yield unsupported(f"{path}.{field}", context[field], supported)


def toleration_faults(toleration: Json, path: str) -> Iterator[Fault]:
    key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
    if key:
        yield from key_faults(key, f"{path}.key")
    elif operator != "Exists":
        rule = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield wrong_value(f"{path}.operator", operator, rule)
    if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
        rule = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield wrong_value(f"{path}.effect", toleration.get("effect") or "", rule)
    if operator not in ("Equal", "Exists"):
        yield unsupported(f"{path}.operator", operator, ["Equal", "Exists"])
    elif operator == "Exists" and toleration.get("value"):
        yield wrong_value(f"{path}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'")
    if toleration.get("effect") and toleration["effect"] not in _EFFECTS:
        yield unsupported(f"{path}.effect", toleration["effect"], _EFFECTS)


def gate_faults(spec: Json, path: str) -> Iterator[Fault]:
    names = [gate.get("name") or "" for gate in spec.get("schedulingGates") or []]
    for index, name in enumerate(names):
        yield from key_faults(name, f"{path}.schedulingGates[{index}]")
        if name in names[:index]:
            yield duplicate(f"{path}.schedulingGates[{index}]", name)
    if names and spec.get("nodeName"):
        yield forbidden_field(f"{path}.nodeName", "cannot be set until all schedulingGates have been cleared")


def pod_update_faults(new: Json, old: Json) -> Iterator[Fault]:
    gates = [gate["name"] for gate in old.get("schedulingGates") or []]
    for gate in new.get("schedulingGates") or []:
        if gate["name"] not in gates:
            detail = f"only deletion is allowed, but found new scheduling gate '{gate['name']}'"
            yield forbidden_field("spec.schedulingGates", detail)
    if old.get("nodeName") and old["nodeName"] != new.get("nodeName"):
        yield forbidden_field("spec", POD_UPDATE_RULE)
    yield from deadline_update_faults(new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"))
    selector_may_change = bool(gates)
    if _frozen(new, selector_may_change) != _frozen(old, selector_may_change):
        yield forbidden_field("spec", POD_UPDATE_RULE)


def deadline_update_faults(new: int | None, old: int | None) -> Iterator[Fault]:
    if old is None or new == old:
        return
    path = "spec.activeDeadlineSeconds"
    if new is None:
        yield wrong_value(path, None, "must not update from a positive integer to nil value")
    elif new > old:
        yield wrong_value(path, new, f"must be less than or equal to previous value: {old}")


def _frozen(spec: Json, selector_may_change: bool) -> Json:
    """Return the part of a pod's spec that cannot change."""
    free = _MAY_CHANGE if selector_may_change else _MAY_CHANGE - {"nodeSelector"}
    frozen: Json = {key: value for key, value in spec.items() if key not in free}
    for part in ("containers", "initContainers"):
        containers: list[Json] = frozen.get(part) or []
        frozen[part] = [{key: value for key, value in c.items() if key != "image"} for c in containers]
    return frozen
