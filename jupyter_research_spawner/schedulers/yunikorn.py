"""YuniKorn: hierarchical queues for applications and their users.  Tested with YuniKorn 1.8."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated

from pydantic import Field, StringConstraints

from ..api_object import condition
from ..prerequisite import Prerequisite
from ..refusal import Refusal
from ..resources import Gpu
from ..settings import Settings
from ..shape import Json, label_value
from ..texts import gettext
from .queue_status import QueueStatus
from .scheduler_defaults import (
    COUNTED_GPUS,
    NO_GPU_ADVICE,
    PREEMPTED_AMONG_QUEUES,
    adds_nothing,
    disruption,
    no_queue_rooms,
    no_queue_uses,
    only_gpus,
    only_priority_class,
    refuse_gang,
    status_of_pod,
)
from .scheduler_interface import (
    Marks,
    Metadata,
    Objects,
    Placement,
    PreemptionEvent,
    QueueManifest,
    QueuePlacement,
)

KIND = "yunikorn"
SCHEDULER_NAME = "yunikorn"
# YuniKorn reads its older labels `applicationId` and `queue` only from pods without these, so never from ours.
RESERVED = ("yunikorn.apache.org/",)

APPLICATION = "yunikorn.apache.org/app-id"
QUEUE = "yunikorn.apache.org/queue"
USER = "yunikorn.apache.org/user.info"
PREEMPTION = "yunikorn.apache.org/allow-preemption"
# All annotations of this project together are limited to 64 kB.
USER_BYTES = 32_000

QueuePath = Annotated[
    str, StringConstraints(pattern=r"^root(\.[A-Za-z0-9_-]*[A-Za-z0-9])+$", max_length=63, strict=True)
]

GPU_ADVICE = NO_GPU_ADVICE


class QueueOptions(Settings):
    """The settings of a queue for YuniKorn."""

    queue: QueuePath | None = Field(
        None,
        title="Full path of the leaf queue",
        description="Default: `root.` and the name of the queue. At most 63 characters, because it is a label value. "
        "If `preemptible` is false, set preemption.policy: disabled for the queue in YuniKorn's configuration.",
        examples=["root.research.climate"],
    )


def _queue(placement: QueuePlacement) -> str:
    assert isinstance(placement.options, QueueOptions)
    return placement.options.queue or f"root.{placement.queue}"


def _user(placement: Placement) -> str:
    who = {"user": placement.identity.name, "groups": list(placement.identity.group_names)}
    return json.dumps(who, separators=(",", ":"))


def marks(placement: Placement) -> Marks:
    """Return the application and queue labels, and the user and preemption annotations, for each pod."""
    # Pods without this label share one application per namespace, with the user and the queue of its first pod.
    labels = {APPLICATION: label_value(placement.run_id), QUEUE: _queue(placement)}
    # A controller creates the pods of a job, so YuniKorn must get the user from the pod template.
    # allow-preemption is only a preference: YuniKorn spares all pods of a queue only if its preemption is disabled.
    annotations = {USER: _user(placement), PREEMPTION: "true" if placement.preemptible else "false"}
    return Marks(
        pod=Metadata(labels, annotations),
        scheduler_name=SCHEDULER_NAME,
        priority_class=placement.priority_class,
    )


def refuses(placement: Placement) -> Refusal | None:
    """Refuse another schedulerName, too long queue names, too many groups, and pods that must start together."""
    if placement.scheduler_name not in (None, SCHEDULER_NAME):
        return Refusal(
            "scheduler-name-fixed",
            f"YuniKorn schedules only pods with schedulerName {SCHEDULER_NAME}, not {placement.scheduler_name}.",
            field="scheduler.name",
            hint="Your administrators must remove scheduler.name from the settings.",
            status=503,
        )
    queue = _queue(placement)
    if len(queue) > 63:
        return Refusal(
            "queue-name-too-long",
            f"YuniKorn's queue {queue} has {len(queue)} characters; a label value can have 63.",
            field="queue",
            hint=f"Ask your administrators to set a shorter queues.{placement.queue}.yunikorn.queue.",
        )
    if len(_user(placement)) > USER_BYTES:
        return Refusal(
            "too-many-groups",
            f"The names of your {len(placement.identity.groups)} groups exceed YuniKorn's limit of {USER_BYTES} bytes.",
            field="groups",
            hint="Ask your administrators to remove groups that you need neither for a queue nor for files.",
            status=403,
        )
    # YuniKorn starts pods together only with task groups.  These repeat the requests and tolerations of whole pods with
    # their sidecars, which a Placement does not have.
    return refuse_gang(placement, "YuniKorn without task groups", "Ask for one pod.")


def refuses_gpu(gpu: Gpu, scheduler_name: str | None) -> str | None:
    """Refuse GPUs that are not extended resources."""
    if gpu.kind == "dra":
        return "YuniKorn has no dynamic resource allocation, so no claim would ever be allocated"
    return only_gpus(*COUNTED_GPUS)(gpu, scheduler_name)


# Queues are part of YuniKorn's configuration, not cluster objects: an unknown queue ends in ApplicationRejected.
prerequisites = only_priority_class


def queue_manifest(placement: QueuePlacement, share: int | None) -> QueueManifest:
    """Return no object: all queues are in one ConfigMap, which has other settings too."""
    return QueueManifest(
        f"Queue {placement.queue} needs the leaf queue {_queue(placement)} in queues.yaml of the ConfigMap "
        "yunikorn-configs. You decide its resources, limits and submitacl."
    )


watched = ()
HOLD = None
ORDER = None
queue_kinds = ()
queue_rooms = no_queue_rooms
queue_uses = no_queue_uses


def status(pod: Json, objects: Objects, missing: tuple[Prerequisite, ...]) -> QueueStatus:
    """Return the queue status from the pod's phase and conditions.

    YuniKorn sets a pod of a rejected application to Failed, and sets no condition on a pod that waits for quota.
    """
    found = pod.get("status") or {}
    queue = ((pod.get("metadata") or {}).get("labels") or {}).get(QUEUE)
    if found.get("reason") == "ApplicationRejected":
        told = _why_rejected(str(found.get("message", "")).strip(), queue)
        return QueueStatus("refused", "rejected", told, source="pod")
    scheduled = condition(pod, "PodScheduled")
    if queue and not scheduled and not missing:
        return QueueStatus("queued", "room", source="pod")
    if scheduled.get("reason") == "SchedulingSkipped" and not missing:
        message, since = str(scheduled.get("message", "")), scheduled.get("lastTransitionTime")
        return QueueStatus("queued", "quota", message, source="pod", since=since)
    status = status_of_pod(pod, objects, missing)
    return replace(status, code="nodes", message="") if status.message == _NO_NODE else status


_NO_NODE = "request is waiting for cluster resources become available"


def _why_rejected(message: str, queue: str | None) -> str:
    """Return why YuniKorn rejected the application.

    YuniKorn 1.8 cuts its message off at the first colon, so that the reason is often missing.
    """
    if message.startswith("failed to place application"):
        return gettext(
            "YuniKorn rejected the pod: queue %(queue)s does not exist, is not a leaf queue, or does not admit you.",
            queue=queue,
        )
    return gettext("YuniKorn rejected the pod: %(reason)s.", reason=message)


# YuniKorn preempts by deleting the pod.  Only an event shows the preemption, not a condition.
eviction = disruption
# YuniKorn uses this reason for all events.  Only the message shows that a pod was preempted (checked with 1.8).
preemption_events = (PreemptionEvent("Informational", PREEMPTED_AMONG_QUEUES, starts_with="Preempted by "),)
adds = adds_nothing
deletes_unmarked = True
