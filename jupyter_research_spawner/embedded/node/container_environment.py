"""Compute a container's environment and command line, as a kubelet does.

Follows k8s.io/kubernetes pkg/kubelet/kubelet_pods.go and third_party/forked/golang/expansion.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING
from typing import Any

from ..apimachinery.api_resources import CONFIG_MAP, SECRET, Kind
from ..apimachinery.object_fields import Json
from ..apimachinery.quantities import quantity
from ..objectstore.object_store import Store

_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")
_KEYED_FIELD = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ConfigError(Exception):
    """A container is in CreateContainerConfigError.  The message is the kubelet's."""


@dataclass(frozen=True)
class Surroundings:
    """The values of a pod and its node that the downward API can return."""

    pod: Json
    pod_ip: str
    host_ip: str
    allocatable: Mapping[str, str]


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the value of NAME, and `$$` by one dollar sign.  Unknown names are not replaced."""
    return _REFERENCE.sub(lambda found: "$" if found[0] == "$$" else env.get(found[1], found[0]), text)


def environment(store: Store, around: Surroundings, container: Json) -> dict[str, str]:
    """Return the environment of a container.  Raises ConfigError if a Secret, a ConfigMap or a key is missing."""
    namespace = around.pod["metadata"]["namespace"]
    env: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        kind, reference = _env_from(source)
        found = referenced(store, kind, namespace, reference)
        for key, content in values_of(found).items():
            env[source.get("prefix", "") + key] = content.decode(errors="replace")
    for variable in container.get("env") or []:
        value = _value(store, around, container, variable, env)
        if value is not None:
            env[variable["name"]] = value
    return env


def _env_from(source: Json) -> tuple[Kind, Json]:
    if "secretRef" in source:
        return SECRET, source["secretRef"]
    return CONFIG_MAP, source.get("configMapRef") or {}


def referenced(store: Store, kind: Kind, namespace: str, reference: Json) -> Json:
    """Return the Secret or ConfigMap, or an empty dict if it is optional and missing.  Raises ConfigError."""
    found = store.find(kind, namespace, reference.get("name", ""))
    if found is None and not reference.get("optional"):
        raise ConfigError(f'{kind.kind.lower()} "{reference.get("name", "")}" not found')
    return found or {}


def values_of(source: Json) -> dict[str, bytes]:
    """Return the contents of a Secret or a ConfigMap."""
    values: dict[str, bytes] = {}
    for key, text in (source.get("data") or {}).items():
        try:
            values[key] = base64.b64decode(text) if source.get("kind") == "Secret" else text.encode()
        except binascii.Error as reason:  # noqa: PERF203  (the message names the key)
            raise ConfigError(f"secret {source['metadata']['name']!r}, key {key!r}: {reason}") from None
    for key, text in (source.get("binaryData") or {}).items():
        values[key] = base64.b64decode(text)
    return values


def _value(store: Store, around: Surroundings, container: Json, variable: Json, env: Mapping[str, str]) -> str | None:
    given = variable.get("valueFrom") or {}
    namespace = around.pod["metadata"]["namespace"]
    for name, kind in (("secretKeyRef", SECRET), ("configMapKeyRef", CONFIG_MAP)):
        if name in given:
            reference = given[name]
            values = values_of(referenced(store, kind, namespace, reference))
            if reference["key"] in values:
                return values[reference["key"]].decode(errors="replace")
            if reference.get("optional"):
                return None
            raise ConfigError(f"couldn't find key {reference['key']} in {kind.kind} {namespace}/{reference['name']}")
    if "fieldRef" in given:
        return field_value(around, given["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in given:
        return resource_value(around, given["resourceFieldRef"], container)
    return expand(variable.get("value") or "", env)


def field_value(around: Surroundings, path: str) -> str:
    """Return the value of a downward API `fieldPath`.  Raises ConfigError for an unknown path."""
    metadata, spec = around.pod["metadata"], around.pod["spec"]
    if keyed := _KEYED_FIELD.fullmatch(path):
        return str((metadata.get(keyed[1]) or {}).get(keyed[2], ""))
    if path in {"metadata.labels", "metadata.annotations"}:
        entries: dict[str, Any] = metadata.get(path.partition(".")[2]) or {}
        return "\n".join(f"{key}={json.dumps(entries[key], ensure_ascii=False)}" for key in sorted(entries))
    fields = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.podIP": around.pod_ip,
        "status.podIPs": around.pod_ip,
        "status.hostIP": around.host_ip,
        "status.hostIPs": around.host_ip,
    }
    if path not in fields:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(fields[path])


def resource_value(around: Surroundings, reference: Json, container: Json | None) -> str:
    """Return the value of a downward API `resourceFieldRef`.  Raises ConfigError for an unknown container.

    If the limit is missing, the value is the node's allocatable amount.
    """
    name = reference.get("containerName")
    if name:
        containers = [*around.pod["spec"]["containers"], *(around.pod["spec"].get("initContainers") or [])]
        container = next((c for c in containers if c["name"] == name), None)
    if container is None:
        raise ConfigError(f"container {name} not found")
    part, _, resource = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(part) or {}).get(resource)
    if amount is None:
        amount = around.allocatable.get(resource, "0") if part == "limits" else "0"
    divisor = quantity(reference.get("divisor") or "1") or quantity("1")
    return str((quantity(amount) / divisor).to_integral_value(ROUND_CEILING))
