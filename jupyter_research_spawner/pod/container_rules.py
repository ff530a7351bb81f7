"""Rules of `check` for each container: its user, capabilities, resources and environment."""

from __future__ import annotations

from collections.abc import Mapping

from ..resources import NO_DEVICES, NVIDIA_DEVICES, gives_devices
from ..shape import Json
from ..site.pod_fields import Allowed
from ..storage import HIJACKING_ENV, within
from ..wording import quote
from .containers import remedy, same_json
from .findings import Findings, PodUnderCheck
from .home_check import HOME_CHECK
from .overlay import hides_nvidia_devices

_KNOWN_CONTEXT = frozenset(
    {
        "allowPrivilegeEscalation",
        "appArmorProfile",
        "capabilities",
        "privileged",
        "procMount",
        "readOnlyRootFilesystem",
        "runAsGroup",
        "runAsNonRoot",
        "runAsUser",
        "seccompProfile",
    }
)


def check_container_identity(checked: PodUnderCheck) -> Findings:
    """Refuse containers that run as another user or could gain privileges."""
    who = checked.plan.identity
    for where, container in checked.containers:
        path, context = f"{where}.securityContext", container.get("securityContext", {})
        hint = remedy(container)
        for key, wanted in (("runAsUser", who.uid), ("runAsGroup", who.gid)):
            if not same_json(context.get(key, wanted), wanted):
                yield f"{path}.{key}", f"is {quote(context[key])}, but it must be {wanted}{hint}"
        if context.get("runAsNonRoot", True) is not True:
            yield f"{path}.runAsNonRoot", f"must not be false{hint}"
        if context.get("privileged", False) is not False:
            yield f"{path}.privileged", f"must not be set{hint}"
        if context.get("allowPrivilegeEscalation") is not False:
            why = "must be false: a setuid program would change the user's identity"
            yield f"{path}.allowPrivilegeEscalation", why + hint
        if context.get("procMount", "Default") != "Default":
            yield f"{path}.procMount", "must be Default"
        capabilities = context.get("capabilities", {})
        if capabilities.get("add"):
            yield f"{path}.capabilities.add", f"is {capabilities['add']}: no capability may be added{hint}"
        if "ALL" not in capabilities.get("drop", []):
            yield f"{path}.capabilities.drop", f"must contain ALL{hint}"
        for key in sorted(set(context) - _KNOWN_CONTEXT):
            yield f"{path}.{key}", "must not be set: it could give the container more rights"
        yield from check_confinement(context, path, checked.plan.allowed)


def check_confinement(context: Json, path: str, allowed: Allowed) -> Findings:
    """Refuse seccomp and AppArmor profiles in a security context that are neither RuntimeDefault nor allowed."""
    for key in ("seccompProfile", "appArmorProfile"):
        kind = context.get(key, {}).get("type", "RuntimeDefault")
        if kind == "Unconfined":
            yield f"{path}.{key}", "must not be Unconfined"
        elif kind != "RuntimeDefault":
            name = context[key].get("localhostProfile")
            if not allowed.localhost_profiles.get(str(name)):
                why = f"is the node's profile {name!r}, which is not allowed"
                yield f"{path}.{key}", f"{why}. To allow it, set pods.allow.localhost_profiles"


# Other fields are refused.  A field that a new version of Kubernetes adds must be reviewed before it is listed here.
_HARMLESS = frozenset(
    {
        "args",
        "command",
        "env",
        "image",
        "imagePullPolicy",
        "lifecycle",
        "livenessProbe",
        "name",
        "ports",
        "readinessProbe",
        "resizePolicy",
        "resources",
        "restartPolicy",
        "securityContext",
        "startupProbe",
        "stdin",
        "stdinOnce",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "tty",
        "volumeMounts",
        "workingDir",
    }
)
_WHY = {
    "envFrom": "must not be set: its variables cannot be checked. Name each one in env",
    "volumeDevices": "must not be set: a raw device has no file permissions",
}


def check_container_fields(checked: PodUnderCheck) -> Findings:
    for where, container in checked.containers:
        for key in sorted(set(container) - _HARMLESS):
            yield f"{where}.{key}", _WHY.get(key, "is not known to be harmless")
        # check_home_check compares that container as a whole.
        if container is not checked.main and container["name"] != HOME_CHECK and _is_below_a_mount(container):
            why = "must not be below a mount: the container runtime would create a missing directory there as root"
            yield f"{where}.workingDir", why
        for index, port in enumerate(container.get("ports", [])):
            if port.get("hostPort", 0) != 0:
                yield f"{where}.ports[{index}].hostPort", "must not be set: all users share the ports of the node"


def _is_below_a_mount(container: Json) -> bool:
    directory = container.get("workingDir", "/")
    mounts = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
    return any(directory != mount and within(directory, mount) for mount in mounts)


_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS = ("postStart", "preStop")


def check_handlers(checked: PodUnderCheck) -> Findings:
    """Refuse a host in probes and hooks, because the kubelet sends these requests and no NetworkPolicy applies to it.

    Source: Kubernetes 1.34, Pod Security Standards, baseline.
    """
    for where, container in checked.containers:
        hooks = container.get("lifecycle", {})
        found = [(key, container[key]) for key in _PROBES if key in container]
        found += [(f"lifecycle.{key}", hooks[key]) for key in _HOOKS if key in hooks]
        for name, handler in found:
            for kind in ("httpGet", "tcpSocket"):
                if handler.get(kind, {}).get("host"):
                    yield (
                        f"{where}.{name}.{kind}.host",
                        "must not be set: the kubelet, not the pod, would send this request",
                    )


def check_main_container(checked: PodUnderCheck) -> Findings:
    """Compare the main container's resources and image with the plan."""
    plan, container = checked.plan, checked.main
    of_main = f"of container {container['name']!r}"
    if container.get("resources") != plan.resources.as_requirements():
        yield f"resources {of_main}", f"are {container.get('resources')}, not the profile's"
    if plan.image is not None and container.get("image") != plan.image:
        yield f"image {of_main}", f"is {quote(container.get('image'), 512)}, not {quote(plan.image, 512)}"


def check_other_resources(checked: PodUnderCheck) -> Findings:
    """Allow the other containers to request CPU, memory and local disk, but no devices."""
    for where, container in checked.containers:
        if container is checked.main:
            continue
        resources = container.get("resources", {})
        asked = {**resources.get("requests", {}), **resources.get("limits", {})}
        for name in sorted(set(asked) - {"cpu", "memory", "ephemeral-storage"}):
            yield (
                f"{where}.resources.{name}",
                "must not be requested: only the main container may get devices",
            )
        for key in sorted(set(resources) - {"requests", "limits"}):
            yield f"{where}.resources.{key}", "must not be set: it could give the container devices outside the profile"


def check_environment(checked: PodUnderCheck) -> Findings:
    """Refuse variables that are dangerous, and require the overlay's variables in the main container."""
    for where, container in checked.containers:
        for index, entry in enumerate(container.get("env", ())):
            name, source = entry["name"], entry.get("valueFrom")
            if not isinstance(entry.get("value", ""), str):
                yield f"{where}.env[{index}].value", f"of {name} must be text"
            if name.startswith(HIJACKING_ENV):
                why = "which could make programs believe that they run as another user"
                yield f"{where}.env[{index}]", f"sets {name}, {why}"
            if gives_devices(name) and (source or entry.get("value", "") not in NO_DEVICES):
                yield (
                    f"{where}.env[{index}]",
                    f"sets {name}, which would give the container devices outside the profile",
                )
            if source:
                yield from _check_value_from(source, checked.plan.allowed.secrets, f"{where}.env[{index}].valueFrom")
        yield from _check_nvidia(checked, where, container)
    entries: dict[str, list[Json]] = {}
    for entry in checked.main.get("env", ()):
        entries.setdefault(entry["name"], []).append(entry)
    for own in checked.overlay.env:
        if entries.get(own["name"]) != [own]:
            yield (
                f"env of container {checked.main['name']!r}",
                f"must set {own['name']} exactly once, to its original value",
            )


def _check_nvidia(checked: PodUnderCheck, where: str, container: Json) -> Findings:
    """Require that a container without a GPU hides NVIDIA's devices: its image may ask for all of the node's."""
    env = container.get("env", ())
    if container is checked.main and checked.plan.resources.may_have_nvidia_gpu:
        for index, entry in enumerate(env):
            if hides_nvidia_devices(entry):
                yield f"{where}.env[{index}]", f"must not set {NVIDIA_DEVICES}, which hides the profile's GPU"
    elif all(entry["name"] != NVIDIA_DEVICES for entry in env):
        why = "otherwise the image could give the container all GPUs of the node"
        yield f"{where}.env", f"must set {NVIDIA_DEVICES} to void: {why}"


_VALUE_FROM = frozenset({"configMapKeyRef", "fieldRef", "resourceFieldRef", "secretKeyRef"})


def _check_value_from(source: Json, allowed_secrets: Mapping[str, object], path: str) -> Findings:
    for kind in sorted(set(source) - _VALUE_FROM):
        yield f"{path}.{kind}", "is not known to be harmless"
    if "secretKeyRef" in source:
        secret = source["secretKeyRef"].get("name")
        if not allowed_secrets.get(str(secret)):
            yield path, f"is of the secret {secret!r}, which pods.allow.secrets does not name"
