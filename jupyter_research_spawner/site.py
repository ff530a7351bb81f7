"""One installation's settings, assembled from the rooms below, and checked as a whole once at start."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationError,
    create_model,
    model_validator,
)

from .identity import IdentitySettings
from .resources import Sized
from .schedulers import SCHEDULERS, reserved
from .settings import ByName, Duration, Groups, Name, Settings, SettingsError, merge, read
from .settings.errors import Problem
from .settings.merge import Raw, resolve_like
from .shape import OUR_PREFIX
from .storage import ClaimName, Storage, absolute

# Longest by far in practice; a newline or a space in it would be somebody's trick.
ImageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}$", strict=True)]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$", strict=True)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=120)]


def _not_ours(labels: dict[str, str]) -> dict[str, str]:
    for key in labels:
        if key.startswith(OUR_PREFIX) or reserved(key) or "k8s.io/" in key.partition("/")[0] + "/":
            raise ValueError(f"{key!r} belongs to this spawner, to a scheduler or to Kubernetes; choose another key")
    return labels


def _plain_env(env: dict[str, str]) -> dict[str, str]:
    for name in env:
        if name.startswith(("JUPYTERHUB_", "RESEARCH_", "NSS_WRAPPER_")) or name in ("LD_PRELOAD", "LD_AUDIT"):
            raise ValueError(
                f"{name} is set by the hub or by this spawner, or would change who programs think they are"
            )
    return env


class PodFields(Settings):
    """Fields of Kubernetes' PodSpec that a site adds to notebooks and jobs alike, spelled as Kubernetes spells them."""

    nodeSelector: dict[str, str] = Field(default_factory=dict, title="Labels a node must have")
    tolerations: list[dict[str, JsonValue]] = Field(default_factory=list, title="Taints that are borne")
    affinity: dict[str, JsonValue] = Field(default_factory=dict, title="Affinity")
    topologySpreadConstraints: list[dict[str, JsonValue]] = Field(default_factory=list, title="Spreading")
    imagePullSecrets: list[dict[str, str]] = Field(default_factory=list, title="Secrets for private images")
    hostAliases: list[dict[str, JsonValue]] = Field(default_factory=list, title="Lines of /etc/hosts")
    runtimeClassName: str | None = Field(None, title="RuntimeClass")
    dnsPolicy: str | None = Field(None, title="DNS policy")
    dnsConfig: dict[str, JsonValue] | None = Field(None, title="DNS configuration")
    terminationGracePeriodSeconds: StrictInt | None = Field(None, title="Seconds between SIGTERM and SIGKILL", ge=0)
    env: Annotated[dict[EnvName, str], AfterValidator(_plain_env)] = Field(
        default_factory=dict,
        title="Environment of the main container",
        description="Taken as it stands: `$(NAME)` is not expanded.",
        examples=[{"HTTPS_PROXY": "http://proxy.example.edu:3128"}],
    )
    labels: Annotated[dict[str, str], AfterValidator(_not_ours)] = Field(default_factory=dict, title="Labels")
    annotations: Annotated[dict[str, str], AfterValidator(_not_ours)] = Field(default_factory=dict, title="Annotations")

    def spec(self) -> dict[str, Any]:
        """The PodSpec part: what is not empty, but for env, labels and annotations."""
        written = self.model_dump(exclude={"env", "labels", "annotations"}, exclude_defaults=True)
        return {key: value for key, value in written.items() if value}

    def over(self, base: PodFields) -> PodFields:
        """`base` with these on top: maps merge, lists add up, scalars replace."""
        merged = base.model_dump(exclude_defaults=True)
        for key, value in self.model_dump(exclude_defaults=True).items():
            if isinstance(value, dict):
                merged[key] = {**merged.get(key, {}), **value}
            elif isinstance(value, list):
                merged[key] = [*merged.get(key, []), *(item for item in value if item not in merged.get(key, []))]
            else:
                merged[key] = value
        return PodFields.model_validate(merged)


Access = Literal["ro", "rw"]


class Allowed(Settings):
    """What KubeSpawner's settings and hooks may add to a notebook beyond what is harmless."""

    claims: dict[ClaimName, Access] = Field(default_factory=dict, title="More claims", examples=[{"software": "ro"}])
    host_paths: dict[Annotated[str, AfterValidator(absolute)], Access] = Field(
        default_factory=dict, title="Directories of the node", examples=[{"/cvmfs": "ro"}]
    )
    secrets: dict[ClaimName, StrictBool] = Field(default_factory=dict, title="Secrets that may be mounted")
    scheduling_gates: dict[str, StrictBool] = Field(default_factory=dict, title="Scheduling gates")
    fields: dict[str, StrictBool] = Field(
        default_factory=dict, title="Further fields of PodSpec", examples=[{"readinessGates": True}]
    )


class Pods(Settings):
    """Every pod."""

    base: PodFields = Field(default_factory=PodFields, title="Added to notebooks and jobs")
    allow: Allowed = Field(default_factory=Allowed, title="What hooks may add")


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
        description="By default the notebook's image shows no `jobs` command.",
        pattern=r"^https?://[^\s?#]+[^/\s?#]$",
        examples=["http://proxy-public/services/batch"],
    )
    images: ByName[ImageName] = Field(default_factory=dict, title="Images for jobs besides the profile's own")
    wall_time_hard: Duration = Field(timedelta(days=21), title="No job runs longer", validate_default=True)
    keep: Duration = Field(timedelta(days=7), title="How long an ended job stays in the list")


class Roster(Settings):
    group: str = Field(title="POSIX group", min_length=1, examples=["stats101-f26"])


class CourseClass(Settings):
    """A course: roster, dates, profile, queue, staff."""

    title: Title | None = Field(None, title="What people choose. By default the class's name")
    profile: Name = Field(title="One of `profiles`", examples=["small"])
    queue: Name = Field(title="One of `queues`", examples=["teaching"])
    roster: Roster = Field(title="Who takes it", examples=[{"group": "stats101-f26"}])
    staff: Roster | None = Field(None, title="Who gives it", examples=[{"group": "stats101-staff"}])
    since: date | None = Field(None, title="First day")
    until: date = Field(title="Last day", examples=["2026-12-20"])


class SchedulerChoice(Settings):
    """Which scheduler queues and places pods."""

    kind: str = Field(title="One of the schedulers", examples=["kueue"], json_schema_extra={"enum": list(SCHEDULERS)})
    name: ClaimName | None = Field(None, title="schedulerName, where the site renamed it")

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
    needs_cache: Duration = Field(timedelta(minutes=1), title="How long it is believed that a claim or queue exists")


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
        """Tells two settings apart in a pod's annotation.  Secrets are not in it: settings hold only their places."""
        written = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True)
        return hashlib.sha256(written.encode()).hexdigest()[:16]


def load(*parts: Mapping[str, Any] | Path | str) -> Site:
    """Merge settings, each a map or a YAML file, left to right, and check them.

    Relative files in the settings (a passwd file) are looked for beside the process's working directory.
    Raises SettingsError with every problem found.
    """
    maps = [dict(part) if isinstance(part, Mapping) else read(Path(part)) for part in parts]
    merged = merge(*maps) if maps else {}
    return validate(_resolved(merged))


def _resolved(raw: Raw) -> Raw:
    profiles = raw.get("profiles")
    if not isinstance(profiles, dict):
        return raw
    return {**raw, "profiles": resolve_like(profiles, "profiles", keep=frozenset({"title", "order"}))}


def validate(raw: Raw) -> Site:
    try:
        site = Site.model_validate(raw)
    except ValidationError as error:
        raise SettingsError.of(error, Site) from None
    if problems := _references(site):
        raise SettingsError(problems)
    return site


def _references(site: Site) -> list[Problem]:
    """Names that name nothing."""
    found: list[Problem] = []

    def known(path: str, name: str | None, place: str, names: Mapping[str, Any]) -> None:
        if name is not None and name not in names:
            found.append(
                Problem(path, f"{name!r} is not one of {place}: {', '.join(sorted(names)) or 'there is none'}")
            )

    defaults = [name for name, priority in site.priorities.items() if priority.default]
    if len(defaults) != 1:
        named = f"{' and '.join(defaults)} are" if defaults else "none is"
        found.append(Problem("priorities", f"{named} the default; exactly one must have default: true"))
    for name, queue in site.queues.items():
        known(f"queues.{name}.priority", queue.priority, "priorities", site.priorities)
    for name, profile in site.profiles.items():
        known(f"profiles.{name}.queue", profile.queue, "queues", site.queues)
        for queue_name in profile.queues:
            known(f"profiles.{name}.queues.{queue_name}", queue_name, "queues", site.queues)
        if profile.queue and profile.queues and not profile.queues.get(profile.queue):
            found.append(Problem(f"profiles.{name}.queue", f"{profile.queue!r} is not among this profile's own queues"))
    for name, course in site.classes.items():
        known(f"classes.{name}.profile", course.profile, "profiles", site.profiles)
        known(f"classes.{name}.queue", course.queue, "queues", site.queues)
        found += _course(site, name, course)
    return found


def _course(site: Site, name: str, course: CourseClass) -> list[Problem]:
    """A class must really be open to its roster, else 300 people learn it on the first day."""
    found = []
    group = course.roster.group
    for kind, offers, chosen in (("profile", site.profiles, course.profile), ("queue", site.queues, course.queue)):
        offer = offers.get(chosen)
        if offer is not None and offer.groups and not offer.groups.get(group):
            found.append(
                Problem(
                    f"classes.{name}.{kind}",
                    f"the roster's group {group!r} may not use {kind} {chosen!r}. Add it: "
                    f"{kind}s.{chosen}.groups: {{{group}: true}}",
                )
            )
    profile = site.profiles.get(course.profile)
    if profile is not None and profile.queues and not profile.queues.get(course.queue):
        found.append(Problem(f"classes.{name}.queue", f"profile {course.profile!r} may not wait in {course.queue!r}"))
    if course.since is not None and course.since > course.until:
        found.append(Problem(f"classes.{name}.until", "lies before since"))
    return found


def json_schema() -> dict[str, Any]:
    """The JSON schema of a whole Site after merging: for editors, and for charts that pass settings through."""
    schema = Site.model_json_schema(by_alias=True)
    profile = schema["$defs"]["Profile"]
    # A profile that is `like` another has its required settings from there.
    profile["properties"]["like"] = {
        "type": "string",
        "title": "Another profile whose settings are taken, but for title and order",
    }
    profile["anyOf"] = [{"required": ["like", "title"]}, {"required": profile.pop("required")}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "jupyter-research-spawner", **schema}
