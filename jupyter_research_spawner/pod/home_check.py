"""The first init container, which checks whether the home and the working directory exist.

A container runtime creates a missing `workingDir`, which then belongs to root, even on shared storage (checked with
containerd 2.2 and runc).  This init container starts in / and fails with a message for the user instead.
"""

from __future__ import annotations

from decimal import Decimal

from ..plan import Plan
from ..settings.units import format_bytes, format_cores
from ..shape import Json
from ..storage import within
from .findings import Findings, PodUnderCheck
from .overlay import NO_NVIDIA_DEVICES, Overlay, literal
from .working_directory import starts_in

HOME_CHECK = "research-home"
# The arguments are pairs of a directory and the message for it.  The shell does not interpret them.
SCRIPT = 'while [ $# -gt 0 ]; do [ -d "$1" ] || { printf \'%s\\n\' "$2"; exit 1; }; shift 2; done'
# The kubelet does not pin half a CPU, so with a NUMA profile the main container gets all exclusive CPUs.
_CPU = Decimal("0.5")
_MEMORY = 64 * 1024**2
# Fields that the API server adds to pods.
_FILLED_IN = ("imagePullPolicy", "terminationMessagePath")


def home_check_container(plan: Plan, overlay: Overlay, main: Json) -> Json:
    """Return the init container, which runs as the user and mounts the same shared storage as the main container."""
    asked = [word for pair in _directories(plan, main).items() for word in pair]
    return {
        "name": HOME_CHECK,
        "command": ["sh", "-c", SCRIPT, HOME_CHECK, *map(literal, asked)],
        "workingDir": "/",
        "env": [dict(NO_NVIDIA_DEVICES)],
        "resources": _resources(plan),
        "securityContext": {
            "runAsUser": plan.identity.uid,
            "runAsGroup": plan.identity.gid,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [dict(mount) for mount in overlay.storage_mounts],
        **_image(plan, main),
    }


def check_home_check(checked: PodUnderCheck) -> Findings:
    """Require that this init container comes first, because the working directory of another one could be missing."""
    wanted = home_check_container(checked.plan, checked.overlay, checked.main)
    present = (checked.spec.get("initContainers") or [{}])[0]
    if present.get("name") != HOME_CHECK:
        yield "spec.initContainers[0]", f"must be {HOME_CHECK}, which checks whether the home directory exists"
        return
    for key in sorted(wanted.keys() | present.keys()):
        if present.get(key) != wanted.get(key) and (key in wanted or key not in _FILLED_IN):
            yield f"spec.initContainers[0].{key}", f"must not be changed: it is part of {HOME_CHECK}"


def _image(plan: Plan, main: Json) -> Json:
    """Return the image of the init container, by default the main container's, which is pulled anyway."""
    if plan.home_check_image is not None:
        return {"image": plan.home_check_image}
    found: Json = {} if plan.image is None else {"image": plan.image}
    return {key: main[key] for key in ("image", "imagePullPolicy") if key in main} | found


def _directories(plan: Plan, main: Json) -> Json:
    """Return the directories to check, each with the message to print if it does not exist."""
    home = plan.identity.home
    found = {
        home: f"Your home directory {home} does not exist on the shared file system. "
        "Ask your administrators to create it."
    }
    directory = starts_in(plan, main)
    # A directory outside the mounts is in the container's file system and is deleted with the container.
    if any(within(directory, mount.path) for mount in plan.mounts):
        missing = f"The working directory {directory} does not exist. Create it first, or choose another."
        found.setdefault(directory, missing)
    return found


def _resources(plan: Plan) -> Json:
    """Return requests and limits that are at most the main container's, so that the pod does not request more."""
    amounts = {
        "cpu": format_cores(min(plan.resources.cpu, _CPU)),
        "memory": format_bytes(min(plan.resources.memory, _MEMORY)),
    }
    return {"requests": amounts, "limits": dict(amounts)}
