"""Set defaults as the API server does (k8s.io/kubernetes pkg/apis/*/v1/defaults.go, compared with 1.36.3).

Defaults that no client of this cluster reads are not set, for example those of Services.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from ..apimachinery.api_errors import ApiError
from ..apimachinery.api_resources import BUILT_IN, Kind
from ..apimachinery.object_fields import Json, with_condition


def set_defaults(kind: Kind, obj: Json) -> None:
    """Set the defaults of missing fields.  Every write calls this, so an update also gets defaults."""
    if kind in BUILT_IN and kind.kind in _DEFAULTS:
        _DEFAULTS[kind.kind](obj)


def begin(kind: Kind, obj: Json) -> None:
    """Set the fields that only the server sets when an object is created.  They replace values from the client."""
    if "status" in kind.subresources:
        obj["status"] = {}
    if kind in BUILT_IN and kind.kind in _BEGINNINGS:
        _BEGINNINGS[kind.kind](obj)


def default_pod(pod: Json) -> None:
    spec = _part(pod, "spec")
    default_pod_spec(spec)
    _default(spec, "enableServiceLinks", True)
    for container in _containers(spec):
        resources = container["resources"]
        if limits := resources.get("limits"):
            resources["requests"] = {**limits, **(resources.get("requests") or {})}
    status = pod.get("status") or {}
    if status.get("podIP"):
        _default(status, "podIPs", [{"ip": status["podIP"]}])
    for part in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(part) or []:
            for name, value in (("ready", False), ("restartCount", 0), ("image", ""), ("imageID", "")):
                container.setdefault(name, value)
            container.setdefault("lastState", {})


def begin_pod(pod: Json) -> None:
    spec = pod["spec"]
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
    if spec.get("schedulingGates"):
        why = ("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
        pod["status"]["conditions"] = with_condition(None, "PodScheduled", "False", *why)


def default_pod_spec(spec: Json) -> None:
    _default(spec, "restartPolicy", "Always")
    _default(spec, "dnsPolicy", "ClusterFirst")
    _default(spec, "schedulerName", "default-scheduler")
    _default(spec, "terminationGracePeriodSeconds", 30)
    if spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1
    _default(spec, "securityContext", {})
    for container in _containers(spec):
        default_container(container)
    for volume in spec.get("volumes") or []:
        default_volume(volume)


def _containers(spec: Json) -> list[Json]:
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


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
    for port in container.get("ports") or []:
        _default(port, "protocol", "TCP")
    for variable in container.get("env") or []:
        if field := (variable.get("valueFrom") or {}).get("fieldRef"):
            _default(field, "apiVersion", "v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            default_probe(probe)


def default_probe(probe: Json) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        _default(probe, name, value)
    if get := probe.get("httpGet"):
        _default(get, "path", "/")
        _default(get, "scheme", "HTTP")


def default_volume(volume: Json) -> None:
    if volume.keys() <= {"name"}:
        volume["emptyDir"] = {}
    for kind in ("configMap", "secret", "downwardAPI", "projected"):
        if kind in volume:
            _default(volume[kind], "defaultMode", 0o644)
    sources = [volume.get("downwardAPI") or {}]
    sources += [source.get("downwardAPI") or {} for source in (volume.get("projected") or {}).get("sources") or []]
    for item in [item for source in sources for item in source.get("items") or []]:
        if field := item.get("fieldRef"):
            _default(field, "apiVersion", "v1")


def qos_class(spec: Json) -> str:
    """Return Guaranteed, Burstable or BestEffort, depending on the CPU and memory of all containers."""
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
    _default(spec, "backoffLimit", 6 if spec.get("backoffLimitPerIndex") is None else 2**31 - 1)
    _default(spec, "completionMode", "NonIndexed")
    _default(spec, "suspend", False)
    _default(spec, "podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    _default(spec, "manualSelector", False)
    template = _part(spec, "template")
    default_pod_spec(_part(template, "spec"))


def begin_job(job: Json) -> None:
    spec, metadata = job["spec"], job["metadata"]
    labels = _part(_part(spec["template"], "metadata"), "labels")
    if not spec["manualSelector"]:
        for prefix in ("", "batch.kubernetes.io/"):
            labels.setdefault(f"{prefix}controller-uid", metadata["uid"])
            labels.setdefault(f"{prefix}job-name", metadata.get("name") or "")
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": metadata["uid"]}}
    if not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def default_deployment(deployment: Json) -> None:
    spec = _part(deployment, "spec")
    _default(spec, "replicas", 1)
    _default(spec, "revisionHistoryLimit", 10)
    _default(spec, "progressDeadlineSeconds", 600)
    _default(spec, "strategy", {})
    _default(spec["strategy"], "type", "RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        _default(spec["strategy"], "rollingUpdate", {"maxUnavailable": "25%", "maxSurge": "25%"})
    default_pod_spec(_part(_part(spec, "template"), "spec"))


def default_event(event: Json) -> None:
    _default(event, "source", {})
    for name in ("firstTimestamp", "lastTimestamp", "eventTime"):
        event.setdefault(name, None)
    for name in ("reportingComponent", "reportingInstance"):
        event.setdefault(name, "")


def default_priority_class(priority_class: Json) -> None:
    _default(priority_class, "preemptionPolicy", "PreemptLowerPriority")


def default_network_policy(policy: Json) -> None:
    spec = _part(policy, "spec")
    _default(spec, "policyTypes", ["Ingress", *(["Egress"] if spec.get("egress") else [])])


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


def begin_namespace(namespace: Json) -> None:
    _part(namespace["metadata"], "labels")["kubernetes.io/metadata.name"] = namespace["metadata"].get("name") or ""
    namespace["status"] = {"phase": "Active"}
    _default(_part(namespace, "spec"), "finalizers", ["kubernetes"])


def default_claim(claim: Json) -> None:
    _default(_part(claim, "spec"), "volumeMode", "Filesystem")


def begin_claim(claim: Json) -> None:
    claim["status"] = {"phase": "Pending"}


_DEFAULTS: dict[str, Callable[[Json], None]] = {
    "Pod": default_pod,
    "Job": default_job,
    "Secret": default_secret,
    "Service": default_service,
    "PersistentVolumeClaim": default_claim,
    "Deployment": default_deployment,
    "Event": default_event,
    "NetworkPolicy": default_network_policy,
    "PriorityClass": default_priority_class,
}
_BEGINNINGS: dict[str, Callable[[Json], None]] = {
    "Pod": begin_pod,
    "Job": begin_job,
    "Namespace": begin_namespace,
    "PersistentVolumeClaim": begin_claim,
}


def _part(obj: Json, key: str) -> Json:
    """Return the dict under `key`.  A missing or null dict is created."""
    if obj.get(key) is None:
        obj[key] = {}
    if not isinstance(obj[key], dict):
        message = f"{obj.get('kind', 'Object')} cannot be handled: json: {key} must be an object"
        raise ApiError(400, "BadRequest", message)
    part: Json = obj[key]
    return part


def _default(obj: Json, key: str, value: Any) -> None:
    """Set a value that is missing.  As in Go, an empty string counts as missing."""
    if obj.get(key) in (None, ""):
        obj[key] = value
