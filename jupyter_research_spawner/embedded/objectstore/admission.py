"""Apply defaults, admission plugins and validation to an object before it is stored.

The admission plugins are ServiceAccount (without a token volume), Priority and DefaultTolerationSeconds.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..apimachinery.api_errors import forbidden, invalid
from ..apimachinery.api_resources import JOB, POD, PRIORITY_CLASS, SERVICE_ACCOUNT, Kind
from ..apimachinery.object_fields import Json, now
from .defaults import begin, set_defaults
from .job_validation import job_faults
from .object_validation import validate
from .pod_validation import pod_faults

SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
Objects = Mapping[tuple[str | None, str], Json]  # by namespace and name
Stored = Mapping[tuple[str, str], Objects]  # by Kind.key


def admit(kind: Kind, new: Json, old: Json | None, stored: Stored) -> None:
    """Set the missing fields of `new`, and validate it.  Raises ApiError 403 or 422 if the object is refused."""
    set_defaults(kind, new)
    if old is None:
        begin(kind, new)
    if kind == POD and old is None:
        set_service_account(new, stored[SERVICE_ACCOUNT.key])
        set_priority(new, stored[PRIORITY_CLASS.key])
        set_tolerations(new["spec"])
    faults = validate(kind, new, old)
    if kind == POD:
        faults += pod_faults(new, old)
    elif kind == JOB:
        faults += job_faults(new, old)
    if faults:
        raise invalid(kind.kind, kind.group, new["metadata"].get("name") or "", faults)


def set_service_account(pod: Json, accounts: Objects) -> None:
    spec, metadata = pod["spec"], pod["metadata"]
    name = spec.get("serviceAccountName") or "default"
    if (metadata["namespace"], name) not in accounts:
        why = f'error looking up service account {metadata["namespace"]}/{name}: serviceaccount "{name}" not found'
        raise forbidden("pods", "", metadata.get("name") or "", why)
    spec["serviceAccountName"] = spec["serviceAccount"] = name


def set_tolerations(spec: Json) -> None:
    """Add the tolerations with which a pod stays for five minutes on a node that is not ready or unreachable."""
    tolerations = list(spec.get("tolerations") or [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(
            toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")
            for toleration in tolerations
        ):
            added = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            tolerations.append(added)
    spec["tolerations"] = tolerations


def set_priority(pod: Json, classes: Objects) -> None:
    """Copy the value and preemption policy of the priority class into the pod, as the Priority plugin does."""
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
    if spec.get("preemptionPolicy") not in (None, "", policy):
        why = (
            f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
            f"priority admission controller computed {policy} from the given PriorityClass name"
        )
        raise forbidden("pods", "", pod["metadata"].get("name") or "", why)
    if name:
        spec["priorityClassName"] = name
    spec["priority"] = value
    spec["preemptionPolicy"] = policy


def _global_default(classes: Objects) -> str:
    defaults = [c for c in classes.values() if c.get("globalDefault")]
    lowest = min(defaults, key=lambda c: int(c.get("value", 0)), default=None)
    return str(lowest["metadata"]["name"]) if lowest else ""


def accept_definition(crd: Json) -> None:
    """Set the status of a CustomResourceDefinition to established, because this server serves it immediately."""
    names = crd["spec"]["names"]
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", names["kind"] + "List")
    conditions = [
        {"type": type_, "status": "True", "reason": reason, "lastTransitionTime": now()}
        for type_, reason in (("NamesAccepted", "NoConflicts"), ("Established", "InitialNamesAccepted"))
    ]
    stored = [version["name"] for version in crd["spec"]["versions"] if version.get("storage")]
    crd["status"] = {"conditions": conditions, "acceptedNames": names, "storedVersions": stored}
