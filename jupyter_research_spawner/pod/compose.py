"""Write a plan into a manifest: fill in missing fields, and refuse fields with another value.

Only scheduler marks, the overlay and the main container's resources are overwritten.  The functions are pure, and
composing twice gives the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from ..plan import Plan
from ..refusal import Refusal
from ..resources import NVIDIA_DEVICES
from ..settings.units import parse_bytes, parse_cores
from ..shape import Json, Slots
from ..site.pod_merge import Contradiction, merge_field
from ..storage import env_text
from ..wording import quote
from .containers import all_containers, main_container, manifest_refusal, remedy, same_json
from .cpu_pinning import equalize_requests_and_limits
from .home_check import HOME_CHECK, home_check_container
from .normalize import normalize
from .overlay import NO_NVIDIA_DEVICES, Overlay, hides_nvidia_devices, object_overlay, pod_overlay
from .secret_references import make_optional
from .working_directory import compose_working_directory

# What to do with a field that contradicts the plan: raise the refusal, or note it.
Refuse = Callable[[Refusal], None]


def compose(plan: Plan, manifest: Json, slots: Slots) -> Json:
    """Return a copy of the manifest with `plan` in it.  Raises Refusal if a field contradicts the plan."""

    def refuse(refusal: Refusal) -> None:
        raise refusal

    return _compose(plan, manifest, slots, refuse)


def compose_all(plan: Plan, manifest: Json, slots: Slots) -> tuple[Json, list[Refusal]]:
    """Return what `compose` returns, with the plan's value in each field that contradicts it, and all refusals.

    Raises Refusal if the manifest is not a valid object of Kubernetes.
    """
    found: list[Refusal] = []
    return _compose(plan, manifest, slots, found.append), found


def _compose(plan: Plan, manifest: Json, slots: Slots, refuse: Refuse) -> Json:
    composed = normalize(manifest, slots)
    metadata = composed["metadata"]
    _fill(refuse, metadata, "name", plan.shape.name, "metadata")
    _fill(refuse, metadata, "namespace", plan.namespace, "metadata")
    if not slots.is_pod:
        overlay = object_overlay(plan)
        metadata["labels"].update(overlay.labels)
        metadata["annotations"].update(overlay.annotations)
    for template, pod in slots.pods(composed):
        overlay = pod_overlay(plan, slots, template)
        main = main_container(template, pod)
        _compose_metadata(refuse, plan, overlay, pod["metadata"])
        _write_numbers_as_text(pod)
        _compose_spec(refuse, plan, overlay, pod["spec"])
        _compose_security(refuse, plan, pod)
        _compose_main(refuse, plan, overlay, main)
        if slots.interactive:
            _state_amounts(plan, main)
        others = [container for container in pod["spec"].get("initContainers", []) if container["name"] != HOME_CHECK]
        pod["spec"]["initContainers"] = [home_check_container(plan, overlay, main), *others]
        _compose_nvidia(plan, pod, main)
        make_optional(plan, pod)
        if plan.resources.numa is not None:
            equalize_requests_and_limits(pod)
    return composed


def _write_numbers_as_text(pod: Json) -> None:
    """Turn numbers and booleans in variables into text, as a container's `env` in a chart's values can have them."""
    for _, container in all_containers(pod):
        for entry in container.get("env", ()):
            if "value" in entry:
                entry["value"] = env_text(entry["value"])


def _compose_metadata(refuse: Refuse, plan: Plan, overlay: Overlay, metadata: Json) -> None:
    for kind, of_site, own in (
        ("labels", plan.pod_fields.labels, overlay.labels),
        ("annotations", plan.pod_fields.annotations, overlay.annotations),
    ):
        for key, value in of_site.items():
            _fill(refuse, metadata[kind], key, value, f"metadata.{kind}")
        metadata[kind].update(own)


def _compose_spec(refuse: Refuse, plan: Plan, overlay: Overlay, spec: Json) -> None:
    for key, value in (
        ("schedulerName", plan.marks.scheduler_name),
        ("priorityClassName", plan.marks.priority_class),
    ):
        spec.pop(key, None)
        if value is not None:
            spec[key] = value
    spec.setdefault("activeDeadlineSeconds", plan.hard_seconds)
    _fill(refuse, spec, "automountServiceAccountToken", False, "spec")
    for key, value in plan.pod_fields.spec().items():
        _add(refuse, spec, key, value, "spec")
    if claims := plan.resources.claims():
        _fill(refuse, spec, "resourceClaims", claims, "spec")
    _replace_named(spec, "volumes", overlay.volumes)


def _compose_security(refuse: Refuse, plan: Plan, pod: Json) -> None:
    context = pod["spec"].setdefault("securityContext", {})
    path = "spec.securityContext"
    _fill(refuse, context, "runAsUser", plan.identity.uid, path)
    _fill(refuse, context, "runAsGroup", plan.identity.gid, path)
    _fill(refuse, context, "runAsNonRoot", True, path)
    groups = list(plan.identity.supplementary_gids)
    present = context.get("supplementalGroups")
    if present and set(present) != set(groups):
        refuse(manifest_refusal(f"{path}.supplementalGroups", f"is {present}, but the user's are {groups}"))
    context["supplementalGroups"] = groups
    # With Merge, the default, groups in the image's /etc/group are added to the process (KEP-3619).
    _fill(refuse, context, "supplementalGroupsPolicy", "Strict", path)
    context.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    for where, container in all_containers(pod):
        own = container.setdefault("securityContext", {})
        for key, value in (
            ("runAsUser", plan.identity.uid),
            ("runAsGroup", plan.identity.gid),
            ("runAsNonRoot", True),
            ("allowPrivilegeEscalation", False),
        ):
            _fill(refuse, own, key, value, f"{where}.securityContext", remedy(container))
        own.setdefault("capabilities", {}).setdefault("drop", ["ALL"])


def _compose_main(refuse: Refuse, plan: Plan, overlay: Overlay, container: Json) -> None:
    container["resources"] = plan.resources.as_requirements()
    if plan.image is not None:
        _fill(refuse, container, "image", plan.image, f"container {container['name']!r}")
    # If the container fails, its status then has the last lines of the log, which are shown to the user.
    container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    # The overlay's variables come first, because later variables can refer to them, as in $(HOME).
    names = {entry["name"] for entry in overlay.env}
    others = [entry for entry in container.get("env", []) if entry["name"] not in names]
    container["env"] = [*overlay.env, *others]
    _replace_named(container, "volumeMounts", overlay.mounts)
    try:
        compose_working_directory(plan, container)
    except Refusal as refusal:
        refuse(refusal)


def _compose_nvidia(plan: Plan, pod: Json, main: Json) -> None:
    """Hide NVIDIA's devices from each container that gets none, and do not hide them from the one that gets some.

    Other values of the variable remain, and `check` refuses them.
    """
    for _, container in all_containers(pod):
        env = container.get("env", [])
        if container is main and plan.resources.may_have_nvidia_gpu:
            container["env"] = [entry for entry in env if not hides_nvidia_devices(entry)]
        elif all(entry["name"] != NVIDIA_DEVICES for entry in env):
            container["env"] = [*env, dict(NO_NVIDIA_DEVICES)]


def _state_amounts(plan: Plan, container: Json) -> None:
    """Correct KubeSpawner's variables of the CPU and memory of a notebook, because a hook may have changed them."""
    memory, cpu = str(plan.resources.memory), str(float(plan.resources.cpu))
    amounts = {"MEM_LIMIT": memory, "MEM_GUARANTEE": memory, "CPU_LIMIT": cpu, "CPU_GUARANTEE": cpu}
    for entry in container["env"]:
        if entry["name"] in amounts:
            entry.pop("valueFrom", None)
            entry["value"] = amounts[entry["name"]]


def replaced_fields(base: Json, composed: Json, main: str) -> list[tuple[str, Any, Any]]:
    """Return (path, value, new value) for each field of a notebook's pod in which `compose` replaced another value."""
    before, after = base.get("spec") or {}, composed["spec"]
    found = [
        (f"spec.{key}", before[key], after.get(key))
        for key in ("schedulerName", "priorityClassName")
        if before.get(key) not in (None, "", after.get(key))
    ]
    for old, new in product(before.get("containers") or (), after["containers"]):
        if old.get("name") == new["name"] == main:
            found += _replaced_amounts(old.get("resources") or {}, new["resources"])
    return found


def _replaced_amounts(before: Json, after: Json) -> Iterator[tuple[str, Any, Any]]:
    for kind in ("limits", "requests"):
        for name, amount in sorted((before.get(kind) or {}).items()):
            new = (after.get(kind) or {}).get(name)
            if _amount(name, amount) != _amount(name, new):
                yield f"the main container's resources.{kind}.{name}", amount, new


def _amount(name: str, written: Any) -> Any:
    """Return an amount of CPU or memory as a number, so that 2 equals "2.0"; other amounts unchanged."""
    parse = {"cpu": parse_cores, "memory": parse_bytes}.get(name)
    try:
        return parse(written) if parse else written
    except ValueError:
        return written


def _replace_named(owner: Json, key: str, own: tuple[Json, ...]) -> None:
    """Append `own` to the list, and remove other entries that have the same names."""
    names = {entry["name"] for entry in own}
    others = [entry for entry in owner.get(key, []) if entry["name"] not in names]
    owner[key] = [*others, *own]


def _fill(refuse: Refuse, owner: Json, key: str, value: Any, path: str, hint: str = "") -> None:
    """Set a missing field.  A field that is present with another value is refused, and then set."""
    if not same_json(owner.setdefault(key, value), value):
        why = f"is {quote(owner[key], 512)}, but it must be {quote(value, 512)}{hint}"
        refuse(manifest_refusal(f"{path}.{key}", why))
        owner[key] = value


def _add(refuse: Refuse, owner: Json, key: str, value: Any, path: str) -> None:
    """Add a pod field from the settings to what KubeSpawner's settings and hooks have written, so that both hold."""
    present = owner.get(key)
    if not isinstance(value, (list, dict)) or present is None:
        _fill(refuse, owner, key, value, path)
        return
    try:
        owner[key] = merge_field(key, present, value)
    except Contradiction as error:
        hint = f"Remove it from KubeSpawner's settings and hooks, or from {key} in `pods` and `profiles`."
        refuse(manifest_refusal(f"{path}.{error.path}", error.message, hint))
