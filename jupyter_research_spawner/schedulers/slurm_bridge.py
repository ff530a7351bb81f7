"""slurm-bridge: each pod is a job in a Slurm partition.  Written for slurm-bridge 1.2.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

from ..prerequisite import Prerequisite
from ..refusal import Refusal
from ..resources import Gpu
from ..settings import Settings
from ..shape import Json
from ..texts import gettext
from .queue_status import QueueStatus
from .scheduler_defaults import (
    COUNTED_GPUS,
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
    QueueManifest,
    QueuePlacement,
)

KIND = "slurm-bridge"
SCHEDULER_NAME = "slurm-bridge-scheduler"
RESERVED = ("slurmjob.slinky.slurm.net/", "slinky.slurm.net/", "scheduler.slinky.slurm.net/")

PREFIX = "slurmjob.slinky.slurm.net/"
JOB_ID = "scheduler.slinky.slurm.net/slurm-jobid"
NODE = "slinky.slurm.net/slurm-node"
# The extended resources that slurm-bridge translates to a GRES.
GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "deviceclass.resource.kubernetes.io/gpu.nvidia.com")

SlurmName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$", strict=True)]

GPU_ADVICE: Mapping[str, str] = dict.fromkeys(
    ("mig", "shared"), f"slurm-bridge passes only {', '.join(GPU_RESOURCES)} to Slurm, so it refuses other GPUs"
)


class QueueOptions(Settings):
    """The settings of a queue for slurm-bridge."""

    partition: SlurmName | None = Field(
        None,
        title="Partition",
        description="Its nodes must also be Kubernetes nodes. Default: the name of the queue.",
        examples=["gpu"],
    )
    account: SlurmName | None = Field(
        None, title="Account", description="Default: the user's default account in Slurm.", examples=["climate"]
    )
    qos: SlurmName | None = Field(
        None,
        title="QOS",
        description="Default: the QOS of the account. In Slurm the QOS decides priority and preemption.",
        examples=["normal"],
    )


def _options(placement: QueuePlacement) -> QueueOptions:
    assert isinstance(placement.options, QueueOptions)
    return placement.options


def marks(placement: Placement) -> Marks:
    """Return the annotations of the Slurm job.  slurm-bridge reads them from a job object, or from a pod without owner.

    The annotation `priority` is left out, because a job with a fixed priority does not take part in Slurm's fair share.
    """
    options = _options(placement)
    annotations = {
        "partition": options.partition or placement.queue,
        "account": options.account,
        "qos": options.qos,
        # Slurm requires the user name here.  Without this annotation every job belongs to SlurmUser.
        "user-id": placement.identity.name,
        "group-id": str(placement.identity.gid),
        # In minutes.  Slurm's backfill scheduling requires a time limit.
        "timelimit": str(-(-placement.hard_seconds // 60)),
        # Without this annotation the pod would get whole nodes.
        "exclusive": "false",
        "job-name": placement.shape.name,
    }
    return Marks(
        object=Metadata(annotations={PREFIX + key: value for key, value in annotations.items() if value is not None}),
        scheduler_name=placement.scheduler_name or SCHEDULER_NAME,
        priority_class=placement.priority_class,
    )


def refuses(placement: Placement) -> Refusal | None:
    """Refuse GPUs that slurm-bridge does not translate to a GRES, and pods that must start together."""
    gpu = placement.resources.gpu
    unknown = set(gpu.amounts() if gpu is not None else ()) - set(GPU_RESOURCES)
    if unknown:
        return Refusal(
            "gpu-kind-unsupported",
            f"slurm-bridge passes only {', '.join(GPU_RESOURCES)} to Slurm, but this profile has {min(unknown)}.",
            field="profile",
            hint="Choose a profile with whole GPUs or without GPUs.",
        )
    return refuse_gang(placement, "slurm-bridge, which submits each pod as a Slurm job,", "Ask for one pod.")


def refuses_gpu(gpu: Gpu, scheduler_name: str | None) -> str | None:
    """Accept only GPUs that are requested as extended resources, not by a ResourceClaim or an annotation."""
    if gpu.kind == "dra":
        return (
            "slurm-bridge rejects every pod with resourceClaims, because slurm-bridge itself creates the claims. Use "
            "{kind: whole, resource: deviceclass.resource.kubernetes.io/gpu.nvidia.com} instead"
        )
    return only_gpus(*COUNTED_GPUS)(gpu, scheduler_name)


def queue_manifest(placement: QueuePlacement, share: int | None) -> QueueManifest:
    """Return no object: partitions, accounts and QOS are in Slurm."""
    options = _options(placement)
    asked = [f"partition {options.partition or placement.queue}"]
    asked += [f"{name} {value}" for name, value in (("account", options.account), ("QOS", options.qos)) if value]
    return QueueManifest(f"Queue {placement.queue} needs in Slurm: {', '.join(asked)}.")


# Partitions, accounts and QOS exist only in Slurm, not as cluster objects.
prerequisites = only_priority_class
watched = ()
HOLD = None
ORDER = None
queue_kinds = ()
queue_rooms = no_queue_rooms
queue_uses = no_queue_uses


def status(pod: Json, objects: Objects, missing: tuple[Prerequisite, ...]) -> QueueStatus:
    """Return `queued` while the pod's Slurm job has no node yet, else the status from the pod's conditions.

    slurm-bridge immediately labels a pod with its Slurm job, and adds an annotation when Slurm has chosen a node.
    """
    metadata = pod.get("metadata") or {}
    job_id = (metadata.get("labels") or {}).get(JOB_ID)
    placed = NODE in (metadata.get("annotations") or {})
    if job_id is not None and not placed and not missing:
        return QueueStatus("queued", "room", gettext("It waits in Slurm as job %(job)s.", job=job_id), source="pod")
    return status_of_pod(pod, objects, missing)


# slurm-bridge deletes the pod in the same way for a time limit, scancel and preemption.  Only Slurm's accounting
# distinguishes them.
eviction = disruption
preemption_events = ()
# A deleted pod can also have reached its time limit, and its job must then not be retried.


def adds(pod: Json) -> tuple[str, ...]:
    """Return the label, the annotation and the finalizer of the Slurm job."""
    return (
        f"metadata.labels.{JOB_ID}",
        f"metadata.annotations.{NODE}",
        "metadata.finalizers[scheduler.slinky.slurm.net/finalizer]",
    )


deletes_unmarked = False
