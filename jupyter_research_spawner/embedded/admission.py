"""What happens to an object between its request and its storage: defaults, priorities, validation.

Defaults are those that clients and controllers read (k8s.io/kubernetes pkg/apis/*/v1/defaults.go), no others.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from .errors import ApiError, forbidden, invalid
from .kinds import POD, Kind
from .objects import Json, now
from .pod_validation import job_faults, pod_faults
from .validation import validate

SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
PriorityClasses = Mapping[tuple[str | None, str], Json]


def admit(kind: Kind, new: Json, old: Json | None, priority_classes: PriorityClasses) -> None:
    """Complete `new` in place (the caller's own copy).  Raises ApiError 403 or 422 when it may not be stored."""
    if old is None:
        set_defaults(kind, new)
    if kind == POD and old is None:
        set_priority(new, priority_classes)
    faults = validate(kind, new, old)
    if kind == POD:
        faults += pod_faults(new, old)
    elif (kind.group, kind.kind) == ("batch", "Job"):
        faults += job_faults(kind, new, old)
    if faults:
        raise invalid(kind.kind, kind.group, new["metadata"].get("name") or "", faults)


def set_defaults(kind: Kind, obj: Json) -> None:
    if "status" in kind.subresources:
        obj["status"] = {}
    defaults = {
        "Pod": default_pod,
        "Job": default_job,
        "Secret": default_secret,
        "Service": default_service,
        "Namespace": default_namespace,
        "PersistentVolumeClaim": default_claim,
    }
    if kind.kind in defaults:
        defaults[kind.kind](obj)


def default_pod(pod: Json) -> None:
    spec = _part(pod, "spec")
    default_pod_spec(spec, restart_policy="Always")
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}


def default_pod_spec(spec: Json, restart_policy: str = "") -> None:
    if restart_policy:
        _default(spec, "restartPolicy", restart_policy)
    _default(spec, "dnsPolicy", "ClusterFirst")
    _default(spec, "schedulerName", "default-scheduler")
    _default(spec, "terminationGracePeriodSeconds", 30)
    _default(spec, "securityContext", {})
    for part in ("initContainers", "containers"):
        found = spec.get(part)
        for container in found if isinstance(found, list) else []:
            default_container(container)


def default_container(container: Json) -> None:
    image = container.get("image") or ""
    _default(
        container,
        "imagePullPolicy",
        "Always" if image.endswith(":latest") or ":" not in image.rpartition("/")[2] else "IfNotPresent",
    )
    _default(container, "resources", {})
    _default(container, "terminationMessagePath", "/dev/termination-log")
    _default(container, "terminationMessagePolicy", "File")
    limits = container["resources"].get("limits") or {}
    if limits:
        requests = container["resources"].get("requests") or {}
        container["resources"]["requests"] = {**limits, **requests}
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")


def qos_class(spec: Json) -> str:
    """Guaranteed, Burstable or BestEffort, by the CPU and memory of all containers."""
    containers = spec.get("containers")
    if not isinstance(containers, list):
        return "BestEffort"
    guaranteed, any_given = True, False
    for container in [*containers, *(spec.get("initContainers") or [])]:
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in ("cpu", "memory"):
            any_given |= name in requests or name in limits
            guaranteed &= name in limits and requests.get(name) == limits[name]
    if guaranteed:
        return "Guaranteed"
    return "Burstable" if any_given else "BestEffort"


def default_job(job: Json) -> None:
    spec = _part(job, "spec")
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    _default(spec, "parallelism", 1)
    _default(spec, "backoffLimit", 6)
    _default(spec, "completionMode", "NonIndexed")
    _default(spec, "suspend", False)
    _default(spec, "podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    template = _part(spec, "template")
    default_pod_spec(_part(template, "spec"))
    uid = job["metadata"]["uid"]
    labels = _part(_part(template, "metadata"), "labels")
    if not spec.get("manualSelector"):
        name = job["metadata"].get("name") or ""
        for prefix in ("", "batch.kubernetes.io/"):
            labels.update({f"{prefix}controller-uid": uid, f"{prefix}job-name": name})
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    metadata_labels = _part(job["metadata"], "labels")
    for key, value in labels.items():
        metadata_labels.setdefault(key, value)


def default_secret(secret: Json) -> None:
    _default(secret, "type", "Opaque")
    for key, text in (secret.pop("stringData", None) or {}).items():
        _part(secret, "data")[key] = base64.b64encode(text.encode()).decode()


def default_service(service: Json) -> None:
    spec = _part(service, "spec")
    _default(spec, "type", "ClusterIP")
    _default(spec, "sessionAffinity", "None")
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))


def default_namespace(namespace: Json) -> None:
    _part(namespace["metadata"], "labels")["kubernetes.io/metadata.name"] = namespace["metadata"].get("name") or ""
    namespace["status"] = {"phase": "Active"}
    _default(_part(namespace, "spec"), "finalizers", ["kubernetes"])


def default_claim(claim: Json) -> None:
    claim["status"] = {"phase": "Pending"}
    _default(_part(claim, "spec"), "volumeMode", "Filesystem")


def set_priority(pod: Json, classes: PriorityClasses) -> None:
    """The Priority admission plugin: a class's value and preemption policy become the pod's."""
    spec = pod["spec"]
    name = spec.get("priorityClassName") or ""
    if not name:
        name = _global_default(classes)
    value, policy = 0, "PreemptLowerPriority"
    if name in SYSTEM_PRIORITIES:
        value = SYSTEM_PRIORITIES[name]
    elif name:
        found = classes.get((None, name))
        if not found:
            raise forbidden(
                "pods", "", pod["metadata"].get("name") or "", f"no PriorityClass with name {name} was found"
            )
        value, policy = int(found.get("value", 0)), found.get("preemptionPolicy") or policy
    if spec.get("priority") not in (None, value):
        why = (
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
            f"priority admission controller computed {value} from the given PriorityClass name"
        )
        raise forbidden("pods", "", pod["metadata"].get("name") or "", why)
    if name:
        spec["priorityClassName"] = name
    spec["priority"] = value
    _default(spec, "preemptionPolicy", policy)


def _global_default(classes: PriorityClasses) -> str:
    defaults = [c for c in classes.values() if c.get("globalDefault")]
    lowest = min(defaults, key=lambda c: int(c.get("value", 0)), default=None)
    return str(lowest["metadata"]["name"]) if lowest else ""


def accept_definition(crd: Json) -> None:
    """A CustomResourceDefinition is served at once."""
    names = crd["spec"]["names"]
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", names["kind"] + "List")
    conditions = [
        {"type": type_, "status": "True", "reason": reason, "lastTransitionTime": now()}
        for type_, reason in (("NamesAccepted", "NoConflicts"), ("Established", "InitialNamesAccepted"))
    ]
    stored = [version["name"] for version in crd["spec"]["versions"] if version.get("storage")]
    crd["status"] = {"conditions": conditions, "acceptedNames": names, "storedVersions": stored}


def _part(obj: Json, key: str) -> Json:
    """The dict under `key`, made when it is absent or null."""
    if obj.get(key) is None:
        obj[key] = {}
    if not isinstance(obj[key], dict):
        message = f"{obj.get('kind', 'Object')} cannot be handled: json: {key} must be an object"
        raise ApiError(400, "BadRequest", message)
    part: Json = obj[key]
    return part


def _default(obj: Json, key: str, value: Any) -> None:
    if obj.get(key) is None:
        obj[key] = value
