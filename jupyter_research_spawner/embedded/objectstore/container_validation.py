"""Validate containers, with the API server's messages (pkg/apis/core/validation, compared with 1.36.3)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..apimachinery.api_errors import Fault
from ..apimachinery.field_rules import (
    LABEL,
    LABEL_RULE,
    MAX_ID,
    key_faults,
    number_fault,
    required,
    unsupported,
    wrong_value,
)
from ..apimachinery.object_fields import Json
from ..apimachinery.quantities import quantity
from .volume_validation import field_path_faults

_PULL_POLICIES = ["Always", "IfNotPresent", "Never"]
_PROTOCOLS = ["SCTP", "TCP", "UDP"]
_RESOURCES = {"cpu", "memory", "ephemeral-storage"}
_ENV_NAME = re.compile(r"[ -<>-~]+")
_ENV_RULE = "a valid environment variable name must consist only of printable ASCII characters other than '='"
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS = {"exec", "httpGet", "tcpSocket", "grpc"}


def container_faults(container: Json, path: str, volumes: set[Any], *, is_init: bool) -> Iterator[Fault]:
    name = container.get("name")
    if not name:
        yield required(f"{path}.name")
    elif not LABEL.fullmatch(name) or len(name) > 63:
        yield wrong_value(f"{path}.name", name, LABEL_RULE)
    image = container.get("image") or ""
    if not image:
        yield required(f"{path}.image")
    elif image != image.strip():
        yield wrong_value(f"{path}.image", image, "must not have leading or trailing whitespace")
    if container["imagePullPolicy"] not in _PULL_POLICIES:
        yield unsupported(f"{path}.imagePullPolicy", container["imagePullPolicy"], _PULL_POLICIES)
    yield from port_faults(container.get("ports") or [], f"{path}.ports")
    for index, variable in enumerate(container.get("env") or []):
        yield from variable_faults(variable, f"{path}.env[{index}]")
    yield from mount_faults(container.get("volumeMounts") or [], f"{path}.volumeMounts", volumes)
    yield from resource_faults(container.get("resources") or {}, f"{path}.resources")
    yield from security_faults(container.get("securityContext") or {}, f"{path}.securityContext")
    for probe in _PROBES:
        if probe in container and not _HANDLERS & container[probe].keys():
            yield required(f"{path}.{probe}", "must specify a handler type")
    policies = ["Always", "Never", "OnFailure"]
    if is_init and container.get("restartPolicy", "Always") not in policies:
        yield unsupported(f"{path}.restartPolicy", container["restartPolicy"], policies)


def security_faults(context: Json, path: str) -> Iterator[Fault]:
    """Yield faults of the security context fields that pods and containers share."""
    for field in ("runAsUser", "runAsGroup"):
        yield from number_fault(f"{path}.{field}", context.get(field), 0, MAX_ID)
    profile = (context.get("seccompProfile") or {}).get("type", "Unconfined")
    if profile not in ("Localhost", "RuntimeDefault", "Unconfined"):
        supported = ["Localhost", "RuntimeDefault", "Unconfined"]
        yield unsupported(f"{path}.seccompProfile.type", profile, supported)


def port_faults(ports: list[Json], path: str) -> Iterator[Fault]:
    for index, port in enumerate(ports):
        here = f"{path}[{index}]"
        name, number = port.get("name") or "", port.get("containerPort")
        if name and not re.fullmatch(r"[-a-z0-9]+", name):
            yield wrong_value(
                f"{here}.name", name, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
            )
        if name and not re.search(r"[a-z]", name):
            yield wrong_value(f"{here}.name", name, "must contain at least one letter (a-z)")
        if not number:
            yield required(f"{here}.containerPort")
        elif not 1 <= number <= 65535:
            yield wrong_value(f"{here}.containerPort", number, "must be between 1 and 65535, inclusive")
        if port["protocol"] not in _PROTOCOLS:
            yield unsupported(f"{here}.protocol", port["protocol"], _PROTOCOLS)


def variable_faults(variable: Json, path: str) -> Iterator[Fault]:
    name, source = variable.get("name") or "", variable.get("valueFrom")
    if not name:
        yield required(f"{path}.name")
    elif not _ENV_NAME.fullmatch(name):
        yield wrong_value(f"{path}.name", name, _ENV_RULE)
    if source is None:
        return
    if not source:
        rule = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        yield wrong_value(f"{path}.valueFrom", "", rule)
    elif variable.get("value"):
        yield wrong_value(f"{path}.valueFrom", "", "may not be specified when `value` is not empty")
    elif len(source) > 1:
        yield wrong_value(f"{path}.valueFrom", "", "may not have more than one field specified at a time")
    if "fieldRef" in source:
        yield from field_path_faults(source["fieldRef"], f"{path}.valueFrom.fieldRef")


def mount_faults(mounts: list[Json], path: str, volumes: set[Any]) -> Iterator[Fault]:
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
        if mount.get("subPath") and mount.get("subPathExpr"):
            rule = "subPathExpr and subPath are mutually exclusive"
            yield wrong_value(f"{here}.subPathExpr", mount["subPathExpr"], rule)
        for field in ("subPath", "subPathExpr"):
            sub_path = mount.get(field) or ""
            # The API server writes this path without the index.
            if sub_path.startswith("/"):
                yield wrong_value(f"{path}.{field}", sub_path, "must be a relative path")
            elif ".." in sub_path.split("/"):
                yield wrong_value(f"{path}.{field}", sub_path, "must not contain '..'")


def resource_faults(resources: Json, path: str) -> Iterator[Fault]:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for part, given in (("limits", limits), ("requests", requests)):
        for name, text in given.items():
            yield from amount_faults(name, text, f"{path}.{part}[{name}]")
    for name, text in requests.items():
        extended = "/" in name
        if extended and name not in limits:
            yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif name not in limits:
            continue
        elif extended and quantity(text) != quantity(limits[name]):
            yield wrong_value(f"{path}.requests", text, f"must be equal to {name} limit of {limits[name]}")
        elif quantity(text) > quantity(limits[name]):
            rule = f"must be less than or equal to {name} limit of {limits[name]}"
            yield wrong_value(f"{path}.requests", text, rule)


def amount_faults(name: str, text: str, path: str) -> Iterator[Fault]:
    if "/" in name:
        yield from key_faults(name, path)
        if name.startswith("requests."):
            yield wrong_value(path, name, "doesn't follow extended resource name standard")
        elif quantity(text) % 1:
            yield wrong_value(path, text, "must be an integer")
    elif name not in _RESOURCES and not name.startswith("hugepages-"):
        if name != "storage":
            yield wrong_value(path, name, "must be a standard resource type or fully qualified")
        yield wrong_value(path, name, "must be a standard resource for containers")
    if quantity(text) < 0:
        yield wrong_value(path, text, "must be greater than or equal to 0")
