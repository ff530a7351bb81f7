"""Validate the metadata of all objects, and small kinds such as Event, with the API server's messages (1.36.3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ..apimachinery.api_errors import Fault
from ..apimachinery.api_resources import CLAIM, CONFIG_MAP, EVENT, PRIORITY_CLASS, SECRET, Kind
from ..apimachinery.field_rules import (
    CONFIG_KEY_RULE,
    LABEL,
    LABEL_RULE,
    SUBDOMAIN,
    SUBDOMAIN_RULE,
    forbidden_field,
    immutable,
    key_faults,
    labels_faults,
    required,
    unsupported,
    wrong_value,
)
from ..apimachinery.object_fields import Json

MAX_ANNOTATIONS_BYTES = 256 * 1024
HIGHEST_PRIORITY = 1_000_000_000
_PATH_SEGMENT_GROUPS = {"rbac.authorization.k8s.io"}  # names such as system:node are allowed there
_DNS_LABEL_KINDS = {"Namespace", "Service"}
_STANDARD_FINALIZERS = {"foregroundDeletion", "orphan", "kubernetes"}
_ACCESS_MODES = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]


def validate(kind: Kind, new: Json, old: Json | None) -> list[Fault]:
    """Return the faults of an object.  Other modules validate the specs of pods and Jobs."""
    faults = [*metadata_faults(kind, new["metadata"]), *metadata_update_faults(new, old)]
    if kind in _FAULTS:
        faults += _FAULTS[kind](new, old)
    return faults


def metadata_faults(kind: Kind, metadata: Json) -> Iterator[Fault]:
    prefix, name = metadata.get("generateName") or "", metadata.get("name") or ""
    if prefix:
        yield from name_faults(kind, prefix.rstrip("-."), "metadata.generateName", prefix)
    if name:
        yield from name_faults(kind, name, "metadata.name", name)
    else:
        yield required("metadata.name", "name or generateName is required")
    yield from labels_faults(metadata.get("labels"), "metadata.labels")
    yield from annotation_faults(metadata.get("annotations") or {})
    yield from owner_faults(metadata.get("ownerReferences") or [])
    for index, finalizer in enumerate(metadata.get("finalizers") or []):
        path = f"metadata.finalizers[{index}]"
        yield from key_faults(finalizer, path)
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            yield wrong_value(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified")


def name_faults(kind: Kind, name: str, path: str, shown: str) -> Iterator[Fault]:
    if kind.group in _PATH_SEGMENT_GROUPS:
        if "/" in name or "%" in name:
            yield wrong_value(path, shown, "may not contain '/'")
    elif kind.kind in _DNS_LABEL_KINDS:
        if not LABEL.fullmatch(name) or len(name) > 63:
            yield wrong_value(path, shown, LABEL_RULE)
    elif not SUBDOMAIN.fullmatch(name):
        yield wrong_value(path, shown, SUBDOMAIN_RULE)
    elif len(name) > 253:
        yield wrong_value(path, shown, "must be no more than 253 characters")


def annotation_faults(annotations: Json) -> Iterator[Fault]:
    for key in annotations:
        yield from key_faults(key.lower(), "metadata.annotations")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > MAX_ANNOTATIONS_BYTES:
        message = f"Too long: may not be more than {MAX_ANNOTATIONS_BYTES} bytes"
        yield Fault("metadata.annotations", message, "FieldValueTooLong")


def owner_faults(owners: list[Json]) -> Iterator[Fault]:
    path = "metadata.ownerReferences"
    for owner in owners:
        for field, rule in (
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ):
            if not owner.get(field):
                yield wrong_value(f"{path}.{field}", "", rule)
    controllers = [f"{owner.get('kind')}/{owner.get('name')}" for owner in owners if owner.get("controller")]
    if len(controllers) > 1:
        rule = 'Only one reference can have Controller set to true. Found "true" in references for '
        yield wrong_value(path, owners, rule + " and ".join(controllers[:2]))


def metadata_update_faults(new: Json, old: Json | None) -> Iterator[Fault]:
    if old is None or not old["metadata"].get("deletionTimestamp"):
        return
    before = old["metadata"].get("finalizers") or []
    added = [name for name in new["metadata"].get("finalizers") or [] if name not in before]
    if added:
        shown = ", ".join(f'"{name}"' for name in added)
        why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{shown}}}"
        yield forbidden_field("metadata.finalizers", why)


def event_faults(event: Json, _: Json | None) -> Iterator[Fault]:
    involved = event.get("involvedObject") or {}
    namespace = event["metadata"]["namespace"]
    if involved.get("namespace", "") != namespace and not (namespace == "default" and not involved.get("namespace")):
        yield wrong_value("involvedObject.namespace", involved.get("namespace", ""), "does not match event.namespace")


def claim_faults(claim: Json, _: Json | None) -> Iterator[Fault]:
    spec = claim.get("spec") or {}
    modes = spec.get("accessModes") or []
    if not modes:
        yield required("spec.accessModes", "at least 1 access mode is required")
    for mode in modes:
        if mode not in _ACCESS_MODES:
            yield unsupported("spec.accessModes", mode, _ACCESS_MODES)
    if not ((spec.get("resources") or {}).get("requests") or {}).get("storage"):
        yield required("spec.resources[storage]")


def priority_class_faults(new: Json, old: Json | None) -> Iterator[Fault]:
    name, value = new["metadata"].get("name") or "", new.get("value", 0)
    if name.startswith("system-"):
        why = f"priority class names with 'system-' prefix are reserved for system use only. error: {name} is not"
        yield forbidden_field("metadata.name", f"{why} a known system priority class")
    elif value > HIGHEST_PRIORITY:
        why = f"maximum allowed value of a user defined priority is {HIGHEST_PRIORITY}"
        yield forbidden_field("value", why)
    if old and old.get("value") != new.get("value"):
        yield forbidden_field("value", "may not be changed in an update.")
    if old and old["preemptionPolicy"] != new.get("preemptionPolicy"):
        yield immutable("preemptionPolicy", new.get("preemptionPolicy"))


def contents_faults(new: Json, old: Json | None) -> Iterator[Fault]:
    """Yield faults of the contents of a ConfigMap or Secret."""
    for part in ("data", "binaryData"):
        for key in new.get(part) or {}:
            if not re.fullmatch(r"[-._a-zA-Z0-9]+", key):
                yield wrong_value(f"{part}[{key}]", key, CONFIG_KEY_RULE)
    if old and old.get("immutable"):
        for part in ("data", "binaryData"):
            if (new.get(part) or {}) != (old.get(part) or {}):
                yield forbidden_field(part, "field is immutable when `immutable` is set")


_FAULTS: dict[Kind, Callable[[Json, Json | None], Iterator[Fault]]] = {
    EVENT: event_faults,
    CLAIM: claim_faults,
    PRIORITY_CLASS: priority_class_faults,
    CONFIG_MAP: contents_faults,
    SECRET: contents_faults,
}
