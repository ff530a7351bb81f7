"""The settings of what users can choose: profiles, and classes with a profile of their own."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    Tag,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo

from ..resources import Sized
from ..settings import ByName, Bytes, Duration, Groups, Name, Settings, SettingsError, SeveralProblems, Title
from ..settings.strict import MAP_TAG, TEXT_TAG
from ..settings.units import format_bytes
from ..wording import format_list, quote
from .pod_fields import PodFields

# The pattern excludes spaces and newlines, and names of more than 512 characters.
ImageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}$", strict=True)]
# `*` is possible only at the end, after the registry or the namespace, so that no pattern allows another registry.
ImagePattern = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]*/([A-Za-z0-9._/:@-]*[/:@])?\*$", max_length=256)
]
Classes = ByName[StrictBool]
CLASSES_HELP = (
    "Names in `classes`. Students of these classes have access while the class runs, and the staff always. If `groups` "
    "is empty, no other user has access."
)


class ProfileJobs(Settings):
    """The limits of batch jobs in a profile, where they differ from those of its notebooks."""

    wall_time_hard: Duration | None = Field(
        None,
        title="Longest wall time of jobs",
        description="Default: the hard wall time of notebooks. It cannot exceed `batch.wall_time_hard`.",
        examples=["7d"],
    )


class ProfileImage(Settings):
    """An image with a title and a description."""

    image: ImageName = Field(title="Image", examples=["quay.io/jupyter/pytorch-notebook:cuda12-2026-10-01"])
    title: Title | None = Field(
        None, title="Title that users see", description="Default: the name.", examples=["PyTorch 2.9, October 2026"]
    )
    description: str = Field("", title="Description that users see", max_length=400, examples=["CUDA 12, JupyterLab."])


def _text_or_map(written: Any) -> str:
    return MAP_TAG if isinstance(written, (dict, ProfileImage)) else TEXT_TAG


NamedImage = Annotated[
    Annotated[ImageName, Tag(TEXT_TAG)] | Annotated[ProfileImage, Tag(MAP_TAG)], Discriminator(_text_or_map)
]


class Profile(Sized):
    """A profile that users choose: resources, wall time, images, and who may use it."""

    title: Title = Field(title="Title that users see", examples=["Small"])
    description: str = Field("", title="Description that users see below the title", max_length=400)
    heading: Title | None = Field(
        None,
        title="Heading of the profile in the options form",
        description="Profiles with the same heading are listed together. Headings have the order of their first "
        "profiles. A profile without a heading is listed before the headings.",
        examples=["With a GPU"],
    )
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
        description="The queue for requests without a queue. Default: the user's default queue.",
        examples=["climate"],
    )
    queues: Groups = Field(
        default_factory=dict,
        title="Queues that the profile may use",
        description="Default: all queues.",
        examples=[{"climate": True}],
    )
    images: ByName[NamedImage] = Field(
        default_factory=dict,
        title="Images",
        description="Each value is the image, or a map with `image`, `title` and `description`. A request without an "
        "image gets `default`, or the first image by name. If the profile has no images, notebooks get KubeSpawner's "
        "image, and jobs get an image of `batch.images`.",
        examples=[
            {
                "default": "quay.io/jupyter/scipy-notebook:2026-10-01",
                "r": {"title": "R 4.5", "image": "quay.io/jupyter/r-notebook:2026-10-01"},
            }
        ],
    )
    other_images: dict[ImagePattern, StrictBool] = Field(
        default_factory=dict,
        title="Patterns of other images that users may request",
        description="`*` at the end stands for any text. Users then enter the full name of an image. Default: only the "
        "images of the settings.",
        examples=[{"quay.io/jupyter/*": True, "registry.example.edu/climate/model:*": True}],
    )
    shm: Bytes | None = Field(
        None,
        title="Size of /dev/shm",
        description="Shared memory between processes, which PyTorch's data loaders use. It is part of the pod's "
        "memory. Default: 64 MiB, by the container runtime.",
        examples=["8Gi"],
    )
    wall_time: Duration = Field(
        title="Soft wall time",
        description="It is the default for a request without a wall time.",
        examples=["8h"],
    )
    wall_time_hard: Duration | None = Field(
        None,
        title="Hard wall time",
        description="After this time the cluster ends the pod, and a request cannot name a longer one. It applies to "
        "notebooks, and to jobs unless `jobs.wall_time_hard` is set. Default: `wall_time`.",
    )
    jobs: ProfileJobs = Field(default_factory=ProfileJobs, title="Limits of batch jobs in the profile")
    pod: PodFields = Field(
        default_factory=PodFields,
        title="Fields added to the pods of the profile",
        description="They are merged over `pods.base`.",
    )

    @model_validator(mode="after")
    def _hard_is_later(self) -> Profile:
        if self.wall_time_hard is not None and self.wall_time_hard < self.wall_time:
            raise SeveralProblems([("wall_time_hard", "wall_time_hard must not be shorter than wall_time")])
        return self

    @model_validator(mode="after")
    def _shm_fits(self) -> Profile:
        if self.shm is not None and self.shm > self.memory:
            sizes = f"shm ({format_bytes(self.shm)}) must not be more than memory ({format_bytes(self.memory)})"
            raise SeveralProblems([("shm", f"{sizes}, because /dev/shm counts as memory of the pod")])
        return self

    @property
    def hard(self) -> timedelta:
        """Return the hard wall time of notebooks, and of jobs unless the profile has another one for them."""
        return self.wall_time_hard or self.wall_time

    @property
    def default_image(self) -> str | None:
        """Return the image for requests that name no image, or None if the profile has no images."""
        images = self.image_names
        return (images.get("default") or images[min(images)]) if images else None

    @property
    def image_names(self) -> dict[str, str]:
        """Return the full name of each image by its name in the settings."""
        return {name: image if isinstance(image, str) else image.image for name, image in self.images.items()}


def _day(written: Any) -> Any:
    """Reject numbers and times of day, which pydantic would accept as a date."""
    if isinstance(written, date) and not isinstance(written, datetime):
        return written
    if isinstance(written, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", written):
        with suppress(ValueError):
            return date.fromisoformat(written)
    raise ValueError(f"{quote(written)} is not a valid date. Use the format year-month-day: 2026-12-20")


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
        description="It replaces the hard wall time of the profile, but cannot exceed `jobs.wall_time_hard` of the "
        "profile or `batch.wall_time_hard`. Default: the limit of the profile.",
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
                found = SettingsError.of(error, Profile).problems
                raise SeveralProblems((problem.path, problem.message) for problem in found) from None
        return self


# The fields of a profile that a class can have itself, for a profile of its own.
OWN_FIELDS = tuple(
    name
    for name in Profile.model_fields
    if name not in ("title", "heading", "order", "groups", "classes", "queue", "queues", "jobs")
)


def _optional(field: FieldInfo) -> Any:
    annotated: Any = Annotated
    parts = (field.annotation, *field.metadata)
    annotation: Any = annotated[parts] if field.metadata else field.annotation
    description = f"Of the class's own profile. {field.description or ''}".rstrip()
    return (annotation | None, Field(None, title=field.title, description=description, examples=field.examples))


_own_fields: dict[str, Any] = {name: _optional(Profile.model_fields[name]) for name in OWN_FIELDS}
CourseClass = create_model("CourseClass", __base__=_CourseClass, __doc__=_CourseClass.__doc__, **_own_fields)
