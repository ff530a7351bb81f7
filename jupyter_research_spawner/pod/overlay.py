"""Compute from the plan what this project writes into a manifest.  `compose` merges it, and `check` compares with it.

This project's own labels and annotations have the prefix `research-spawner/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..api_object import annotations_of, parse_map
from ..plan import Granted, Plan, granted_in, groups_text
from ..resources import NO_DEVICES, NVIDIA_DEVICES
from ..settings.units import format_bytes
from ..shape import OUR_PREFIX, Json, Slots, Template, dns_label, label_value
from .client_commands import CLIENT_DIRECTORY, COMMANDS, client_volume
from .deadline import DEADLINE, DEADLINE_DIRECTORY, DEADLINE_NAME, DEADLINE_VARIABLE, UNKNOWN_DEADLINE, WALL_TIME
from .notices import extension_volume, notice_mounts, terminal_script

ACCOUNTS_VOLUME = "research-accounts"
CLIENT_VOLUME = "research-client"
DEADLINE_VOLUME = "research-deadline"
SHM_VOLUME = "research-shm"
PASSWD = OUR_PREFIX + "passwd"
GROUP = OUR_PREFIX + "group"
GROUPS = OUR_PREFIX + "groups"
REQUEST = OUR_PREFIX + "request"
OWNER = OUR_PREFIX + "owner"
PLAN = OUR_PREFIX + "plan"
TERMINAL_SCRIPT = OUR_PREFIX + "terminal-script"
TERMINAL_SCRIPT_NAME = "terminal.sh"
USER = OUR_PREFIX + "user"
USER_NAME = OUR_PREFIX + "user-name"
KIND = OUR_PREFIX + "kind"
# NVIDIA's runtime then behaves like runc, although the image sets the variable to "all" (NVIDIA Container Toolkit).
NO_NVIDIA_DEVICES = {"name": NVIDIA_DEVICES, "value": "void"}


@dataclass(frozen=True)
class Overlay:
    """What the plan writes into the object that is created, or into one of its pod templates.

    `volumes` are entries of the PodSpec; `mounts` and `env` are entries of the main container.  All are empty for an
    object that is not a pod.  `storage_mounts` are the mounts of shared storage among `mounts`.
    """

    labels: dict[str, str]
    annotations: dict[str, str]
    volumes: tuple[Json, ...] = ()
    mounts: tuple[Json, ...] = ()
    storage_mounts: tuple[Json, ...] = ()
    env: tuple[Json, ...] = ()


def object_overlay(plan: Plan) -> Overlay:
    """Return the labels and annotations of the object that is created, for example a Job."""
    return Overlay(
        labels={**_labels(plan), **plan.marks.object.labels},
        annotations={**_object_annotations(plan), **plan.marks.object.annotations},
    )


def pod_overlay(plan: Plan, slots: Slots, template: Template) -> Overlay:
    """Return what the plan writes into a pod template."""
    marks = plan.marks
    labels = {**_labels(plan), **marks.pod.labels}
    annotations = {**_object_annotations(plan), **_pod_annotations(plan), **marks.pod.annotations}
    if marks.names_main is not None:
        annotations[marks.names_main] = template.main
    if template.is_object:
        labels |= marks.object.labels
        annotations |= marks.object.annotations
    volumes, storage = _storage(plan)
    env = dict(plan.env)
    if plan.resources.may_have_nvidia_gpu:
        # The device plugin or the scheduler sets this variable, and the kubelet would prefer the pod's own value.
        env.pop(NVIDIA_DEVICES, None)
    shm = [] if plan.shm is None else [{"name": SHM_VOLUME, "mountPath": "/dev/shm"}]  # noqa: S108 - not a file of ours
    mounts = [*storage, *shm, *_mounts_of(ACCOUNTS_VOLUME, "/etc", ("passwd", "group"))]
    if plan.shm is not None:
        volumes.append({"name": SHM_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": format_bytes(plan.shm)}})
    volumes.append(_annotations_volume(ACCOUNTS_VOLUME, {"passwd": PASSWD, "group": GROUP}))
    if slots.interactive:
        env[DEADLINE_VARIABLE] = f"{DEADLINE_DIRECTORY}/{DEADLINE_NAME}"
        mounts.append({"name": DEADLINE_VOLUME, "mountPath": DEADLINE_DIRECTORY, "readOnly": True})
        annotations[DEADLINE] = UNKNOWN_DEADLINE
        files = {DEADLINE_NAME: DEADLINE}
        if plan.show_notices:
            annotations[TERMINAL_SCRIPT] = terminal_script()
            files[TERMINAL_SCRIPT_NAME] = TERMINAL_SCRIPT
            mounts += notice_mounts(DEADLINE_VOLUME, TERMINAL_SCRIPT_NAME)
            volumes.append(extension_volume())
        volumes.append(_annotations_volume(DEADLINE_VOLUME, files))
    if slots.interactive and plan.batch_url is not None:
        env["RESEARCH_BATCH_URL"] = plan.batch_url
        mounts += _mounts_of(CLIENT_VOLUME, CLIENT_DIRECTORY, COMMANDS)
        volumes.append(client_volume(CLIENT_VOLUME))
    return Overlay(
        labels=labels,
        annotations=annotations,
        volumes=tuple(volumes),
        mounts=tuple(mounts),
        storage_mounts=tuple(storage),
        env=tuple({"name": name, "value": literal(value)} for name, value in env.items()),
    )


def hides_nvidia_devices(entry: Json) -> bool:
    """Return whether an entry of a container's `env` tells NVIDIA's runtime to give the container no devices."""
    return entry["name"] == NVIDIA_DEVICES and "valueFrom" not in entry and entry.get("value", "") in NO_DEVICES


def granted_to(pod: Json) -> Granted | None:
    """Return the rights with which a pod or a pod template was made; None if its annotations are not valid."""
    annotations = annotations_of(pod)
    if GROUPS not in annotations:
        return None
    return granted_in(parse_map(annotations.get(PLAN)), str(annotations[GROUPS]))


def volume_name(claim: str) -> str:
    """Return the volume name for a claim.  Unlike volume names, claim names can have dots and 253 characters."""
    return dns_label(f"research-claim-{claim}")


def literal(text: str) -> str:
    """Return `text` escaped for the kubelet, which expands `$(NAME)` and turns `$$` into `$`.

    Source: Kubernetes, third_party/forked/golang/expansion.
    """
    return text.replace("$", "$$")


def typed(text: str) -> str:
    """Return the argument for which `literal` returns `text`; `text` itself if there is none."""
    found = text.replace("$$", "$")
    return found if literal(found) == text else text


def _annotations_volume(name: str, files: Mapping[str, str]) -> Json:
    """Return a downwardAPI volume that contains annotations of the pod as files, from the file name to the key."""
    items = [
        {"path": path, "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{key}']"}}
        for path, key in files.items()
    ]
    return {"name": name, "downwardAPI": {"defaultMode": 0o444, "items": items}}


def _labels(plan: Plan) -> dict[str, str]:
    """Return the labels that both the object and its pods have, for use in label selectors."""
    found = {
        USER: label_value(plan.identity.name),
        OUR_PREFIX + "uid": str(plan.identity.uid),
        OUR_PREFIX + "gid": str(plan.identity.gid),
        OUR_PREFIX + "queue": plan.queue,
        OUR_PREFIX + "profile": plan.profile,
        KIND: plan.shape.kind,
    }
    if plan.request.course is not None:
        found[OUR_PREFIX + "class"] = plan.request.course
    return found


def _object_annotations(plan: Plan) -> dict[str, str]:
    return {
        USER_NAME: plan.request.hub_user,
        WALL_TIME: str(int(plan.wall_time.soft.total_seconds())),
        OUR_PREFIX + "wall-time-hard": str(plan.hard_seconds),
        OUR_PREFIX + "site": plan.site_digest,
        PLAN: plan.written,
    }


def _pod_annotations(plan: Plan) -> dict[str, str]:
    """Return the annotations that only pods have: the content of the downwardAPI volume and the hub's keys."""
    found = {
        PASSWD: plan.passwd,
        GROUP: plan.group,
        GROUPS: groups_text(plan),
    }
    if plan.adoption_key:
        found[REQUEST] = plan.adoption_key
    if plan.owner_keys:
        found[OWNER] = plan.owner_keys
    return found


def _storage(plan: Plan) -> tuple[list[Json], list[Json]]:
    """Return the volumes and the mounts of the home directory and of the groups' shared storage."""
    volumes: dict[str, Json] = {}
    mounts: list[Json] = []
    for point in plan.mounts:
        name = volume_name(point.claim)
        volumes[name] = {"name": name, "persistentVolumeClaim": {"claimName": point.claim}}
        mount: Json = {"name": name, "mountPath": point.path}
        if point.read_only:
            mount["readOnly"] = True
        if point.sub_path is not None:
            mount["subPath"] = point.sub_path
        if point.mount_propagation is not None:
            mount["mountPropagation"] = point.mount_propagation
        mounts.append(mount)
    return list(volumes.values()), mounts


def _mounts_of(volume: str, directory: str, names: Iterable[str]) -> list[Json]:
    return [{"name": volume, "mountPath": f"{directory}/{name}", "subPath": name, "readOnly": True} for name in names]
