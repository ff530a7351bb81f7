"""Verify a finished manifest, because KubeSpawner's settings and administrators' hooks can have changed any field.

Each rule is a function that yields (path of the field, problem).  A field that no rule knows is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set
from typing import Any

from ..plan import ANNOTATION_LIMIT, Plan
from ..refusal import Refusal
from ..schedulers import reserved
from ..shape import OUR_PREFIX, Json, Slots
from ..wording import quote
from . import container_rules, home_check, volume_rules, working_directory
from .compose import compose_all
from .containers import all_containers, main_container, manifest_refusal, same_json
from .cpu_pinning import why_not_pinned
from .findings import Findings, PodUnderCheck
from .normalize import normalize
from .overlay import Overlay, object_overlay, pod_overlay


def check(plan: Plan, manifest: Json, slots: Slots) -> None:
    """Raise Refusal for the first field that could change what runs or the user that it runs as."""
    for path, message in _findings(plan, manifest, slots):
        raise manifest_refusal(path, message)


def problems(plan: Plan, manifest: Json, slots: Slots) -> list[tuple[str, str]]:
    """Return all problems as (path of the field, problem); [] if the manifest may be created."""
    try:
        return list(_findings(plan, manifest, slots))
    except Refusal as refusal:
        return [(refusal.field or "", refusal.message)]


def all_problems(plan: Plan, manifest: Json, slots: Slots) -> tuple[Json, list[tuple[str, str]]]:
    """Compose and check a pod; return it with all problems of both, as (path of the field, problem).

    Fields that contradict the plan are reported and then overwritten with the plan's value, so each problem appears
    once.  The paths have the names of containers: `spec.initContainers[chown].securityContext.runAsUser`.
    """
    try:
        composed, refused = compose_all(plan, manifest, slots)
    except Refusal as refusal:
        path = refusal.field or ""
        return manifest, [(path if _OWN_NAME.fullmatch(path) else _with_name(manifest, path), _clause(refusal))]
    found = {_with_name(manifest, refusal.field or ""): _clause(refusal) for refusal in refused}
    for path, message in problems(plan, composed, slots):
        found.setdefault(_with_name(composed, path), message)
    return composed, list(found.items())


_CONTAINER = re.compile(r"spec\.(initContainers|containers|ephemeralContainers)\[(\d+)\]")

_OWN_NAME = re.compile(r"spec\.\w+\[\d+\]\.name")


def _with_name(pod: Json, path: str) -> str:
    """Return the path with the name of its container instead of the number."""
    found = _CONTAINER.match(path)
    if found is None:
        return path
    name = pod["spec"][found[1]][int(found[2])].get("name", found[2])
    return f"spec.{found[1]}[{name}]{path[found.end() :]}"


def _clause(refusal: Refusal) -> str:
    """Return the problem in the refusal of a manifest, without the words that all these refusals have."""
    return refusal.message.removeprefix(f"Nothing was started: the pod's {refusal.field} ").rstrip(".")


def _findings(plan: Plan, manifest: Json, slots: Slots) -> Findings:
    """Yield the problems of all rules.  Raises Refusal if a field has another type than in Kubernetes' API."""
    finished = normalize(manifest, slots)
    yield from _check_object(plan, finished, slots)
    for template, pod in slots.pods(finished):
        checked = PodUnderCheck(
            plan,
            pod_overlay(plan, slots, template),
            pod,
            main_container(template, pod),
            tuple(all_containers(pod)),
        )
        for rule in RULES:
            yield from rule(checked)


def _check_object(plan: Plan, manifest: Json, slots: Slots) -> Findings:
    metadata = manifest["metadata"]
    for key, value in (("name", plan.shape.name), ("namespace", plan.namespace)):
        if metadata.get(key) != value:
            yield f"metadata.{key}", f"is {quote(metadata.get(key))}, not {quote(value)}"
    if slots.is_pod:
        return  # check_metadata compares its metadata with the pod's overlay
    marks = plan.marks.object
    yield from _compare_metadata(metadata, object_overlay(plan), {*marks.labels, *marks.annotations}, reserved)


def check_pod_identity(checked: PodUnderCheck) -> Findings:
    """Require the user's uid, gid and groups in the security context of the pod."""
    context, identity = checked.spec.get("securityContext", {}), checked.plan.identity
    path = "spec.securityContext"
    wanted = {
        "runAsUser": identity.uid,
        "runAsGroup": identity.gid,
        "runAsNonRoot": True,
        "supplementalGroupsPolicy": "Strict",
    }
    for key, value in wanted.items():
        if not same_json(context.get(key), value):
            yield f"{path}.{key}", f"is {quote(context.get(key))}, but it must be {quote(value)}"
    groups = context.get("supplementalGroups", [])
    if set(groups) != set(identity.supplementary_gids):
        yield f"{path}.supplementalGroups", f"is {groups}, but the user's are {list(identity.supplementary_gids)}"
    known = {*wanted, "supplementalGroups", "seccompProfile", "appArmorProfile"}
    for key in sorted(set(context) - known):
        yield f"{path}.{key}", "must not be set: it could change the user's identity on the file system"
    yield from container_rules.check_confinement(context, path, checked.plan.allowed)


# Fields of a PodSpec that are always allowed.  Other fields are refused unless FIXED or pods.allow.fields allows them.
HARMLESS = frozenset(
    {
        "activeDeadlineSeconds",
        "affinity",
        "automountServiceAccountToken",
        "containers",
        "dnsConfig",
        "dnsPolicy",
        "enableServiceLinks",
        "ephemeralContainers",
        "hostAliases",
        "hostname",
        "imagePullSecrets",
        "initContainers",
        "nodeSelector",
        "priorityClassName",
        "resourceClaims",
        "restartPolicy",
        "runtimeClassName",
        "schedulerName",
        "schedulingGates",
        "securityContext",
        "setHostnameAsFQDN",
        "subdomain",
        "terminationGracePeriodSeconds",
        "tolerations",
        "topologySpreadConstraints",
        "volumes",
    }
)
_OTHERS = "must be false: the user would see the processes or the traffic of other users or of sidecars"
# Fields that must be absent or have the given value, and why.
FIXED: Mapping[str, tuple[Any, str]] = {
    "hostIPC": (False, _OTHERS),
    "hostNetwork": (False, _OTHERS),
    "hostPID": (False, _OTHERS),
    "hostUsers": (True, "must be true: with false, the shared file system would see another uid"),
    "shareProcessNamespace": (False, _OTHERS),
}
# Fields that cannot be allowed in the settings, and why.
FORBIDDEN = {
    "nodeName": "would bypass the scheduler and its queue",
    "preemptionPolicy": "is decided by the PriorityClass",
    "priority": "would override the queue's priority",
    "resources": "would change the profile's requests and limits, and the kubelet would pin no CPUs",
    "serviceAccount": "would give the user the rights of that service account",
    "serviceAccountName": "would give the user the rights of that service account",
}


def check_spec_fields(checked: PodUnderCheck) -> Findings:
    spec, allowed = checked.spec, checked.plan.allowed
    for key in sorted(set(spec) - HARMLESS):
        if key in FIXED:
            value, why = FIXED[key]
            if not same_json(spec[key], value):
                yield f"spec.{key}", why
        elif key in FORBIDDEN:
            yield f"spec.{key}", FORBIDDEN[key]
        elif not allowed.fields.get(key):
            yield f"spec.{key}", f"is not known to be harmless. To allow it, set pods.allow.fields: {{{key}: true}}"
    if spec.get("automountServiceAccountToken") is not False:
        yield "spec.automountServiceAccountToken", "must be false: users get no service account token"
    for gate in spec.get("schedulingGates", []):
        if not allowed.scheduling_gates.get(gate["name"]):
            why = "the pod would wait until a controller removes it. To allow it, set pods.allow.scheduling_gates"
            yield "spec.schedulingGates", f"has {gate['name']!r}: {why}"


def check_resource_claims(checked: PodUnderCheck) -> Findings:
    """Compare the pod's resource claims with the plan.  Other rules check which containers use the claims."""
    claims, wanted = checked.spec.get("resourceClaims", []), checked.plan.resources.claims()
    if claims != wanted:
        yield "spec.resourceClaims", f"are {claims}, but the profile gives {wanted or 'none'}"


def check_cpu_pinning(checked: PodUnderCheck) -> Findings:
    wanted = checked.plan.resources
    # check_main_container already reports requests and limits that differ from the profile's.
    if wanted.numa is not None and checked.main.get("resources") == wanted.as_requirements():
        yield from why_not_pinned(checked.pod, checked.main["name"])


def check_wall_time(checked: PodUnderCheck) -> Findings:
    seconds, hard = checked.spec.get("activeDeadlineSeconds"), checked.plan.hard_seconds
    if type(seconds) is not int or not 0 < seconds <= hard:
        yield "spec.activeDeadlineSeconds", f"is {quote(seconds)}, but it must be 1 to {hard}, the hard wall time"


def check_metadata(checked: PodUnderCheck) -> Findings:
    """Compare the pod's labels, annotations, scheduler name and priority class with the plan."""
    overlay, marks = checked.overlay, checked.plan.marks
    written = {*overlay.labels, *overlay.annotations}
    yield from _compare_metadata(checked.metadata, overlay, written, _is_ours_or_reserved)
    for key, value in (("schedulerName", marks.scheduler_name), ("priorityClassName", marks.priority_class)):
        if checked.spec.get(key) != value:
            yield f"spec.{key}", f"is {quote(checked.spec.get(key))}, not {quote(value)}"


def _is_ours_or_reserved(key: str) -> bool:
    """Return whether the label or annotation `key` is reserved for this project or a scheduler."""
    return key.startswith(OUR_PREFIX) or reserved(key)


# Container runtimes read these annotations: they can give devices, remove confinement or map the uid to another uid.
RUNTIME_ANNOTATIONS = (
    "cdi.k8s.io/",
    "container.apparmor.security.beta.kubernetes.io/",
    "dev.gvisor.",
    "io.containerd.",
    "io.katacontainers.",
    "io.kubernetes.cri-o.",
    "org.systemd.property.",
    "run.oci.",
    "seccomp.security.alpha.kubernetes.io/",
)


def check_annotations(checked: PodUnderCheck) -> Findings:
    """Refuse annotations that container runtimes read, and annotations of this project that are too long."""
    written = checked.metadata["annotations"]
    for key in sorted(key for key in written if key.startswith(RUNTIME_ANNOTATIONS)):
        why = "must not be set: it could give the container devices, rights or another user"
        yield f"metadata.annotations.{key}", why
    size = sum(len((key + value).encode()) for key, value in written.items() if key.startswith(OUR_PREFIX))
    if size > ANNOTATION_LIMIT + 2_000:  # the plan checks the values; here the keys are added
        yield (
            "metadata.annotations",
            f"of {OUR_PREFIX} are {size} bytes long, more than {ANNOTATION_LIMIT}",
        )


def check_ownership(checked: PodUnderCheck) -> Findings:
    """Refuse finalizers and owners, because they would let others decide when the pod is deleted."""
    for key, why in (
        ("finalizers", "the pod would stay until a controller removes them"),
        ("ownerReferences", "the pod would be deleted with its owner"),
    ):
        if checked.metadata.get(key):
            yield f"metadata.{key}", f"must not be set: {why}"


def _compare_metadata(metadata: Json, overlay: Overlay, written: Set[str], is_mark: Callable[[str], bool]) -> Findings:
    """Require the overlay's labels and annotations.  Refuse other keys for which `is_mark` is true."""
    for kind, wanted in (("labels", overlay.labels), ("annotations", overlay.annotations)):
        present = metadata[kind]
        for key, value in wanted.items():
            if present.get(key) != value:
                yield f"metadata.{kind}.{key}", f"is {quote(present.get(key))}, not {quote(value)}"
    for kind in ("labels", "annotations"):
        for key in sorted(metadata[kind].keys() - written):
            if is_mark(key):
                why = "must not be set: a scheduler could queue the pod twice or for another user"
                yield f"metadata.{kind}.{key}", why


RULES: tuple[Callable[[PodUnderCheck], Findings], ...] = (
    check_pod_identity,
    container_rules.check_container_identity,
    container_rules.check_container_fields,
    container_rules.check_handlers,
    container_rules.check_main_container,
    working_directory.check_working_directory,
    home_check.check_home_check,
    container_rules.check_other_resources,
    container_rules.check_environment,
    volume_rules.check_volume_sources,
    volume_rules.check_mounts,
    check_spec_fields,
    check_resource_claims,
    check_cpu_pinning,
    check_wall_time,
    check_metadata,
    check_annotations,
    check_ownership,
)
