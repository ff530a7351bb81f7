"""The settings model of an installation.  Parts of the model are in other packages."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    PrivateAttr,
    StrictBool,
    StrictInt,
    create_model,
    model_validator,
)

from ..identity import IdentitySettings
from ..schedulers import SCHEDULERS, QueuePlacement
from ..settings import ByName, Bytes, Duration, Groups, Name, Settings, SeveralProblems, Title
from ..storage import ClaimName, Storage
from ..texts import ENGLISH, catalogue_path, gettext_noop, use_catalogue, use_english
from ..wording import quote
from .offer_settings import CLASSES_HELP, OWN_FIELDS, Classes, CourseClass, ImageName, Profile, TimeZone
from .pod_fields import PodFields, Pods


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
    owners: Groups = Field(
        default_factory=dict,
        title="POSIX groups whose members see the jobs of all users in the queue",
        description="They see them on pages of the batch service: user, state, profile and times. Default: nobody.",
        examples=[{"climate-heads": True}],
    )
    order: StrictInt = Field(
        100,
        title="Position in lists",
        description="A user's default queue is the queue with the lowest order that the user may use and that is not "
        "preemptible.",
    )
    title: Title | None = Field(
        None, title="Title that users see", description="Default: the name of the queue.", examples=["Climate group"]
    )
    description: str = Field(
        "", title="Description that users see at the queue", max_length=400, examples=["The nodes of the group."]
    )
    share: StrictInt = Field(
        1,
        title="Weight of the queue if all queues are busy",
        description="The options form shows it if it is set. `research-spawner manifests` prints it as the weight of "
        "Queues whose object has one. For other schedulers, set it to the weight that the queue has there.",
        ge=1,
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
        timedelta(days=21),
        title="Longest wall time of any job",
        description="The profile of a job has its own limit, which can be shorter: `profiles.NAME.wall_time_hard`, or "
        "`profiles.NAME.jobs.wall_time_hard`.",
        validate_default=True,
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
    show_output_of_others: StrictBool = Field(
        False,
        title="Whether owners of a queue and course staff see the output of the jobs that they see",
        description="Output and the messages of failed jobs can contain private data.",
    )
    max_array_size: StrictInt = Field(1000, title="Maximum number of indexes of a job array", ge=1, le=10_000)


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
            why = f"unknown kind {quote(self.kind)}. Allowed values: {', '.join(SCHEDULERS)}"
            raise SeveralProblems([("kind", why)])
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
        title="Number of pods that the hub creates at the same time",
        description="Further starts wait, in the order of their requests. A start counts until the scheduler has "
        "admitted its pod or put it into a queue, and not while the node starts it.",
        ge=1,
    )
    queue_limit: Duration = Field(timedelta(days=1), title="Maximum time that a notebook waits in its queue")
    boot_limit: Duration = Field(timedelta(minutes=10), title="Maximum time from admission until the notebook answers")
    stop_limit: Duration = Field(timedelta(minutes=2), title="Maximum time until the pod of a stopped server is gone")
    first_notice: Duration = Field(
        timedelta(minutes=60),
        title="Time before the end of a notebook at which its user is told for the first time",
        description="The notebook ends after its soft wall time, which the user can extend up to the hard wall time.",
    )
    last_notice: Duration = Field(
        timedelta(minutes=10),
        title="Time before the end of a notebook at which its user is told for the last time",
        description="It must be shorter than `first_notice`.",
    )
    show_notices: StrictBool = Field(
        True,
        title="Whether notebooks show when they end, in JupyterLab and in new terminals",
        description="They do it with mounts at `/usr/local/share/jupyter/labextensions/research-end-notices`, "
        "`/etc/jupyter/labconfig/page_config.d` and `/etc/profile.d/research-spawner.sh`. Set it to false if you mount "
        "something else at or above one of these paths.",
    )
    unclaimed_pods: Literal["delete", "keep"] = Field(
        "delete",
        title="What happens to pods of the hub that no server claims",
        description="delete: they are deleted after `unclaimed_limit`, and the log names each. keep: they run until "
        "their wall time. Pods of other hubs and of users are never deleted.",
    )
    unclaimed_limit: Duration = Field(
        timedelta(hours=1),
        title="Time after which a pod that no server claims is deleted",
        description="A pod is left, for example, if the hub could not start its server again after a restart. The time "
        "begins again when the hub starts again.",
    )
    prerequisites_cache: Duration = Field(
        timedelta(minutes=1),
        title="Time until an existing prerequisite is checked again",
        description="A prerequisite is a cluster object that must exist, for example a claim or a priority class.",
    )
    start_log: Literal["text", "json"] = Field(
        "text",
        title="Format of the log line about each start",
        description="text: `key=value` pairs in the hub's log. json: one JSON object per line on standard error, "
        "without the hub's prefix.",
    )

    @property
    def notices(self) -> tuple[timedelta, timedelta]:
        """Return the times before the end of a notebook at which its user is told, the longer one first."""
        return self.first_notice, self.last_notice

    @model_validator(mode="after")
    def _last_notice_is_last(self) -> Hub:
        if self.last_notice >= self.first_notice:
            raise SeveralProblems([("last_notice", "last_notice must be shorter than first_notice")])
        return self


class Contact(Settings):
    """Whom users ask for help."""

    text: Title = Field(
        gettext_noop("Ask your administrators."),
        title="Sentence that users see",
        examples=["Ask the help desk of the computing centre."],
    )
    url: str | None = Field(
        None,
        title="Link of the sentence",
        pattern=r"^https://[^\s<>]+$",
        examples=["https://support.example.edu/jupyter"],
    )


class Pages(Settings):
    """The language of the pages of the hub and of the batch service."""

    language: str = Field(
        ENGLISH,
        title="Language of the pages",
        description="A language tag. Texts that `translations` does not have are in English.",
        pattern=r"^[a-z]{2,3}([-_][A-Za-z0-9]{2,8})*$",
        max_length=35,
        examples=["sv"],
    )
    translations: Path | None = Field(
        None,
        title="Directory of translations",
        description="It has the file `LANGUAGE/LC_MESSAGES/jupyter_research_spawner.mo`, for the hub and for the batch "
        "service. Required if the language is not English.",
        examples=["/etc/research-spawner/translations"],
    )

    @model_validator(mode="after")
    def _translated(self) -> Pages:
        if self.language != ENGLISH and self.translations is None:
            raise SeveralProblems([("translations", f"is missing, but language is {quote(self.language)}")])
        return self

    def use_language(self, base: Path | None) -> None:
        """Show the texts of this process in the language.  A relative directory is relative to `base`."""
        if self.translations is None:
            use_english()
        else:
            directory = (base or Path()) / self.translations
            use_catalogue(catalogue_path(directory, self.language), self.language)


class Site(Settings):
    """The settings of one installation."""

    identity: IdentitySettings = Field(title="Identities of users")
    namespaces: Namespaces = Field(title="Namespaces")
    storage: Storage = Field(title="Shared storage")
    scheduler: SchedulerChoice = Field(title="Scheduler", examples=[{"kind": "kueue"}])
    autoscaling: StrictBool = Field(
        True,
        title="Whether nodes can be added to the cluster",
        description="false: the nodes of the cluster are all that there ever are. The start of a notebook that fits on "
        "no node is then refused, and a job or a notebook that waits is told that it never starts. Otherwise they are "
        "told that they start only if such a node is added.",
        examples=[False],
    )
    availability: Literal["queues", "nodes", "none"] = Field(
        "queues",
        title="From what the options form says what is free now",
        description="queues: from the objects of the scheduler's queues, if it has them. nodes: also from the nodes "
        "and the requests of all pods of the cluster. The hub then needs the right to read the pods of all namespaces, "
        "which `research-spawner manifests` prints. none: the form says nothing about it.",
        examples=["nodes"],
    )
    priorities: ByName[Priority] = Field(title="Priorities", min_length=1)
    queues: ByName[Queue] = Field(title="Queues", min_length=1)
    profiles: ByName[Profile] = Field(title="Profiles", min_length=1)
    pods: Pods = Field(default_factory=Pods, title="Fields of pods")
    batch: Batch = Field(default_factory=Batch, title="Batch jobs")
    classes: ByName[CourseClass] = Field(default_factory=dict, title="Classes")
    time_zone: TimeZone = Field(
        "UTC",
        title="Time zone of the days of classes, and of times on the hub's pages",
        description="A name of the IANA time zone database.",
        examples=["America/Los_Angeles"],
    )
    pages: Pages = Field(default_factory=Pages, title="Language of the pages")
    hub: Hub = Field(default_factory=Hub, title="Limits and times of the hub")
    contact: Contact = Field(
        default_factory=Contact,
        title="Whom users ask for help",
        description="Pages that refuse something show it.",
    )
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
        self.add_class_profiles()
        return self

    def add_class_profiles(self, *ignored: type[Exception]) -> None:
        """Replace the own fields of all classes.  A class that raises one of the `ignored` exceptions is skipped."""
        for name, course in self.classes.items():
            with suppress(*ignored):
                self._add_class_profile(name, course)

    def _add_class_profile(self, name: str, course: CourseClass) -> None:
        if course.profile or name in self.profiles:
            return
        self.profiles[name] = course.own_profile(name)
        self._of_classes.add(name)
        queue = self.queues.get(course.queue)
        # An entry in a queue that is open to all users would close it to others.
        if queue is not None and (queue.groups or queue.classes) and name not in queue.classes:
            self.queues[course.queue] = queue.model_copy(update={"classes": {**queue.classes, name: True}})
        without = dict.fromkeys(("image", *OWN_FIELDS))
        self.classes[name] = course.model_copy(update={**without, "profile": name})
        self.classes[name].model_fields_set.difference_update(without)

    def profile_path(self, name: str) -> str:
        """Return the path of a profile in the settings: below `profiles`, or the class of which it has the fields."""
        return f"{'classes' if name in self._of_classes else 'profiles'}.{name}"

    @cached_property
    def queue_titles(self) -> dict[str, str]:
        """Return what users read for each queue, by its name: its title, or its name if it has none."""
        return {name: queue.title or name for name, queue in self.queues.items()}

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

    def queue_placement(self, queue: str, priority: str = "") -> QueuePlacement:
        """Return the placement from which a scheduler derives the names of a queue's objects.

        priority: a name in `priorities`, instead of that of the queue.
        """
        settings = self.queues[queue]
        return QueuePlacement(
            queue=queue,
            options=settings.options(self.scheduler.kind),
            priority_class=self.priority_class(priority or settings.priority or self.default_priority),
            namespace=self.namespaces.name,
        )

    @cached_property
    def digest(self) -> str:
        """Return a hash of the settings without default values, which is an annotation of each pod.

        Settings contain no secrets, only references to them.
        """
        written = json.dumps(self.model_dump(mode="json", by_alias=True, exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(written.encode()).hexdigest()[:16]
