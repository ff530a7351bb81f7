"""Re-read the finished manifest and trust nothing: it may have been through KubeSpawner's settings and admins' hooks.

Each rule is one function that yields (path, sentence).  Whatever is not known to be harmless is named and refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..plan import ANNOTATION_LIMIT, Plan
from ..refusal import Refusal
from ..schedulers import reserved
from ..shape import OUR_PREFIX, Json, Slots, Template
from ..storage import within
from . import ours
from .form import in_form
from .ours import broken
from .volumes import mount_rules, volume_rules


@dataclass(frozen=True)
class Subject:
    """One pod template under examination."""

    plan: Plan
    slots: Slots
    template: Template
    pod: Json

    @property
    def spec(self) -> Json:
        spec: Json = self.pod["spec"]
        return spec

    @property
    def main(self) -> Json:
        return ours.main_container(self.template, self.pod)


Found = Iterator[tuple[str, str]]


def check(plan: Plan, manifest: Json, slots: Slots) -> None:
    """Raises Refusal that names the first path that would make the pod somebody or something else."""
    for path, message in problems(plan, manifest, slots):
        raise broken(path, message)


def problems(plan: Plan, manifest: Json, slots: Slots) -> list[tuple[str, str]]:
    """Everything that is wrong, as (path, sentence); [] for a manifest that may be sent."""
    try:
        found_form = in_form(manifest, slots)
        found = list(_object(plan, found_form))
        for template, pod in slots.pods(found_form):
            subject = Subject(plan, slots, template, pod)
            for rule in RULES:
                found.extend(rule(subject))
    except Refusal as refusal:
        return [(refusal.field or "", refusal.message)]
    return found


def _object(plan: Plan, manifest: Json) -> Found:
    metadata = manifest["metadata"]
    if metadata.get("namespace") != plan.namespace:
        yield "metadata.namespace", f"is {metadata.get('namespace')!r}, not {plan.namespace!r}"
    for kind, wanted in (
        ("labels", {**ours.labels(plan), **plan.marks.object.labels}),
        ("annotations", {**ours.object_annotations(plan), **plan.marks.object.annotations}),
    ):
        for key, value in wanted.items():
            if metadata[kind].get(key) != value:
                yield f"metadata.{kind}.{key}", f"is {metadata[kind].get(key)!r}, not {value!r}"


def identity_of_pod(subject: Subject) -> Found:
    context, identity = subject.spec.get("securityContext", {}), subject.plan.identity
    path = "spec.securityContext"
    wanted = {"runAsUser": identity.uid, "runAsGroup": identity.gid, "supplementalGroupsPolicy": "Strict"}
    for key, value in wanted.items():
        if not _same(context.get(key), value):
            yield f"{path}.{key}", f"is {context.get(key)!r}, but it must be {value!r}"
    if context.get("runAsNonRoot") is not True:
        yield f"{path}.runAsNonRoot", "must be true"
    groups = context.get("supplementalGroups", [])
    if not isinstance(groups, list) or not all(type(gid) is int for gid in groups):
        yield f"{path}.supplementalGroups", "is not a list of numbers"
    elif set(groups) - {identity.gid} != set(identity.supplementary_gids):
        yield f"{path}.supplementalGroups", f"is {groups}, but the person's are {list(identity.supplementary_gids)}"
    known = {*wanted, "runAsNonRoot", "supplementalGroups", "seccompProfile", "appArmorProfile"}
    for key in sorted(set(context) - known):
        yield f"{path}.{key}", "may not be set: it could change who the person is to the file system"
    yield from _profiles(context, path)


def identity_of_containers(subject: Subject) -> Found:
    identity = subject.plan.identity
    known = {
        "runAsUser",
        "runAsGroup",
        "runAsNonRoot",
        "allowPrivilegeEscalation",
        "capabilities",
        "readOnlyRootFilesystem",
        "seccompProfile",
        "appArmorProfile",
        "privileged",
        "procMount",
    }
    for where, container in ours.containers(subject.pod):
        path, context = f"{where}.securityContext", container.get("securityContext", {})
        hint = _known_container(container)
        if not _same(context.get("runAsUser", identity.uid), identity.uid):
            yield f"{path}.runAsUser", f"is {context['runAsUser']!r}, but it must be {identity.uid}{hint}"
        if not _same(context.get("runAsGroup", identity.gid), identity.gid):
            yield f"{path}.runAsGroup", f"is {context['runAsGroup']!r}, but it must be {identity.gid}{hint}"
        if context.get("runAsNonRoot", True) is not True:
            yield f"{path}.runAsNonRoot", "may not be false"
        if context.get("privileged", False) is not False:
            yield f"{path}.privileged", f"may not be set{hint}"
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{path}.allowPrivilegeEscalation", "must be false: a setuid program would change who the person is"
        if context.get("procMount", "Default") != "Default":
            yield f"{path}.procMount", "must be Default"
        capabilities = context.get("capabilities", {})
        if capabilities.get("add"):
            yield f"{path}.capabilities.add", f"is {capabilities['add']}: no capability may be added{hint}"
        if "ALL" not in (capabilities.get("drop") or []):
            yield f"{path}.capabilities.drop", "must contain ALL"
        for key in sorted(set(context) - known):
            yield f"{path}.{key}", "may not be set: it could change what the container may do"
        yield from _profiles(context, path)


def _profiles(context: Json, path: str) -> Found:
    for key in ("seccompProfile", "appArmorProfile"):
        profile = context.get(key, {})
        if not isinstance(profile, dict) or profile.get("type", "RuntimeDefault") == "Unconfined":
            yield f"{path}.{key}", "may not be Unconfined"


def _known_container(container: Json) -> str:
    """The chart's own that cannot pass, by the name of the value that removes it."""
    if container.get("name") == "block-cloud-metadata":
        return ". Set singleuser.cloudMetadata.blockWithIptables: false and use the chart's NetworkPolicy instead"
    return ""


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
        "hostIPC",
        "hostNetwork",
        "hostPID",
        "hostUsers",
        "hostname",
        "imagePullSecrets",
        "initContainers",
        "nodeSelector",
        "os",
        "preemptionPolicy",
        "priorityClassName",
        "readinessGates",
        "restartPolicy",
        "runtimeClassName",
        "schedulerName",
        "schedulingGates",
        "securityContext",
        "setHostnameAsFQDN",
        "shareProcessNamespace",
        "subdomain",
        "terminationGracePeriodSeconds",
        "tolerations",
        "topologySpreadConstraints",
        "volumes",
    }
)
WHY = {
    "nodeName": "would pass by the scheduler and its queue",
    "serviceAccountName": "would give the person that account's rights in the cluster",
    "serviceAccount": "would give the person that account's rights in the cluster",
    "resources": "would change what the profile gives, and no CPU is pinned with it",
    "resourceClaims": "would take devices that the profile does not give",
    "priority": "would pass by the queue's priority",
}


def fields_of_spec(subject: Subject) -> Found:
    spec = subject.spec
    for key in sorted(set(spec) - HARMLESS):
        if not subject.plan.allowed.fields.get(key) or key in WHY:
            yield (
                f"spec.{key}",
                WHY.get(key) or f"is not known to be harmless. If it is: pods.allow.fields: {{{key}: true}}",
            )
    for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
        if spec.get(key, False) is not False:
            yield (
                f"spec.{key}",
                "may not be set: the person would see other people's, or the sidecars', processes or traffic",
            )
    if spec.get("hostUsers", True) is not True:
        yield "spec.hostUsers", "may not be false: the shared file system would see another uid"
    if spec.get("automountServiceAccountToken") is not False:
        yield "spec.automountServiceAccountToken", "must be false: the person gets no account in the cluster"
    if spec.get("preemptionPolicy") is not None:
        yield "spec.preemptionPolicy", "is the PriorityClass's affair"
    gates = spec.get("schedulingGates", [])
    for gate in gates if isinstance(gates, list) else [gates]:
        name = gate.get("name") if isinstance(gate, dict) else gate
        if not subject.plan.allowed.scheduling_gates.get(str(name)):
            yield (
                "spec.schedulingGates",
                f"has {name!r}: the pod would wait for whoever removes it (pods.allow.scheduling_gates)",
            )


def wall_time(subject: Subject) -> Found:
    seconds, hard = subject.spec.get("activeDeadlineSeconds"), subject.plan.hard_seconds
    if type(seconds) is not int or not 0 < seconds <= hard:
        yield "spec.activeDeadlineSeconds", f"is {seconds!r}, but it must be 1 to {hard}, the hard wall time"


def marks(subject: Subject) -> Found:
    plan, metadata = subject.plan, subject.pod["metadata"]
    is_object = not subject.template.path
    for kind in ("labels", "annotations"):
        of_ours = ours.labels(plan) if kind == "labels" else ours.pod_annotations(plan)
        of_pod, of_object = getattr(plan.marks.pod, kind), getattr(plan.marks.object, kind)
        wanted = {**of_ours, **of_pod, **(of_object if is_object else {})}
        for key, value in wanted.items():
            if metadata[kind].get(key) != value:
                yield f"metadata.{kind}.{key}", f"is {metadata[kind].get(key)!r}, not {value!r}"
        for key in sorted(set(metadata[kind]) - set(wanted)):
            if key.startswith(OUR_PREFIX) or reserved(key):
                yield (
                    f"metadata.{kind}.{key}",
                    "is a mark that the plan did not make: the pod would be queued twice or as somebody else's",
                )
    for key, value in (("schedulerName", plan.marks.scheduler_name), ("priorityClassName", plan.marks.priority_class)):
        if subject.spec.get(key) != value:
            yield f"spec.{key}", f"is {subject.spec.get(key)!r}, not {value!r}"
    size = sum(len(key) + len(value) for key, value in metadata["annotations"].items() if key.startswith(OUR_PREFIX))
    if size > ANNOTATION_LIMIT + 2_000:
        yield "metadata.annotations", f"of ours are {size} bytes long, more than {ANNOTATION_LIMIT}"


def resources(subject: Subject) -> Found:
    plan, main = subject.plan, subject.main
    if main.get("resources") != plan.resources.as_requirements():
        yield f"resources of container {subject.template.main!r}", f"are {main.get('resources')}, not the profile's"
    if plan.image is not None and main.get("image") != plan.image:
        yield f"image of container {subject.template.main!r}", f"is {main.get('image')!r}, not {plan.image!r}"
    for where, container in ours.containers(subject.pod):
        if container is main:
            continue
        amounts = container.get("resources", {})
        asked = {**amounts.get("requests", {}), **amounts.get("limits", {})}
        for name in sorted(set(asked) - {"cpu", "memory", "ephemeral-storage"}):
            yield f"{where}.resources.{name}", "may not be asked for beside the profile's own"
        if "claims" in amounts:
            yield f"{where}.resources.claims", "would take devices that the profile does not give"
        if plan.resources.numa is not None and not _guaranteed(amounts):
            yield (
                f"{where}.resources",
                "must have cpu and memory with requests equal to limits, or the kubelet pins no CPU",
            )


def _guaranteed(amounts: Json) -> bool:
    requests, limits = amounts.get("requests", {}), amounts.get("limits", {})
    return all(name in limits and requests.get(name) == limits[name] for name in ("cpu", "memory"))


HIJACKING = ("LD_PRELOAD", "LD_AUDIT", "NSS_WRAPPER_")


def environment(subject: Subject) -> Found:
    wanted = ours.environment(subject.plan, subject.slots)
    for where, container in ours.containers(subject.pod):
        for index, entry in enumerate(container.get("env", [])):
            if entry["name"].startswith(HIJACKING):
                yield f"{where}.env[{index}]", f"sets {entry['name']}, which could change who programs think they are"
    entries = subject.main.get("env", [])
    for name, value in wanted.items():
        found = [entry for entry in entries if entry["name"] == name]
        if [entry.get("value") for entry in found] != [ours.literal(value)] or "valueFrom" in found[0]:
            yield f"env of container {subject.template.main!r}", f"must have {name} exactly once, as the plan says"


def volumes(subject: Subject) -> Found:
    yield from volume_rules(subject.plan, subject.slots, subject.spec.get("volumes", []))


def mounts(subject: Subject) -> Found:
    yield from mount_rules(subject.plan, subject.slots, subject.pod, subject.main)


def working_directory(subject: Subject) -> Found:
    """A job's is the person's wish: it must lie on their storage, where who they are decides what they may do."""
    asked = subject.plan.request.workdir
    if asked is None:
        return
    if subject.main.get("workingDir") != asked:
        yield f"workingDir of container {subject.template.main!r}", f"is not {asked!r}"
    if not any(within(asked, mount.path) for mount in subject.plan.mounts):
        yield (
            f"workingDir of container {subject.template.main!r}",
            f"is {asked!r}, which is on none of the person's mounts",
        )


RULES: tuple[Callable[[Subject], Found], ...] = (
    identity_of_pod,
    identity_of_containers,
    fields_of_spec,
    wall_time,
    marks,
    resources,
    environment,
    volumes,
    mounts,
    working_directory,
)


def _same(found: Any, wanted: Any) -> bool:
    """True is not 1: JSON tells them apart, Python does not."""
    return type(found) is type(wanted) and found == wanted
