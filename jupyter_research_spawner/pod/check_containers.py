"""check's rules for containers of every sort: who runs in them, what they may do, take and are told."""

from __future__ import annotations

from ..resources import DEVICE_ENV, NO_DEVICES
from ..shape import Json
from ..storage import HIJACKING_ENV
from . import overlay
from .findings import Findings, PodUnderCheck, same_json

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


def identity(checked: PodUnderCheck) -> Findings:
    who = checked.plan.identity
    for where, container in overlay.containers(checked.pod):
        path, context = f"{where}.securityContext", container.get("securityContext", {})
        hint = overlay.remedy(container)
        for key, wanted in (("runAsUser", who.uid), ("runAsGroup", who.gid)):
            if not same_json(context.get(key, wanted), wanted):
                yield f"{path}.{key}", f"is {context[key]!r}, but it must be {wanted}{hint}"
        if context.get("runAsNonRoot", True) is not True:
            yield f"{path}.runAsNonRoot", f"may not be false{hint}"
        if context.get("privileged", False) is not False:
            yield f"{path}.privileged", f"may not be set{hint}"
        if context.get("allowPrivilegeEscalation") is not False:
            why = "must be false: a setuid program would change who the person is"
            yield f"{path}.allowPrivilegeEscalation", why + hint
        if context.get("procMount", "Default") != "Default":
            yield f"{path}.procMount", "must be Default"
        capabilities = context.get("capabilities", {})
        if capabilities.get("add"):
            yield f"{path}.capabilities.add", f"is {capabilities['add']}: no capability may be added{hint}"
        if "ALL" not in capabilities.get("drop", []):
            yield f"{path}.capabilities.drop", f"must contain ALL{hint}"
        for key in sorted(set(context) - _KNOWN_CONTEXT):
            yield f"{path}.{key}", "may not be set: it could change what the container may do"
        yield from confined(context, path)


def confined(context: Json, path: str) -> Findings:
    for key in ("seccompProfile", "appArmorProfile"):
        if context.get(key, {}).get("type") == "Unconfined":
            yield f"{path}.{key}", "may not be Unconfined"


# A new field of Kubernetes is refused until somebody has read what it does.
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
    "envFrom": "may not be set: nobody sees here which variables it brings. Name them in env",
    "volumeDevices": "may not be set: a raw device knows no owner",
}


def fields(checked: PodUnderCheck) -> Findings:
    for where, container in overlay.containers(checked.pod):
        for key in sorted(set(container) - _HARMLESS):
            yield f"{where}.{key}", _WHY.get(key, "is not known to be harmless")
        for index, port in enumerate(container.get("ports", [])):
            if port.get("hostPort", 0) != 0:
                yield f"{where}.ports[{index}].hostPort", "may not be set: the node's ports are nobody's own"


_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS = ("postStart", "preStop")


def handlers(checked: PodUnderCheck) -> Findings:
    """The kubelet asks on the node's behalf, behind every NetworkPolicy (Pod Security Standards, baseline, 1.34)."""
    for where, container in overlay.containers(checked.pod):
        asked = [(key, container.get(key, {})) for key in _PROBES]
        asked += [(f"lifecycle.{key}", container.get("lifecycle", {}).get(key, {})) for key in _HOOKS]
        for name, handler in asked:
            for kind in ("httpGet", "tcpSocket"):
                if handler.get(kind, {}).get("host"):
                    yield f"{where}.{name}.{kind}.host", "may not be set: the node itself would send that request"


def main(checked: PodUnderCheck) -> Findings:
    plan, container = checked.plan, checked.main
    of_main = f"of container {container['name']!r}"
    if container.get("resources") != plan.resources.as_requirements():
        yield f"resources {of_main}", f"are {container.get('resources')}, not the profile's"
    if plan.image is not None and container.get("image") != plan.image:
        yield f"image {of_main}", f"is {container.get('image')!r}, not {plan.image!r}"
    if not container.get("workingDir"):
        why = "is missing: the image's own may lie on shared storage, where the container runtime would make it as root"
        yield f"workingDir {of_main}", why
    elif plan.request.workdir is not None and container.get("workingDir") != plan.request.workdir:
        yield f"workingDir {of_main}", f"is {container.get('workingDir')!r}, not {plan.request.workdir!r}"


def resources(checked: PodUnderCheck) -> Findings:
    """Others beside the main container may take a little, but nothing that a profile is there to give."""
    for where, container in overlay.containers(checked.pod):
        if container is checked.main:
            continue
        amounts = container.get("resources", {})
        asked = {**amounts.get("requests", {}), **amounts.get("limits", {})}
        for name in sorted(set(asked) - {"cpu", "memory", "ephemeral-storage"}):
            yield f"{where}.resources.{name}", "may not be asked for beside the profile's own"
        for key in sorted(set(amounts) - {"requests", "limits"}):
            yield f"{where}.resources.{key}", "would take devices that the profile does not give"


_VALUE_FROM = frozenset({"configMapKeyRef", "fieldRef", "resourceFieldRef", "secretKeyRef"})


def environment(checked: PodUnderCheck) -> Findings:
    secrets = checked.plan.allowed.secrets
    for where, container in overlay.containers(checked.pod):
        for index, entry in enumerate(container.get("env", [])):
            path, source = f"{where}.env[{index}]", entry.get("valueFrom", {})
            if entry["name"].startswith(HIJACKING_ENV):
                yield path, f"sets {entry['name']}, which could change who programs think they are"
            for kind in sorted(set(source) - _VALUE_FROM):
                yield f"{path}.valueFrom.{kind}", "is not known to be harmless"
            if entry["name"] in DEVICE_ENV and (source or entry.get("value", "") not in NO_DEVICES):
                yield path, f"sets {entry['name']}, which takes GPUs that the profile does not give"
            secret = source.get("secretKeyRef", {}).get("name")
            if "secretKeyRef" in source and not secrets.get(str(secret)):
                yield f"{path}.valueFrom", f"is of the secret {secret!r}, which pods.allow.secrets does not name"
    entries: dict[str, list[Json]] = {}
    for entry in checked.main.get("env", []):
        entries.setdefault(entry["name"], []).append(entry)
    for name, value in overlay.environment(checked.plan, checked.slots).items():
        if entries.get(name) != [{"name": name, "value": overlay.literal(value)}]:
            yield f"env of container {checked.main['name']!r}", f"must have {name} exactly once, as the plan says"
