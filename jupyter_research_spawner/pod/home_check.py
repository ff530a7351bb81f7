"""A look, before all else in the pod, whether the directories are there that the person starts in.

Container runtimes make a missing `workingDir` as root, on shared storage too (runc, seen with containerd 2.2), and the
person would be left with a directory that is not theirs.  An init container that starts in / looks first.
"""

from __future__ import annotations

import posixpath
from decimal import Decimal

from ..plan import Plan
from ..settings.units import format_bytes, format_cores
from ..shape import Json
from ..storage import within
from . import overlay
from .findings import Findings, PodUnderCheck

NAME = "research-home"
# Pairs of a directory and what to say without it.  Both are arguments: no shell reads them as its own text.
SCRIPT = 'while [ $# -gt 0 ]; do [ -d "$1" ] || { printf \'%s\\n\' "$2"; exit 1; }; shift 2; done'
# Half a CPU is never pinned, so on a NUMA profile it leaves the kubelet's choice for the main container free.
_CPU = Decimal("0.5")
_MEMORY = 64 * 1024**2
# By the API server, in a pod that a controller made.
_FILLED_IN = ("imagePullPolicy", "terminationMessagePath")


def home_check_container(plan: Plan, main: Json) -> Json:
    """The init container of a pod whose main container is `main`, as the same person with the same mounts."""
    asked = [word for pair in _directories(plan, main).items() for word in pair]
    return {
        "name": NAME,
        "command": ["sh", "-c", SCRIPT, NAME, *map(overlay.literal, asked)],
        "workingDir": "/",
        "resources": _resources(plan),
        "securityContext": {
            "runAsUser": plan.identity.uid,
            "runAsGroup": plan.identity.gid,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": overlay.claim_mounts(plan),
        **_image(plan, main),
    }


def home_check_is_first(checked: PodUnderCheck) -> Findings:
    """check's rule: whatever ran before it could start in a directory that is missing."""
    wanted = home_check_container(checked.plan, checked.main)
    present = (checked.spec.get("initContainers") or [{}])[0]
    if present.get("name") != NAME:
        yield "spec.initContainers[0]", f"must be {NAME}: it looks whether the home directory is there"
        return
    for key in sorted(wanted.keys() | present.keys()):
        if present.get(key) != wanted.get(key) and (key in wanted or key not in _FILLED_IN):
            yield f"spec.initContainers[0].{key}", f"must be as the plan makes it: it is part of {NAME}"


def _image(plan: Plan, main: Json) -> Json:
    """With a shell; the main container's is there already, or has to be pulled anyhow."""
    if plan.home_check_image is not None:
        return {"image": plan.home_check_image}
    found: Json = {} if plan.image is None else {"image": plan.image}
    return {key: main[key] for key in ("image", "imagePullPolicy") if key in main} | found


def _directories(plan: Plan, main: Json) -> Json:
    home = plan.identity.home
    found = {
        home: f"Your home directory {home} does not exist on the shared file system. "
        "Ask the people who run it to make it."
    }
    starts_in = posixpath.normpath("/" + (plan.request.workdir or main.get("workingDir", "")).lstrip("/"))
    # What is no mount is the container's own, and goes with it.
    if any(within(starts_in, mount.path) for mount in plan.mounts):
        missing = f"The working directory {starts_in} does not exist. Make it first, or choose another."
        found.setdefault(starts_in, missing)
    return found


def _resources(plan: Plan) -> Json:
    """Never more than the main container's, so the pod as a whole asks for no more than its profile."""
    amounts = {
        "cpu": format_cores(min(plan.resources.cpu, _CPU)),
        "memory": format_bytes(min(plan.resources.memory, _MEMORY)),
    }
    return {"requests": amounts, "limits": dict(amounts)}
