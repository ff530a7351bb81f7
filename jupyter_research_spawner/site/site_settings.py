"""One installation's settings, assembled from the rooms below."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StringConstraints, create_model, model_validator

from ..identity import IdentitySettings
from ..resources import Sized
from ..schedulers import SCHEDULERS
from ..settings import ByName, Duration, Groups, Name, Settings
from ..storage import ClaimName, Storage
from .pod_fields import PodFields, Pods

# Longest by far in practice; a newline or a space in it would be somebody's trick.
ImageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}$", strict=True)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=120)]


class Priority(Settings):
    """One priority: both a PriorityClass and a WorkloadPriorityClass."""

    value: StrictInt = Field(title="Higher goes first", ge=-1_000_000_000, le=1_000_000_000)
    default: StrictBool = Field(False, title="Taken by queues that name none")
    class_: ClaimName | None = Field(
        None,
        alias="class",
        title="Name in the cluster",
        description="By default research-<name>, made by `research-spawner manifests`.",
    )


class _Queue(Settings):
    """Where work waits. What each scheduler calls it is the scheduler module's affair."""

    groups: Groups = Field(
        default_factory=dict,
        title="POSIX groups that may use it",
        description="Empty: everybody. A map, so that two values files can each add a group.",
        examples=[{"climate": True}],
    )
    order: StrictInt = Field(100, title="Place in lists; the lowest that is mine is my default")
    share: StrictInt = Field(1, title="Weight against the other queues when all are busy", ge=1)
    priority: Name | None = Field(None, title="One of `priorities`", description="By default the default one.")
    preemptible: StrictBool = Field(
        False,
        title="May others take its place?",
        description="True for students' backfill: free, and bumped by research. Never anybody's default.",
    )

    def options(self, kind: str) -> Settings:
        options: Settings = getattr(self, kind.replace("-", "_"))
        return options


_queue_options: dict[str, Any] = {
    kind.replace("-", "_"): (
        module.QueueOptions,
        Field(default_factory=module.QueueOptions, alias=kind, title=f"This queue in {kind}"),
    )
    for kind, module in SCHEDULERS.items()
}
Queue = create_model("Queue", __base__=_Queue, __doc__=_Queue.__doc__, **_queue_options)


class Profile(Sized):
    """A named offer: resources, limits, who may take it, which queues."""

    title: Title = Field(title="What people choose", examples=["Small"])
    description: str = Field("", title="A sentence below the title", max_length=400)
    order: StrictInt = Field(100, title="Place in lists; the lowest that is mine, without GPU, is my default")
    groups: Groups = Field(default_factory=dict, title="POSIX groups that may take it. Empty: everybody")
    queue: Name | None = Field(None, title="Queue when none is asked for")
    queues: Groups = Field(
        default_factory=dict, title="Queues it may wait in. Empty: all", examples=[{"climate": True}]
    )
    images: ByName[ImageName] = Field(
        default_factory=dict,
        title="Images",
        description="`default`, or the first by name, is taken when none is asked for. Empty: notebooks take "
        "KubeSpawner's image, jobs one of batch.images.",
        examples=[{"default": "quay.io/jupyter/scipy-notebook:2026-10-01"}],
    )
    wall_time: Duration = Field(title="Soft wall time", examples=["8h"])
    wall_time_hard: Duration | None = Field(
        None, title="Hard wall time of notebooks", description="By default wall_time."
    )
    pod: PodFields = Field(default_factory=PodFields, title="Added to this profile's pods, over pods.base")

    @model_validator(mode="after")
    def _hard_is_later(self) -> Profile:
        if self.wall_time_hard is not None and self.wall_time_hard < self.wall_time:
            raise ValueError("wall_time_hard is shorter than wall_time; the cluster would end it before the warning")
        return self

    @property
    def hard(self) -> timedelta:
        return self.wall_time_hard or self.wall_time

    @property
    def default_image(self) -> str | None:
        if not self.images:
            return None
        return self.images.get("default") or self.images[min(self.images)]


class Batch(Settings):
    """Jobs that are submitted from a notebook."""

    url: str | None = Field(
        None,
        title="Where notebooks reach the batch service",
        description="Without it a notebook has no `job` command.",
        pattern=r"^https?://[^\s?#]+[^/\s?#]$",
        examples=["http://proxy-public/services/batch"],
    )
    images: ByName[ImageName] = Field(
        default_factory=dict,
        title="Images for jobs besides the profile's own",
        examples=[{"default": "quay.io/jupyter/minimal-notebook:2026-10-01"}],
    )
    wall_time_hard: Duration = Field(timedelta(days=21), title="No job runs longer", validate_default=True)
    keep: Duration = Field(timedelta(days=7), title="How long an ended job stays in the list")
    max_jobs: StrictInt = Field(
        200,
        title="Jobs of one user that have not ended",
        description="A job array counts as many jobs as may run at once: --array 0-999%10 counts 10.",
        ge=1,
    )
    max_array_size: StrictInt = Field(1000, title="Indexes of one job array", ge=1, le=10_000)


def _day(written: Any) -> Any:
    """pydantic also takes a number, as seconds since 1970, and a time of day."""
    is_day = isinstance(written, date) and not isinstance(written, datetime)
    if not is_day and not (isinstance(written, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", written)):
        raise ValueError(f"{written!r} is not a day. Write year-month-day: 2026-12-20")
    return written


Day = Annotated[date, BeforeValidator(_day)]


class Roster(Settings):
    """The people of a class."""

    group: str = Field(title="POSIX group", min_length=1, examples=["stats101-f26"])


class CourseClass(Settings):
    """A course: roster, dates, profile, queue, staff."""

    title: Title | None = Field(None, title="What people choose. By default the class's name")
    profile: Name = Field(title="One of `profiles`", examples=["small"])
    queue: Name = Field(title="One of `queues`", examples=["teaching"])
    roster: Roster = Field(title="Who takes it", examples=[{"group": "stats101-f26"}])
    staff: Roster | None = Field(None, title="Who gives it", examples=[{"group": "stats101-staff"}])
    since: Day | None = Field(None, title="First day", examples=["2026-09-01"])
    until: Day = Field(title="Last day", description="All of it, in UTC.", examples=["2026-12-20"])


class SchedulerChoice(Settings):
    """Which scheduler queues and places pods."""

    kind: str = Field(title="One of the schedulers", examples=["kueue"], json_schema_extra={"enum": list(SCHEDULERS)})
    name: ClaimName | None = Field(None, title="schedulerName, where the site renamed it", examples=["hami-scheduler"])

    @model_validator(mode="after")
    def _known(self) -> SchedulerChoice:
        if self.kind not in SCHEDULERS:
            raise ValueError(f"kind: {self.kind!r} is none of {', '.join(SCHEDULERS)}")
        return self


class Namespaces(Settings):
    """Where pods are made."""

    mode: Literal["shared"] = Field("shared", title="shared: one namespace for everybody's pods")
    name: Name = Field(title="Namespace of notebooks and jobs", examples=["jhub"])


class Hub(Settings):
    """Limits of the hub's own waiting."""

    concurrent_starts: StrictInt = Field(
        64, title="Starts worked on at once; the others wait a moment, queued ones do not count", ge=1
    )
    queue_limit: Duration = Field(timedelta(days=1), title="How long a notebook may wait in its queue")
    boot_limit: Duration = Field(timedelta(minutes=10), title="From admission to a notebook that answers")
    stop_limit: Duration = Field(timedelta(minutes=2), title="How long stopping may take")
    prerequisites_cache: Duration = Field(
        timedelta(minutes=1),
        title="How long a found prerequisite is not looked up again",
        description="A prerequisite is a cluster object that must exist: a claim, a queue, a priority class.",
    )


class Site(Settings):
    """One installation's settings."""

    identity: IdentitySettings = Field(title="Who people are")
    namespaces: Namespaces = Field(title="Where pods are made")
    storage: Storage = Field(title="Shared storage")
    scheduler: SchedulerChoice = Field(title="Who queues and places pods", examples=[{"kind": "kueue"}])
    priorities: ByName[Priority] = Field(title="Priorities", min_length=1)
    queues: ByName[Queue] = Field(title="Queues", min_length=1)
    profiles: ByName[Profile] = Field(title="Profiles", min_length=1)
    pods: Pods = Field(default_factory=Pods, title="Every pod")
    batch: Batch = Field(default_factory=Batch, title="Batch jobs")
    classes: ByName[CourseClass] = Field(default_factory=dict, title="Courses")
    hub: Hub = Field(default_factory=Hub, title="The hub's limits")

    @cached_property
    def pod_fields(self) -> dict[str, PodFields]:
        """What is added to the pods of each profile: its own over the base."""
        return {name: profile.pod.over(self.pods.base) for name, profile in self.profiles.items()}

    @property
    def default_priority(self) -> str:
        return next(name for name, priority in self.priorities.items() if priority.default)

    def priority_class(self, priority: str) -> str:
        """What the cluster calls one of `priorities`."""
        return self.priorities[priority].class_ or f"research-{priority}"

    @cached_property
    def digest(self) -> str:
        """Tells two settings apart in a pod's annotation, whatever defaults a new version brings.

        Secrets are not in it: settings hold only their places.
        """
        written = json.dumps(self.model_dump(mode="json", by_alias=True, exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(written.encode()).hexdigest()[:16]
