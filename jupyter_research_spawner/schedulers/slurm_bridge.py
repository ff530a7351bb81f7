"""slurm-bridge: every pod is a job in Slurm's own queue.  Contract: slinky.schedmd.com, marks as in 1.2.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints

from ..prerequisite import Prerequisite
from ..refusal import Refusal
from ..resources import Gpu
from ..settings import Settings
from ..shape import Json
from .scheduler_interface import (
    COUNTED_GPUS,
    Marks,
    Metadata,
    Objects,
    Placement,
    QueuePlacement,
    QueueStatus,
    disruption,
    only_gpus,
    priority_class_prerequisite,
    refuse_gang,
    status_of_pod,
)

KIND = "slurm-bridge"
SCHEDULER_NAME = "slurm-bridge-scheduler"
RESERVED = ("slurmjob.slinky.slurm.net/", "slinky.slurm.net/", "scheduler.slinky.slurm.net/")

PREFIX = "slurmjob.slinky.slurm.net/"
JOB_ID = "scheduler.slinky.slurm.net/slurm-jobid"
NODE = "slinky.slurm.net/slurm-node"
# The extended resources that it turns into a gres.
GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu", "deviceclass.resource.kubernetes.io/gpu.nvidia.com")

SlurmName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$", strict=True)]

GPU_ADVICE: Mapping[str, str] = {}


class QueueOptions(Settings):
    """What Slurm calls this queue."""

    partition: SlurmName | None = Field(
        None,
        title="Partition",
        description="Of nodes that are also Kubernetes nodes. By default the queue's own name.",
        examples=["gpu"],
    )
    account: SlurmName | None = Field(
        None, title="Account", description="By default each person's own in Slurm.", examples=["climate"]
    )
    qos: SlurmName | None = Field(
        None,
        title="QOS",
        description="By default the account's. In Slurm it decides priority and who may be preempted.",
        examples=["normal"],
    )


def _options(placement: QueuePlacement) -> QueueOptions:
    assert isinstance(placement.options, QueueOptions)
    return placement.options


def marks(placement: Placement) -> Marks:
    """On the object alone: slurm-bridge reads the annotations of what owns a pod.

    No `priority`: a number there would take the job out of Slurm's own fair share.
    """
    options = _options(placement)
    annotations = {
        "partition": options.partition or placement.queue,
        "account": options.account,
        "qos": options.qos,
        # Slurm wants the name; without it every job is SlurmUser's.
        "user-id": placement.identity.name,
        "group-id": str(placement.identity.gid),
        # In minutes.  Without a limit Slurm's backfill has nothing to reckon with.
        "timelimit": str(-(-placement.hard_seconds // 60)),
        # Unsaid, the pod would get its nodes whole.
        "exclusive": "false",
        "job-name": placement.shape.name,
    }
    return Marks(
        object=Metadata(annotations={PREFIX + key: value for key, value in annotations.items() if value is not None}),
        scheduler_name=placement.scheduler_name or SCHEDULER_NAME,
        priority_class=placement.priority_class,
    )


def refuses(placement: Placement) -> Refusal | None:
    gpu = placement.resources.gpu
    unknown = set(gpu.amounts() if gpu is not None else ()) - set(GPU_RESOURCES)
    if unknown:
        return Refusal(
            "gpu-kind-unsupported",
            f"Slurm counts only {' and '.join(GPU_RESOURCES)} as GPUs; it would not know of {min(unknown)}.",
            field="profile",
            hint="Take a profile with whole GPUs or with none.",
        )
    return refuse_gang(placement, "slurm-bridge, which makes a Slurm job of each pod,", "Ask for one pod.")


def refuses_gpu(gpu: Gpu, scheduler_name: str | None) -> str | None:
    if gpu.kind == "dra":
        return (
            "slurm-bridge rejects every pod with resourceClaims, since it makes them itself. It does for "
            "{kind: whole, resource: deviceclass.resource.kubernetes.io/gpu.nvidia.com}"
        )
    return only_gpus(*COUNTED_GPUS)(gpu, scheduler_name)


def prerequisites(placement: QueuePlacement) -> tuple[Prerequisite, ...]:
    # Partitions, accounts and QOS are Slurm's: the cluster has no object for them.
    return (priority_class_prerequisite(placement),)


watched = ()


def status(pod: Json, objects: Objects, missing: tuple[Prerequisite, ...]) -> QueueStatus:
    """The bridge labels a pod with its Slurm job at once, and names the node only when the job has one."""
    metadata = pod.get("metadata") or {}
    job_id = (metadata.get("labels") or {}).get(JOB_ID)
    placed = NODE in (metadata.get("annotations") or {})
    if job_id is not None and not placed and not missing:
        return QueueStatus("queued", f"Waits in Slurm as job {job_id}.", source="pod")
    return status_of_pod(pod, objects, missing)


# Time limit, scancel and preemption all end in a plain delete of the pod: only Slurm's accounting knows which.
eviction = disruption
# A job that reached its time limit must not come back.
deletes_unmarked = False
