"""The settings model of an installation.  Parts of the model are in other packages."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo

from ..identity import IdentitySettings
from ..resources import Sized
from ..schedulers import SCHEDULERS
from ..settings import ByName, Bytes, Duration, Groups, Name, Settings
from ..settings.units import format_bytes
from ..storage import ClaimName, Storage
from ..wording import format_list, quote
from .pod_fields import PodFields, Pods

# The pattern excludes spaces and newlines, and names of more than 512 characters.
ImageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}$", strict=True)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=120)]
Classes = ByName[StrictBool]
CLASSES_HELP = (
    "Names in `classes`. Students of these classes have access while the class runs, and the staff always. If `groups` "
    "is empty, nobody else has access."
)


class Priority(Settings):
    """A priority: the value of a PriorityClass and, if the scheduler has one, of its own kind of priority class."""

    value: StrictInt = Field(
        title="Value of the priority class",
        description="Pods with a higher value are started first.",
        examples=[0],
        ge=-1_000_000_000,
        le=1_000_000_000,
    )
    default: StrictBool = Field(
        False,
        title="Default priority",
        description="The priority of queues without `priority`. Exactly one priority must be the default.",
    )
    class_: ClaimName | None = Field(
        None,
        alias="class",
        title="Name of the priority class in the cluster",
        description="Default: `research-` and the name of the priority, created by `research-spawner manifests`.",
    )


class _Queue(Settings):
    """A queue in which notebooks and jobs wait. The key with a scheduler's name has the settings for that scheduler."""

    groups: Groups = Field(
        default_factory=dict,
        title="POSIX groups that may use the queue",
        description="Default: all users. It is a map, so that several values files can add groups.",
        examples=[{"climate": True}],
    )
    classes: Classes = Field(
        default_factory=dict,
        title="Classes that may use the queue",
        description=CLASSES_HELP,
        examples=[{"stats-101": True}],
    )
    order: StrictInt = Field(
        100,
        title="Position in lists",
        description="A user's default queue is the queue with the lowest order that the user may use and that is not "
        "preemptible.",
    )
    share: StrictInt = Field(
        1, title="Weight of the queue if all queues are busy", description="Reserved: nothing uses it yet.", ge=1
    )
    priority: Name | None = Field(
        None,
        title="Priority",
        description="A name in `priorities`. Default: the default priority.",
        examples=["normal"],
    )
    preemptible: StrictBool = Field(
        False,
        title="Preemptible",
        description="If true, pods of other queues can preempt the pods of this queue. A preemptible queue is never a "
        "user's default queue.",
    )

    def options(self, kind: str) -> Settings:
        """Return the settings of this queue for a kind of scheduler."""
        options: Settings = getattr(self, kind.replace("-", "_"))
        return options


_queue_options: dict[str, Any] = {
    kind.replace("-", "_"): (
        module.QueueOptions,
        Field(
            default_factory=module.QueueOptions, alias=kind, title=f"Settings of the queue for scheduler.kind {kind}"
        ),
    )
    for kind, module in SCHEDULERS.items()
}
Queue = create_model("Queue", __base__=_Queue, __doc__=_Queue.__doc__, **_queue_options)


class Profile(Sized):
    """A profile that users choose: resources, wall time, images, and who may use it."""

    title: Title = Field(title="Title that users see", examples=["Small"])
    description: str = Field("", title="Description that users see below the title", max_length=400)
    order: StrictInt = Field(
        100,
        title="Position in lists",
        description="The profile without GPU that has the lowest order is the default of a user who may use it.",
    )
    groups: Groups = Field(
        default_factory=dict, title="POSIX groups that may use the profile", description="Default: all users."
    )
    classes: Classes = Field(
        default_factory=dict,
        title="Classes that may use the profile",
        description=CLASSES_HELP,
        examples=[{"stats-101": True}],
    )
    queue: Name | None = Field(
        None,
        title="Default queue",
        description="The queue for requests that name no queue. Default: the user's default queue.",
        examples=["climate"],
    )
    queues: Groups = Field(
        default_factory=dict,
        title="Queues that the profile may use",
        description="Default: all queues.",
        examples=[{"climate": True}],
    )
    images: ByName[ImageName] = Field(
        default_factory=dict,
        title="Images",
        description="A request without an image gets `default`, or the first image by name. If the profile has no "
        "images, notebooks get KubeSpawner's image, and jobs get an image of `batch.images`.",
        examples=[{"default": "quay.io/jupyter/scipy-notebook:2026-10-01"}],
    )
    shm: Bytes | None = Field(
        None,
        title="Size of /dev/shm",
        description="Shared memory between processes, which PyTorch's data loaders use. It is part of the pod's "
        "memory. Default: 64 MiB, by the container runtime.",
        examples=["8Gi"],
    )
    wall_time: Duration = Field(title="Soft wall time", examples=["8h"])
    wall_time_hard: Duration | None = Field(
        None,
        title="Hard wall time of notebooks",
        description="After this time the cluster ends the pod. Default: `wall_time`.",
    )
    pod: PodFields = Field(
        default_factory=PodFields,
        title="Fields added to the pods of the profile",
        description="They are merged over `pods.base`.",
    )

    @model_validator(mode="after")
    def _hard_is_later(self) -> Profile:
        if self.wall_time_hard is not None and self.wall_time_hard < self.wall_time:
            raise ValueError("wall_time_hard must not be shorter than wall_time")
        return self

    @model_validator(mode="after")
    def _shm_fits(self) -> Profile:
        if self.shm is not None and self.shm > self.memory:
            raise ValueError(
                f"shm ({format_bytes(self.shm)}) must not be more than memory ({format_bytes(self.memory)}): /dev/shm "
                "counts as memory of the pod"
            )
        return self

    @property
    def hard(self) -> timedelta:
        """Return the hard wall time of notebooks."""
        return self.wall_time_hard or self.wall_time

    @property
    def default_image(self) -> str | None:
        """Return the image for requests that name no image, or None if the profile has no images."""
        if not self.images:
            return None
        return self.images.get("default") or self.images[min(self.images)]


class Batch(Settings):
    """The batch service and its jobs."""

    url: str | None = Field(
        None,
        title="URL of the batch service for notebooks",
        description="If it is not set, notebooks have no `job` command.",
        pattern=r"^https?://[^\s?#]+[^/\s?#]$",
        examples=["http://proxy-public/services/batch"],
    )
    images: ByName[ImageName] = Field(
        default_factory=dict,
        title="Images for jobs, in addition to those of the profile",
        examples=[{"default": "quay.io/jupyter/minimal-notebook:2026-10-01"}],
    )
    wall_time_hard: Duration = Field(
        timedelta(days=21), title="Longest wall time that a job can request", validate_default=True
    )
    keep: Duration = Field(timedelta(days=7), title="How long ended jobs are kept")
    keep_jobs: StrictInt = Field(
        100,
        title="Number of ended jobs of a user that are kept",
        description="A new job removes the oldest ended jobs above this number.",
        ge=1,
        le=10_000,
    )
    max_size: Bytes = Field(
        "8Mi",
        title="Maximum size of all jobs of a user in the API server",
        description="A new job removes the oldest ended jobs to stay below this size. If that does not suffice, it is "
        "refused. A job with a short command takes about 15 KiB.",
        validate_default=True,
        examples=["8Mi"],
    )
    max_jobs: StrictInt = Field(
        200,
        title="Maximum number of unfinished jobs of a user",
        description="A job array counts as its number of concurrent indexes. --array 0-999%10 counts as 10 jobs.",
        ge=1,
    )
    max_array_size: StrictInt = Field(1000, title="Maximum number of indexes of a job array", ge=1, le=10_000)


def _day(written: Any) -> Any:
    """Reject numbers and times of day, which pydantic would accept as a date."""
    is_day = isinstance(written, date) and not isinstance(written, datetime)
    if not is_day and not (isinstance(written, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", written)):
        raise ValueError(f"{quote(written)} is not a valid date. Use the format year-month-day: 2026-12-20")
    return written


Day = Annotated[date, BeforeValidator(_day)]


class Roster(Settings):
    """A group of users."""

    group: str = Field(title="POSIX group", min_length=1, examples=["stats101-f26"])


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # an unknown name, a directory of the database, a path
        raise ValueError(f"{quote(name)} is not a known time zone. Use for example America/Los_Angeles") from None
    return name


TimeZone = Annotated[str, StringConstraints(strict=True, max_length=64), AfterValidator(_zone)]


class ClassJobs(Settings):
    """What the students of a class may do with batch jobs in the queue or the profile of the class."""

    allowed: StrictBool = Field(True, title="Students can submit jobs")
    wall_time_hard: Duration | None = Field(
        None,
        title="Maximum hard wall time of jobs",
        description="Default: `batch.wall_time_hard`.",
        examples=["8h"],
    )


class _CourseClass(Settings):
    """A course whose students may use a profile and a queue while the course lasts.

    It names a profile, or it has the fields of a profile of its own."""

    title: Title | None = Field(
        None, title="Title that users see", description="Default: the name of the class.", examples=["Statistics 101"]
    )
    profile: Name = Field(
        "",
        title="Profile",
        description="A name in `profiles`. A class without it has its own profile, from its `cpu`, `memory`, "
        "`wall_time` and the other fields of a profile. `like: NAME` copies them from another profile.",
        examples=["small"],
    )
    image: ImageName | None = Field(
        None,
        title="Image of the class's own profile",
        description="Short for `images: {default: IMAGE}`.",
        examples=["quay.io/jupyter/r-notebook:2026-10-01"],
    )
    queue: Name = Field(
        title="Queue",
        description="A name in `queues`. A class with its own profile opens the queue to its students and staff.",
        examples=["teaching"],
    )
    roster: Roster = Field(title="Students", examples=[{"group": "stats101-f26"}])
    staff: Roster | None = Field(
        None,
        title="Course staff",
        description="Members can use all that the class can use, also before the first day and after the last.",
        examples=[{"group": "stats101-staff"}],
    )
    since: Day | None = Field(
        None,
        title="First day",
        description="The course begins at the start of this day in its time zone.",
        examples=["2026-09-01"],
    )
    until: Day = Field(
        title="Last day",
        description="The course ends at the end of this day in its time zone.",
        examples=["2026-12-20"],
    )
    time_zone: TimeZone | None = Field(
        None,
        title="Time zone of the days",
        description="Default: `time_zone` of the site.",
        examples=["Australia/Sydney"],
    )
    jobs: ClassJobs = Field(default_factory=ClassJobs, title="Batch jobs of the students")

    @property
    def own_fields(self) -> dict[str, Any]:
        """Return the fields of the class's own profile that are set, with `image` as a part of `images`."""
        found = {name: getattr(self, name) for name in OWN_FIELDS if getattr(self, name) is not None}
        return found if self.image is None else {**found, "images": {"default": self.image}}

    def own_profile(self, name: str) -> Profile:
        """Return the own profile of the class with this name.  Raises ValidationError."""
        fields = {"title": self.title or name, "queue": self.queue, "queues": {self.queue: True}, **self.own_fields}
        return Profile.model_validate({**fields, "classes": {name: True}})

    @model_validator(mode="after")
    def _one_profile(self) -> _CourseClass:
        """Check that the class has a profile or its own fields, and that these are a valid profile."""
        written = [name for name in ("image", *OWN_FIELDS) if getattr(self, name) is not None]
        required = [name for name, field in Profile.model_fields.items() if field.is_required() and name != "title"]
        missing = [name for name in required if name not in written]
        if self.profile and written:
            raise ValueError(
                f"has profile {self.profile!r} and its own {format_list(written)}. Remove `profile`, or remove "
                f"{format_list(written)}"
            )
        if not self.profile and missing:
            raise ValueError(
                f"{format_list(missing)} {'is' if len(missing) == 1 else 'are'} missing. Set `profile` to the name of "
                f"a profile, or set {format_list(required)} for the class's own profile, or `like` to copy them"
            )
        if self.image is not None and "images" in written:
            raise ValueError("has image and images. Remove one of them")
        if written:
            try:
                self.own_profile("own")
            except ValidationError as error:
                messages = (item["msg"].removeprefix("Value error, ") for item in error.errors(include_url=False))
                raise ValueError(". ".join(messages)) from None
        return self


# The fields of a profile that a class can have itself, for a profile of its own.
OWN_FIELDS = tuple(
    name for name in Profile.model_fields if name not in ("title", "order", "groups", "classes", "queue", "queues")
)


def _optional(field: FieldInfo) -> Any:
    annotated: Any = Annotated
    parts = (field.annotation, *field.metadata)
    annotation: Any = annotated[parts] if field.metadata else field.annotation
    description = f"Of the class's own profile. {field.description or ''}".rstrip()
    return (annotation | None, Field(None, title=field.title, description=description, examples=field.examples))


_own_fields: dict[str, Any] = {name: _optional(Profile.model_fields[name]) for name in OWN_FIELDS}
CourseClass = create_model("CourseClass", __base__=_CourseClass, __doc__=_CourseClass.__doc__, **_own_fields)


class SchedulerChoice(Settings):
    """The scheduler that queues and places pods."""

    kind: str = Field(title="Kind of scheduler", examples=["kueue"], json_schema_extra={"enum": list(SCHEDULERS)})
    name: ClaimName | None = Field(
        None,
        title="schedulerName of the pods",
        description="Set this if the scheduler does not have the usual name in your cluster.",
        examples=["hami-scheduler"],
    )

    @model_validator(mode="after")
    def _known(self) -> SchedulerChoice:
        if self.kind not in SCHEDULERS:
            raise ValueError(f"unknown kind {quote(self.kind)}. Allowed values: {', '.join(SCHEDULERS)}")
        return self


class Namespaces(Settings):
    """The namespace of notebooks and jobs."""

    mode: Literal["shared"] = Field(
        "shared",
        title="How pods are distributed over namespaces",
        description="shared: the pods of all users are in one namespace. This is the only mode.",
    )
    name: Name = Field(title="Namespace of notebooks and jobs", examples=["jhub"])


class Hub(Settings):
    """Limits and times of the hub."""

    concurrent_starts: StrictInt = Field(
        64,
        title="Number of concurrent starts",
        description="Further starts wait. Notebooks that wait in a queue do not count.",
        ge=1,
    )
    queue_limit: Duration = Field(timedelta(days=1), title="Maximum time that a notebook waits in its queue")
    boot_limit: Duration = Field(timedelta(minutes=10), title="Maximum time from admission until the notebook answers")
    stop_limit: Duration = Field(timedelta(minutes=2), title="Maximum time until the pod of a stopped server is gone")
    prerequisites_cache: Duration = Field(
        timedelta(minutes=1),
        title="Time until an existing prerequisite is checked again",
        description="A prerequisite is a cluster object that must exist, for example a claim or a priority class.",
    )


class Site(Settings):
    """The settings of one installation."""

    identity: IdentitySettings = Field(title="Identities of users")
    namespaces: Namespaces = Field(title="Namespaces")
    storage: Storage = Field(title="Shared storage")
    scheduler: SchedulerChoice = Field(title="Scheduler", examples=[{"kind": "kueue"}])
    priorities: ByName[Priority] = Field(title="Priorities", min_length=1)
    queues: ByName[Queue] = Field(title="Queues", min_length=1)
    profiles: ByName[Profile] = Field(title="Profiles", min_length=1)
    pods: Pods = Field(default_factory=Pods, title="Fields of pods")
    batch: Batch = Field(default_factory=Batch, title="Batch jobs")
    classes: ByName[CourseClass] = Field(default_factory=dict, title="Classes")
    time_zone: TimeZone = Field(
        "UTC",
        title="Time zone of the days of classes",
        description="A name of the IANA time zone database.",
        examples=["America/Los_Angeles"],
    )
    hub: Hub = Field(default_factory=Hub, title="Limits and times of the hub")
    on_lost_right: Literal["continue", "stop"] = Field(
        "continue",
        title="What happens to running notebooks and jobs whose user may no longer run them",
        description="continue: they run until their wall time, and the hub or the batch service logs it. stop: they "
        "are stopped. Work that still waits never starts, in both cases.",
    )

    _of_classes: set[str] = PrivateAttr(default_factory=set)

    @model_validator(mode="after")
    def _add_class_profiles(self) -> Site:
        """Replace the own fields of each class by a profile for this class only, in the queue of the class.

        If `profiles` has the name of the class already, `profile` of the class stays empty, which `validate` reports.
        """
        for name, course in self.classes.items():
            if course.profile or name in self.profiles:
                continue
            self.profiles[name] = course.own_profile(name)
            self._of_classes.add(name)
            queue = self.queues.get(course.queue)
            # An entry in a queue that is open to all users would close it to others.
            if queue is not None and (queue.groups or queue.classes) and name not in queue.classes:
                self.queues[course.queue] = queue.model_copy(update={"classes": {**queue.classes, name: True}})
            without = dict.fromkeys(("image", *OWN_FIELDS))
            self.classes[name] = course.model_copy(update={**without, "profile": name})
            self.classes[name].model_fields_set.difference_update(without)
        return self

    def profile_path(self, name: str) -> str:
        """Return the path of a profile in the settings: below `profiles`, or the class of which it has the fields."""
        return f"{'classes' if name in self._of_classes else 'profiles'}.{name}"

    @cached_property
    def pod_fields(self) -> dict[str, PodFields]:
        """Return, by profile, the fields that are added to its pods: `pod` of the profile merged over `pods.base`."""
        return {name: profile.pod.over(self.pods.base) for name, profile in self.profiles.items()}

    @property
    def default_priority(self) -> str:
        """Return the name of the default priority."""
        return next(name for name, priority in self.priorities.items() if priority.default)

    def priority_class(self, priority: str) -> str:
        """Return the name of the priority class in the cluster for a name in `priorities`."""
        return self.priorities[priority].class_ or f"research-{priority}"

    @cached_property
    def digest(self) -> str:
        """Return a hash of the settings without default values, which is an annotation of each pod.

        Settings contain no secrets, only references to them.
        """
        written = json.dumps(self.model_dump(mode="json", by_alias=True, exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(written.encode()).hexdigest()[:16]
