"""YuniKorn: a tree of queues, applications and their users.  Contract: yunikorn.apache.org, seen with 1.8."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

from ..prerequisite import Prerequisite
from ..refusal import Refusal
from ..resources import Gpu
from ..settings import Settings
from ..shape import Json, label_value
from .scheduler_interface import (
    COUNTED_GPUS,
    Marks,
    Metadata,
    Objects,
    Placement,
    QueuePlacement,
    QueueStatus,
    condition,
    disruption,
    only_gpus,
    priority_class_prerequisite,
    refuse_gang,
    status_of_pod,
)

KIND = "yunikorn"
SCHEDULER_NAME = "yunikorn"
# The older labels `applicationId` and `queue` are read only where these are absent, and ours never are.
RESERVED = ("yunikorn.apache.org/",)

APPLICATION = "yunikorn.apache.org/app-id"
QUEUE = "yunikorn.apache.org/queue"
USER = "yunikorn.apache.org/user.info"
PREEMPTION = "yunikorn.apache.org/allow-preemption"
# All annotations of ours have 64 kB together.
USER_BYTES = 32_000

QueuePath = Annotated[
    str, StringConstraints(pattern=r"^root(\.[A-Za-z0-9_-]*[A-Za-z0-9])+$", max_length=63, strict=True)
]

GPU_ADVICE: Mapping[str, str] = {}


class QueueOptions(Settings):
    """What YuniKorn calls this queue."""

    queue: QueuePath | None = Field(
        None,
        title="Full path of the leaf queue",
        description="By default root. and the queue's own name. It becomes a label value, so at most 63 characters. "
        "A queue that is not preemptible here needs the property preemption.policy: disabled there.",
        examples=["root.research.climate"],
    )


def _queue(placement: QueuePlacement) -> str:
    assert isinstance(placement.options, QueueOptions)
    return placement.options.queue or f"root.{placement.queue}"


def _user(placement: Placement) -> str:
    who = {"user": placement.identity.name, "groups": list(placement.identity.group_names)}
    return json.dumps(who, separators=(",", ":"))


def marks(placement: Placement) -> Marks:
    # Pods without an application of their own would all share the namespace's, with its first pod's user and queue.
    labels = {APPLICATION: label_value(placement.run_id), QUEUE: _queue(placement)}
    # Operators, not people, create the pods of jobs: only the template can say whose they are.
    # The last is a wish to YuniKorn: only a queue whose preemption is disabled loses nobody.
    annotations = {USER: _user(placement), PREEMPTION: "true" if placement.preemptible else "false"}
    return Marks(
        pod=Metadata(labels, annotations),
        scheduler_name=SCHEDULER_NAME,
        priority_class=placement.priority_class,
    )


def refuses(placement: Placement) -> Refusal | None:
    if placement.scheduler_name not in (None, SCHEDULER_NAME):
        return Refusal(
            "scheduler-name-fixed",
            f"YuniKorn takes only pods whose schedulerName is {SCHEDULER_NAME}, not {placement.scheduler_name}.",
            field="scheduler.name",
            hint="The people who run this hub leave scheduler.name out.",
            status=503,
        )
    queue = _queue(placement)
    if len(queue) > 63:
        return Refusal(
            "queue-name-too-long",
            f"YuniKorn's queue {queue} has {len(queue)} characters; as a label it can have 63.",
            field="queue",
            hint=f"Ask the people who run this hub for a shorter queues.{placement.queue}.yunikorn.queue.",
        )
    if len(_user(placement)) > USER_BYTES:
        return Refusal(
            "too-many-groups",
            f"Your {len(placement.identity.groups)} groups are more than YuniKorn can be told ({USER_BYTES} bytes).",
            field="groups",
            hint="Ask the people who run this hub to leave groups out that matter to no queue and no file here.",
            status=403,
        )
    # Task groups must repeat what the whole pod asks for and tolerates, sidecars too; a placement knows the main part.
    return refuse_gang(placement, "YuniKorn, as it is set up here,", "Ask for one pod.")


def refuses_gpu(gpu: Gpu, scheduler_name: str | None) -> str | None:
    if gpu.kind == "dra":
        return "YuniKorn knows no dynamic resource allocation, and no claim would ever be filled"
    return only_gpus(*COUNTED_GPUS)(gpu, scheduler_name)


def prerequisites(placement: QueuePlacement) -> tuple[Prerequisite, ...]:
    # Queues are lines of YuniKorn's own configuration, not objects: an unknown one shows as ApplicationRejected.
    return (priority_class_prerequisite(placement),)


watched = ()


def status(pod: Json, objects: Objects, missing: tuple[Prerequisite, ...]) -> QueueStatus:
    """YuniKorn lets the pod of a rejected application fail, and writes nothing on one that waits for quota."""
    found = pod.get("status") or {}
    queue = ((pod.get("metadata") or {}).get("labels") or {}).get(QUEUE)
    if found.get("reason") == "ApplicationRejected":
        return QueueStatus("refused", _why_rejected(str(found.get("message", "")).strip(), queue), source="pod")
    scheduled = condition(pod, "PodScheduled")
    if queue and not scheduled and not missing:
        return QueueStatus("queued", f"It waits for room in YuniKorn's queue {queue}, or in the cluster.", source="pod")
    if scheduled.get("reason") == "SchedulingSkipped" and not missing:
        message, since = str(scheduled.get("message", "")), scheduled.get("lastTransitionTime")
        return QueueStatus("queued", message, source="pod", since=since)
    return status_of_pod(pod, objects, missing)


def _why_rejected(message: str, queue: str | None) -> str:
    """YuniKorn 1.8 cuts its sentence off at the first colon, before it says why there was no place."""
    if message.startswith("failed to place application"):
        return f"YuniKorn has not taken it: its queue {queue} does not exist, only holds queues, or is not open to you."
    return f"YuniKorn has not taken it: {message}."


# A preemption is a plain delete: nothing on the pod tells of it, only an event does.
eviction = disruption
deletes_unmarked = True
