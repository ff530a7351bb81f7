"""Re-read the finished manifest and trust nothing: it may have been through KubeSpawner's settings and admins' hooks.

Each rule is one function that yields (path, sentence).  Whatever is not known to be harmless is named and refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..plan import ANNOTATION_LIMIT, Plan
from ..refusal import Refusal
from ..schedulers import reserved
from ..shape import OUR_PREFIX, Json, Slots
from . import check_containers, check_volumes, home_check, overlay
from .findings import Findings, PodUnderCheck, same_json
from .normalize import normalize
from .numa import why_not_pinned
from .overlay import manifest_refusal


def check(plan: Plan, manifest: Json, slots: Slots) -> None:
    """Raises Refusal that names the first path that would make the pod somebody or something else."""
    for path, message in _found(plan, manifest, slots):
        raise manifest_refusal(path, message)


def problems(plan: Plan, manifest: Json, slots: Slots) -> list[tuple[str, str]]:
    """Everything that is wrong, as (path, sentence); [] for a manifest that may be sent."""
    try:
        return list(_found(plan, manifest, slots))
    except Refusal as refusal:
        return [(refusal.field or "", refusal.message)]


def _found(plan: Plan, manifest: Json, slots: Slots) -> Findings:
    """Raises Refusal where the manifest is not even in form."""
    found = normalize(manifest, slots)
    yield from _object(plan, found, slots)
    for template, pod in slots.pods(found):
        checked = PodUnderCheck(plan, slots, pod, overlay.main_container(template, pod), is_object=not template.path)
        for rule in RULES:
            yield from rule(checked)


def _object(plan: Plan, manifest: Json, slots: Slots) -> Findings:
    metadata = manifest["metadata"]
    for key, value in (("name", plan.shape.name), ("namespace", plan.namespace)):
        if metadata.get(key) != value:
            yield f"metadata.{key}", f"is {metadata.get(key)!r}, not {value!r}"
    if not all(template.path for template in slots.templates):
        return  # it is the pod, and the rule `marks` reads more of it
    marks = plan.marks.object
    yield from _texts("labels", metadata, {**overlay.labels(plan), **marks.labels})
    yield from _texts("annotations", metadata, {**overlay.object_annotations(plan), **marks.annotations})
    yield from _not_marks(metadata, {*marks.labels, *marks.annotations}, reserved)


def identity_of_pod(checked: PodUnderCheck) -> Findings:
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
            yield f"{path}.{key}", f"is {context.get(key)!r}, but it must be {value!r}"
    groups = context.get("supplementalGroups", [])
    if set(groups) != set(identity.supplementary_gids):
        yield f"{path}.supplementalGroups", f"is {groups}, but the person's are {list(identity.supplementary_gids)}"
    known = {*wanted, "supplementalGroups", "seccompProfile", "appArmorProfile"}
    for key in sorted(set(context) - known):
        yield f"{path}.{key}", "may not be set: it could change who the person is to the file system"
    yield from check_containers.confined(context, path)


# What a pod may say besides what compose writes.  A new field of Kubernetes is refused until a site allows it.
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
_OTHERS = "must be false: the person would see other people's, or the sidecars', processes or traffic"
# Fields with the one value they may have, if they are there at all.
FIXED: Mapping[str, tuple[Any, str]] = {
    "hostIPC": (False, _OTHERS),
    "hostNetwork": (False, _OTHERS),
    "hostPID": (False, _OTHERS),
    "hostUsers": (True, "must be true: the shared file system would see another uid"),
    "shareProcessNamespace": (False, _OTHERS),
}
# Never, whatever a site allows.
WHY = {
    "nodeName": "would pass by the scheduler and its queue",
    "preemptionPolicy": "is the PriorityClass's affair",
    "priority": "would pass by the queue's priority",
    "resources": "would change what the profile gives, and no CPU is pinned with it",
    "serviceAccount": "would give the person that account's rights in the cluster",
    "serviceAccountName": "would give the person that account's rights in the cluster",
}


def fields_of_spec(checked: PodUnderCheck) -> Findings:
    spec, allowed = checked.spec, checked.plan.allowed
    for key in sorted(set(spec) - HARMLESS):
        if key in FIXED:
            value, why = FIXED[key]
            if not same_json(spec[key], value):
                yield f"spec.{key}", why
        elif key in WHY:
            yield f"spec.{key}", WHY[key]
        elif not allowed.fields.get(key):
            yield f"spec.{key}", f"is not known to be harmless. If it is: pods.allow.fields: {{{key}: true}}"
    if spec.get("automountServiceAccountToken") is not False:
        yield "spec.automountServiceAccountToken", "must be false: the person gets no account in the cluster"
    for gate in spec.get("schedulingGates", []):
        if not allowed.scheduling_gates.get(gate["name"]):
            waits = "the pod would wait for whoever removes it (pods.allow.scheduling_gates)"
            yield "spec.schedulingGates", f"has {gate['name']!r}: {waits}"


def devices(checked: PodUnderCheck) -> Findings:
    """That containers take the pod's claims as the plan says, the rules for their resources see."""
    claims, wanted = checked.spec.get("resourceClaims", []), checked.plan.resources.claims()
    if claims != wanted:
        yield "spec.resourceClaims", f"are {claims}, but the profile gives {wanted or 'none'}"


def pinned(checked: PodUnderCheck) -> Findings:
    wanted = checked.plan.resources
    # Where the main container has other amounts than the profile's, that is what is wrong.
    if wanted.numa is not None and checked.main.get("resources") == wanted.as_requirements():
        yield from why_not_pinned(checked.pod, checked.main["name"])


def wall_time(checked: PodUnderCheck) -> Findings:
    seconds, hard = checked.spec.get("activeDeadlineSeconds"), checked.plan.hard_seconds
    if type(seconds) is not int or not 0 < seconds <= hard:
        yield "spec.activeDeadlineSeconds", f"is {seconds!r}, but it must be 1 to {hard}, the hard wall time"


def marks(checked: PodUnderCheck) -> Findings:
    plan, metadata = checked.plan, checked.metadata
    labels = {**overlay.labels(plan), **plan.marks.pod.labels}
    annotations = {**overlay.pod_annotations(plan), **overlay.pod_mark_annotations(plan, checked.main["name"])}
    if checked.is_object:
        labels |= plan.marks.object.labels
        annotations |= plan.marks.object.annotations
    yield from _texts("labels", metadata, labels)
    yield from _texts("annotations", metadata, annotations)
    yield from _not_marks(metadata, {*labels, *annotations}, lambda key: key.startswith(OUR_PREFIX) or reserved(key))
    for key, value in (("schedulerName", plan.marks.scheduler_name), ("priorityClassName", plan.marks.priority_class)):
        if checked.spec.get(key) != value:
            yield f"spec.{key}", f"is {checked.spec.get(key)!r}, not {value!r}"


# Read by container runtimes: they hand over devices, take away confinement, or map the uid to another.
RUNTIME_ANNOTATIONS = ("cdi.k8s.io/", "container.apparmor.security.beta.kubernetes.io/", "io.kubernetes.cri-o.")


def runtime_annotations(checked: PodUnderCheck) -> Findings:
    written = checked.metadata["annotations"]
    for key in sorted(written):
        if key.startswith(RUNTIME_ANNOTATIONS):
            yield f"metadata.annotations.{key}", "could change what the container may do, or as whom"
    texts = [part for key, value in written.items() if key.startswith(OUR_PREFIX) for part in (key, value)]
    size = sum(len(text.encode()) for text in texts)
    if size > ANNOTATION_LIMIT + 2_000:  # the plan counts values, not keys
        yield "metadata.annotations", f"of ours are {size} bytes long, more than {ANNOTATION_LIMIT}"


def _texts(kind: str, metadata: Json, wanted: Mapping[str, str]) -> Findings:
    for key, value in wanted.items():
        if metadata[kind].get(key) != value:
            yield f"metadata.{kind}.{key}", f"is {metadata[kind].get(key)!r}, not {value!r}"


def _not_marks(metadata: Json, wanted: Iterable[str], is_mark: Callable[[str], bool]) -> Findings:
    for kind in ("labels", "annotations"):
        for key in sorted(set(metadata[kind]) - set(wanted)):
            if is_mark(key):
                why = "is a mark that the plan did not make: the pod would be queued twice or as somebody else's"
                yield f"metadata.{kind}.{key}", why


RULES: tuple[Callable[[PodUnderCheck], Findings], ...] = (
    identity_of_pod,
    check_containers.identity,
    check_containers.fields,
    check_containers.handlers,
    check_containers.main,
    home_check.home_check_is_first,
    check_containers.resources,
    check_containers.environment,
    check_volumes.sources,
    check_volumes.mounts,
    fields_of_spec,
    devices,
    pinned,
    wall_time,
    marks,
    runtime_annotations,
)
