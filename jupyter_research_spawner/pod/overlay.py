"""What we write on a pod: names, labels, annotations, volumes, environment.  compose writes it, check reads it back.

Vocabulary: labels and annotations with the prefix research-spawner/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from ..plan import Plan
from ..refusal import Refusal
from ..shape import OUR_PREFIX, Json, Slots, Template, dns_label, label_value
from .client_commands import CLIENT_DIRECTORY, COMMANDS, client_config_map_name

ACCOUNTS_VOLUME = "research-accounts"
CLIENT_VOLUME = "research-client"
PASSWD = OUR_PREFIX + "passwd"
GROUP = OUR_PREFIX + "group"
REQUEST = OUR_PREFIX + "request"
PLAN = OUR_PREFIX + "plan"
USER = OUR_PREFIX + "user"
USER_NAME = OUR_PREFIX + "user-name"
KIND = OUR_PREFIX + "kind"


def manifest_refusal(path: str, message: str, hint: str = "") -> Refusal:
    """The pod that came in cannot become this person's.  It is the site's to mend, so it says where."""
    return Refusal(
        "manifest",
        f"Nothing was started: the pod's {path} {message}.",
        field=path,
        hint=hint or "This is for the people who run this hub: a setting or a hook of theirs put it there.",
        status=503,
    )


def labels(plan: Plan) -> dict[str, str]:
    """Ours, for objects and pods alike: values that can be selected by."""
    found = {
        "user": label_value(plan.identity.name),
        "uid": str(plan.identity.uid),
        "gid": str(plan.identity.gid),
        "queue": plan.queue,
        "profile": plan.profile,
        "kind": plan.shape.kind,
    }
    if plan.request.course is not None:
        found["class"] = plan.request.course
    return {OUR_PREFIX + key: value for key, value in found.items()}


def object_annotations(plan: Plan) -> dict[str, str]:
    """For the object that is created, a Job as well as a pod."""
    found = {
        "user-name": plan.request.hub_user,
        "wall-time": str(int(plan.wall_time.soft.total_seconds())),
        "wall-time-hard": str(plan.hard_seconds),
        "site": plan.site_digest,
        "plan": plan.written,
    }
    return {OUR_PREFIX + key: value for key, value in found.items()}


def pod_annotations(plan: Plan) -> dict[str, str]:
    """For pods only: what the downwardAPI volume shows in them, and the adoption key."""
    found = {
        PASSWD: plan.passwd,
        GROUP: plan.group,
        OUR_PREFIX + "groups": ",".join(f"{group.name}:{group.gid}" for group in plan.identity.groups),
    }
    if plan.adoption_key:
        found[REQUEST] = plan.adoption_key
    return {**object_annotations(plan), **found}


def pod_mark_annotations(plan: Plan, main: str) -> dict[str, str]:
    """The scheduler's annotations on a pod whose main container is called `main`."""
    named = {} if plan.marks.names_main is None else {plan.marks.names_main: main}
    return {**plan.marks.pod.annotations, **named}


def volume_name(claim: str) -> str:
    """A volume of ours for a claim.  Claim names may be longer than volume names and have dots."""
    return dns_label(f"research-claim-{claim}")


def volumes(plan: Plan, slots: Slots) -> list[Json]:
    found: list[Json] = [
        {"name": volume_name(claim), "persistentVolumeClaim": {"claimName": claim}}
        for claim in dict.fromkeys(mount.claim for mount in plan.mounts)
    ]
    found.append(
        {
            "name": ACCOUNTS_VOLUME,
            "downwardAPI": {
                "defaultMode": 0o444,
                "items": [
                    {"path": name, "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{key}']"}}
                    for name, key in (("passwd", PASSWD), ("group", GROUP))
                ],
            },
        }
    )
    if _has_client(plan, slots):
        found.append(
            {
                "name": CLIENT_VOLUME,
                "configMap": {"name": client_config_map_name(), "optional": True, "defaultMode": 0o555},
            }
        )
    return found


def claim_mounts(plan: Plan) -> list[Json]:
    """The home and what the groups share."""
    found: list[Json] = []
    for mount in plan.mounts:
        entry: Json = {"name": volume_name(mount.claim), "mountPath": mount.path}
        if mount.read_only:
            entry["readOnly"] = True
        found.append(entry)
    return found


def volume_mounts(plan: Plan, slots: Slots) -> list[Json]:
    """For the main container: admins' sidecars get the identity, not the data."""
    found = claim_mounts(plan)
    found += [
        {"name": ACCOUNTS_VOLUME, "mountPath": f"/etc/{name}", "subPath": name, "readOnly": True}
        for name in ("passwd", "group")
    ]
    if _has_client(plan, slots):
        found += [
            {"name": CLIENT_VOLUME, "mountPath": f"{CLIENT_DIRECTORY}/{name}", "subPath": name, "readOnly": True}
            for name in COMMANDS
        ]
    return found


def environment(plan: Plan, slots: Slots) -> dict[str, str]:
    """Values as the container is to see them; `literal` writes them into a manifest."""
    found = dict(plan.env)
    if _has_client(plan, slots):
        assert plan.batch_url is not None
        found["RESEARCH_BATCH_URL"] = plan.batch_url
    return found


def literal(text: str) -> str:
    """`text` as the kubelet hands it on unchanged: it expands `$(NAME)` and reads `$$` as one dollar.

    Source: Kubernetes, third_party/forked/golang/expansion.
    """
    return text.replace("$", "$$")


def containers(pod: Json) -> Iterator[tuple[str, Json]]:
    """Each container of every sort, with its path."""
    for sort in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(pod["spec"].get(sort) or []):
            yield f"spec.{sort}[{index}]", container


def main_container(template: Template, pod: Json) -> Json:
    for container in pod["spec"].get("containers") or []:
        if container.get("name") == template.main:
            return cast(Json, container)
    raise manifest_refusal("spec.containers", f"has no container {template.main!r}, the one that the person works in")


def remedy(container: Json) -> str:
    """How to be rid of a container of the chart's that cannot pass; empty for all others."""
    if container["name"] == "block-cloud-metadata":
        return ". Set singleuser.cloudMetadata.blockWithIptables: false and use the chart's NetworkPolicy instead"
    return ""


def _has_client(plan: Plan, slots: Slots) -> bool:
    return slots.interactive and plan.batch_url is not None
