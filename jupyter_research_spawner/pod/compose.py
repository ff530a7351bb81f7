"""Write a plan into a manifest: fill what is absent, refuse what differs.

Overwritten are only what is ours alone: marks, our labels and annotations, our environment, our volumes and mounts,
and the main container's resources.  Pure and idempotent.
"""

from __future__ import annotations

from typing import Any

from ..plan import Plan
from ..shape import Json, Slots
from . import home_check, overlay
from .findings import same_json
from .normalize import normalize
from .numa import guarantee
from .overlay import manifest_refusal


def compose(plan: Plan, manifest: Json, slots: Slots) -> Json:
    """A new manifest with `plan` in it.  Raises Refusal with the path of whatever says something else."""
    found = normalize(manifest, slots)
    metadata = found["metadata"]
    _fill(metadata, "name", plan.shape.name, "metadata")
    _fill(metadata, "namespace", plan.namespace, "metadata")
    metadata["labels"].update({**overlay.labels(plan), **plan.marks.object.labels})
    metadata["annotations"].update({**overlay.object_annotations(plan), **plan.marks.object.annotations})
    for template, pod in slots.pods(found):
        main = overlay.main_container(template, pod)
        _pod_metadata(plan, pod["metadata"], main["name"])
        _pod_spec(plan, pod["spec"], slots)
        _security(plan, pod)
        _main(plan, main, slots)
        _home(plan, pod["spec"], main)
        if plan.resources.numa is not None:
            guarantee(pod)
    return found


def _pod_metadata(plan: Plan, metadata: Json, main: str) -> None:
    labels = {**overlay.labels(plan), **plan.marks.pod.labels}
    annotations = {**overlay.pod_annotations(plan), **overlay.pod_mark_annotations(plan, main)}
    for kind, theirs, own in (
        ("labels", plan.pod_fields.labels, labels),
        ("annotations", plan.pod_fields.annotations, annotations),
    ):
        for key, value in theirs.items():
            _fill(metadata[kind], key, value, f"metadata.{kind}")
        metadata[kind].update(own)


def _pod_spec(plan: Plan, spec: Json, slots: Slots) -> None:
    for key, value in (
        ("schedulerName", plan.marks.scheduler_name),
        ("priorityClassName", plan.marks.priority_class),
    ):
        spec.pop(key, None)
        if value is not None:
            spec[key] = value
    spec.setdefault("activeDeadlineSeconds", plan.hard_seconds)
    _fill(spec, "automountServiceAccountToken", False, "spec")
    for key, value in plan.pod_fields.spec().items():
        _add(spec, key, value, "spec")
    if claims := plan.resources.claims():
        _fill(spec, "resourceClaims", claims, "spec")
    own = overlay.volumes(plan, slots)
    names = {volume["name"] for volume in own}
    spec["volumes"] = [volume for volume in spec.get("volumes", []) if volume["name"] not in names] + own


def _security(plan: Plan, pod: Json) -> None:
    context = pod["spec"].setdefault("securityContext", {})
    path = "spec.securityContext"
    _fill(context, "runAsUser", plan.identity.uid, path)
    _fill(context, "runAsGroup", plan.identity.gid, path)
    _fill(context, "runAsNonRoot", True, path)
    groups = list(plan.identity.supplementary_gids)
    present = context.get("supplementalGroups")
    if present and set(present) != set(groups):
        raise manifest_refusal(f"{path}.supplementalGroups", f"is {present}, but the person's are {groups}")
    context["supplementalGroups"] = groups
    # With Merge, the default, the image's /etc/group adds groups that nobody decided (KEP-3619).
    _fill(context, "supplementalGroupsPolicy", "Strict", path)
    context.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    for where, container in overlay.containers(pod):
        own = container.setdefault("securityContext", {})
        for key, value in (
            ("runAsUser", plan.identity.uid),
            ("runAsGroup", plan.identity.gid),
            ("runAsNonRoot", True),
            ("allowPrivilegeEscalation", False),
        ):
            _fill(own, key, value, f"{where}.securityContext", overlay.remedy(container))
        own.setdefault("capabilities", {}).setdefault("drop", ["ALL"])


def _main(plan: Plan, container: Json, slots: Slots) -> None:
    container["resources"] = plan.resources.as_requirements()
    if plan.image is not None:
        _fill(container, "image", plan.image, f"container {container['name']!r}")
    # Without one it is the image's own, which the runtime would make as root if it lies on shared storage.
    container["workingDir"] = container.get("workingDir") or plan.workdir
    # What it said last becomes the reason that the person reads.
    container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    env = overlay.environment(plan, slots)
    # In front: what the base pod says may refer to HOME and the like.
    container["env"] = [{"name": name, "value": overlay.literal(value)} for name, value in env.items()] + [
        entry for entry in container.get("env", []) if entry["name"] not in env
    ]
    mounts = overlay.volume_mounts(plan, slots)
    names = {mount["name"] for mount in mounts}
    container["volumeMounts"] = [
        mount for mount in container.get("volumeMounts", []) if mount["name"] not in names
    ] + mounts


def _home(plan: Plan, spec: Json, main: Json) -> None:
    others = [container for container in spec.get("initContainers", []) if container["name"] != home_check.NAME]
    spec["initContainers"] = [home_check.home_check_container(plan, main), *others]


def _fill(owner: Json, key: str, value: Any, path: str, remedy: str = "") -> None:
    if not same_json(owner.setdefault(key, value), value):
        raise manifest_refusal(f"{path}.{key}", f"is {owner[key]!r}, but it must be {value!r}{remedy}")


def _add(owner: Json, key: str, value: Any, path: str) -> None:
    """A site's own pod fields, beside what is there: lists add up, maps fill in, and another value is refused."""
    present = owner.get(key)
    if isinstance(value, list) and isinstance(present, list):
        owner[key] = [*present, *(item for item in value if item not in present)]
    elif isinstance(value, dict) and isinstance(present, dict):
        for name, below in value.items():
            _add(present, name, below, f"{path}.{key}")
    else:
        _fill(owner, key, value, path)
