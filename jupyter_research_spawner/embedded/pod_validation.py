"""What the API server refuses in pods and Jobs, in its own words (pkg/apis/{core,batch}/validation)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .errors import Fault
from .kinds import POD, Kind
from .objects import Json
from .validation import (
    LABEL_RULE,
    MAX_ID,
    POD_UPDATE_RULE,
    cannot_be,
    duplicate,
    immutable,
    json_type,
    labels_faults,
    number_fault,
    required,
    resource_faults,
    unsupported,
    wrong_value,
)

_CONTAINER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_RESTART_POLICIES = ["Always", "OnFailure", "Never"]
_MAY_CHANGE = {
    "tolerations",
    "activeDeadlineSeconds",
    "schedulingGates",
    "terminationGracePeriodSeconds",
    "nodeName",
    "nodeSelector",
}


def pod_faults(new: Json, old: Json | None) -> list[Fault]:
    faults = list(spec_faults(POD, new.get("spec") or {}, "spec"))
    if old:
        faults += pod_update_faults(new["spec"], old["spec"])
    return faults


def spec_faults(kind: Kind, spec: Json, path: str) -> Iterator[Fault]:
    """Faults of a pod's spec, be it a pod's own or a template's."""
    containers = spec.get("containers")
    if containers is not None and not isinstance(containers, list):
        raise cannot_be(kind, json_type(containers), f"PodSpec.{path}.containers", "[]v1.Container")
    if not containers:
        yield required(f"{path}.containers")
    if spec.get("restartPolicy") not in _RESTART_POLICIES:
        yield unsupported(f"{path}.restartPolicy", spec.get("restartPolicy"), sorted(_RESTART_POLICIES))
    yield from number_fault(f"{path}.activeDeadlineSeconds", spec.get("activeDeadlineSeconds"), 1, MAX_ID)
    yield from security_faults(spec.get("securityContext") or {}, f"{path}.securityContext")
    policy = (spec.get("securityContext") or {}).get("supplementalGroupsPolicy", "Merge")
    if policy not in {"Merge", "Strict"}:
        yield unsupported(f"{path}.securityContext.supplementalGroupsPolicy", policy, ["Merge", "Strict"])
    volumes = spec.get("volumes") or []
    yield from duplicates(f"{path}.volumes", [volume.get("name", "") for volume in volumes])
    names: list[str] = []
    for part in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(part) or []):
            here = f"{path}.{part}[{index}]"
            yield from container_faults(kind, container, here, {volume["name"] for volume in volumes})
            if container.get("name") in names:
                yield duplicate(f"{here}.name", container["name"])
            names.append(container.get("name") or "")


def duplicates(path: str, names: list[str]) -> Iterator[Fault]:
    for index, name in enumerate(names):
        if not name:
            yield required(f"{path}[{index}].name")
        elif name in names[:index]:
            yield duplicate(f"{path}[{index}].name", name)


def security_faults(context: Json, path: str) -> Iterator[Fault]:
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        yield from number_fault(f"{path}.{field}", context.get(field), 0, MAX_ID)
    for index, group in enumerate(context.get("supplementalGroups") or []):
        yield from number_fault(f"{path}.supplementalGroups[{index}]", group, 0, MAX_ID)


def container_faults(kind: Kind, container: Json, path: str, volumes: set[str]) -> Iterator[Fault]:
    name = container.get("name")
    if not name:
        yield required(f"{path}.name")
    elif not _CONTAINER_NAME.fullmatch(name) or len(name) > 63:
        yield wrong_value(f"{path}.name", name, LABEL_RULE)
    if not container.get("image"):
        yield required(f"{path}.image")
    yield from security_faults(container.get("securityContext") or {}, f"{path}.securityContext")
    yield from resource_faults(container.get("resources") or {}, f"{path}.resources")
    for index, variable in enumerate(container.get("env") or []):
        if not variable.get("name"):
            yield required(f"{path}.env[{index}].name")
        value = variable.get("value")
        if value is not None and not isinstance(value, str):
            raise cannot_be(kind, json_type(value), f"EnvVar.{_without_indices(path)}.env.value", "string")
    yield from mount_faults(container.get("volumeMounts") or [], f"{path}.volumeMounts", volumes)
    for field in ("command", "args"):
        for word in container.get(field) or []:
            if not isinstance(word, str):
                raise cannot_be(kind, json_type(word), f"Container.{_without_indices(path)}.{field}", "string")


def mount_faults(mounts: list[Json], path: str, volumes: set[str]) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        here = f"{path}[{index}]"
        if mount.get("name") not in volumes:
            yield Fault(f"{here}.name", f'Not found: "{mount.get("name", "")}"', "FieldValueNotFound")
        target = mount.get("mountPath")
        if not target:
            yield required(f"{here}.mountPath")
        elif target in seen:
            yield wrong_value(f"{here}.mountPath", target, "must be unique")
        seen.add(target or "")
        sub_path = mount.get("subPath") or ""
        if sub_path.startswith("/"):
            yield wrong_value(f"{here}.subPath", sub_path, "must be a relative path")
        if ".." in sub_path.split("/"):
            yield wrong_value(f"{here}.subPath", sub_path, "must not contain '..'")


def _without_indices(path: str) -> str:
    return re.sub(r"\[\d+\]", "", path)


def pod_update_faults(new: Json, old: Json) -> Iterator[Fault]:
    gates = [gate["name"] for gate in old.get("schedulingGates") or []]
    for gate in new.get("schedulingGates") or []:
        if gate["name"] not in gates:
            detail = f"only deletion is allowed, but found new scheduling gate '{gate['name']}'"
            yield Fault("spec.schedulingGates", f"Forbidden: {detail}", "FieldValueForbidden")
    if old.get("nodeName") and old["nodeName"] != new.get("nodeName"):
        yield Fault("spec", f"Forbidden: {POD_UPDATE_RULE}", "FieldValueForbidden")
    yield from deadline_update_faults(new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"))
    selector_may_change = bool(gates)
    if _frozen(new, selector_may_change) != _frozen(old, selector_may_change):
        yield Fault("spec", f"Forbidden: {POD_UPDATE_RULE}", "FieldValueForbidden")


def deadline_update_faults(new: int | None, old: int | None) -> Iterator[Fault]:
    if old is None or new == old:
        return
    path = "spec.activeDeadlineSeconds"
    if new is None:
        yield wrong_value(path, "null", "must not update from a positive integer to nil value")
    elif new > old:
        yield wrong_value(path, new, f"must be less than or equal to previous value: {old}")


def _frozen(spec: Json, selector_may_change: bool) -> Json:
    """The part of a pod's spec that never changes."""
    free = _MAY_CHANGE if selector_may_change else _MAY_CHANGE - {"nodeSelector"}
    frozen: Json = {key: value for key, value in spec.items() if key not in free}
    for part in ("containers", "initContainers"):
        containers: list[Json] = frozen.get(part) or []
        frozen[part] = [{key: value for key, value in c.items() if key != "image"} for c in containers]
    return frozen


def job_faults(kind: Kind, new: Json, old: Json | None) -> Iterator[Fault]:
    spec = new["spec"]
    template: Json = spec.get("template") or {}
    pod_spec: Json = template.get("spec") or {}
    path = "spec.template.spec"
    yield from labels_faults(kind, (template.get("metadata") or {}).get("labels"), "spec.template.metadata.labels")
    policy = pod_spec.get("restartPolicy")
    if policy in (None, ""):
        yield required(f"{path}.restartPolicy", 'valid values: "OnFailure", "Never"')
        pod_spec = {**pod_spec, "restartPolicy": "Never"}
    elif policy == "Always":
        yield unsupported(f"{path}.restartPolicy", policy, ["OnFailure", "Never"])
    elif spec.get("podFailurePolicy") and policy != "Never":
        yield wrong_value(
            f"{path}.restartPolicy", policy, 'only "Never" is supported when podFailurePolicy is specified'
        )
    yield from spec_faults(kind, pod_spec, path)
    for field in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        value = spec.get(field)
        if value is not None and value < 0:
            yield wrong_value(f"spec.{field}", value, "must be greater than or equal to 0")
    if old:
        yield from job_update_faults(spec, old)


def job_update_faults(spec: Json, old: Json) -> Iterator[Fault]:
    before = old["spec"]
    suspended_before_start = before.get("suspend") and not (old.get("status") or {}).get("startTime")
    for field in ("template", "selector", "completions", "completionMode", "podFailurePolicy"):
        if field == "template" and suspended_before_start:
            continue
        if _plain(spec.get(field)) != _plain(before.get(field)):
            yield immutable(f"spec.{field}")


def _plain(value: Any) -> Any:
    """Absent, null and empty are the same to the API server."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item not in (None, {}, [])}
    return value
