"""The decision: what a person may run and as whom.  Made once here; every pod is composed from it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from .identity import PosixIdentity, warnings
from .refusal import Refusal
from .resources import Resources
from .schedulers import SCHEDULERS, Marks, Need, Placement
from .settings import format_duration, ordered
from .settings.base import open_to
from .shape import NOTEBOOK_KIND, Shape
from .site import Allowed, CourseClass, PodFields, Profile, Site
from .storage import MountPoint, environment, group_text, mounts_for, passwd_text

# All annotations of ours on one object together; the API server's own limit is 256 KiB for everybody's.
ANNOTATION_LIMIT = 64_000


@dataclass(frozen=True)
class Request:
    """What a person asked for; None means "you choose".

    `hub_user` is the hub's name for the person, `server` the name of a named server.
    """

    shape: Shape
    hub_user: str
    server: str = ""
    profile: str | None = None
    queue: str | None = None
    course: str | None = None
    wall_time: timedelta | None = None
    image: str | None = None
    workdir: str | None = None


@dataclass(frozen=True)
class WallTime:
    """`soft` is warned of and may be extended up to `hard`, which the cluster enforces; `reason` says whose rule."""

    soft: timedelta
    hard: timedelta
    reason: str


@dataclass(frozen=True)
class Plan:
    """The decision about one thing that is made (a notebook, a job), whole enough to compose its pods from."""

    request: Request
    identity: PosixIdentity
    namespace: str
    run_id: str
    profile: str
    queue: str
    scheduler: str
    priority: str
    preemptible: bool
    marks: Marks
    resources: Resources
    mounts: tuple[MountPoint, ...]
    wall_time: WallTime
    image: str | None
    passwd: str
    group: str
    env: Mapping[str, str]
    pod_fields: PodFields
    allowed: Allowed
    needs: tuple[Need, ...]
    warnings: tuple[str, ...]
    batch_url: str | None
    site_digest: str
    adoption_key: str = ""

    @property
    def shape(self) -> Shape:
        return self.request.shape

    @property
    def workdir(self) -> str:
        return self.request.workdir or self.identity.home

    @property
    def hard_seconds(self) -> int:
        return int(self.wall_time.hard.total_seconds())

    def summary(self) -> dict[str, Any]:
        """The plan as bounded JSON without secrets, for the annotation, for pages and for audit."""
        return {
            "kind": self.shape.kind,
            "name": self.shape.name,
            "hub_user": self.request.hub_user,
            "server": self.request.server,
            "user": self.identity.name,
            "uid": self.identity.uid,
            "gid": self.identity.gid,
            "home": self.identity.home,
            "source": self.identity.source,
            "namespace": self.namespace,
            "profile": self.profile,
            "class": self.request.course,
            "queue": self.queue,
            "scheduler": self.scheduler,
            "priority": self.priority,
            "preemptible": self.preemptible,
            "resources": str(self.resources),
            "mounts": [str(mount) for mount in self.mounts],
            "wall_time": format_duration(self.wall_time.soft),
            "wall_time_hard": format_duration(self.wall_time.hard),
            "wall_time_reason": self.wall_time.reason,
            "image": self.image,
            "run_id": self.run_id,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Offer:
    """A profile (or a class) that a person may take now, and the queues it may wait in, the default one first."""

    name: str
    title: str
    description: str
    profile: str
    resources: Resources
    wall_time: timedelta
    queues: tuple[str, ...]
    course: str | None = None
    is_default: bool = False


def plan(
    site: Site,
    identity: PosixIdentity,
    request: Request,
    *,
    run_id: str,
    now: datetime,
    secret: bytes = b"",
) -> Plan:
    """Decide what `request` becomes when `identity` makes it on `site`.

    `run_id` is fresh for each spawn and submission, `now` is aware, `secret` is the hub's, for the adoption key.
    Raises Refusal with the field at fault.  Pure: same arguments, same plan.
    """
    request = _as_course(site, identity, request, now)
    profile_name = _profile(site, identity, request)
    profile = site.profiles[profile_name]
    queue_name = _queue(site, identity, request, profile_name)
    queue = site.queues[queue_name]
    priority = queue.priority or site.default_priority
    wall_time = _wall_time(site, request, profile_name)
    placement = Placement(
        identity=identity,
        queue=queue_name,
        options=queue.options(site.scheduler.kind),
        scheduler_name=site.scheduler.name,
        priority_class=site.priority_class(priority),
        priority_value=site.priorities[priority].value,
        preemptible=queue.preemptible,
        wall_time_hard=wall_time.hard,
        resources=profile.resources(),
        shape=request.shape,
        run_id=run_id,
        namespace=site.namespaces.name,
    )
    scheduler = SCHEDULERS[site.scheduler.kind]
    if (refusal := scheduler.refuses(placement)) is not None:
        raise refusal
    mounts = mounts_for(site.storage, identity)
    fields = site.pod_fields[profile_name]
    decided = Plan(
        request=request,
        identity=identity,
        namespace=placement.namespace,
        run_id=run_id,
        profile=profile_name,
        queue=queue_name,
        scheduler=site.scheduler.kind,
        priority=priority,
        preemptible=queue.preemptible,
        marks=scheduler.marks(placement),
        resources=placement.resources,
        mounts=mounts,
        wall_time=wall_time,
        image=_image(site, request, profile_name),
        passwd=passwd_text(site.storage.system_accounts, identity),
        group=group_text(site.storage.system_accounts, identity),
        env={**fields.env, **environment(identity), "RESEARCH_PROFILE": profile_name, "RESEARCH_QUEUE": queue_name},
        pod_fields=fields,
        allowed=site.pods.allow,
        needs=(*scheduler.needs(placement), *_claims(mounts, placement.namespace)),
        warnings=warnings(identity),
        batch_url=site.batch.url,
        site_digest=site.digest,
    )
    _bounded(decided)
    return replace(decided, adoption_key=_adoption_key(decided, secret)) if secret else decided


def offers(site: Site, identity: PosixIdentity, now: datetime) -> tuple[Offer, ...]:
    """What this person may take now: classes first, then profiles, each in the site's order.  May be empty."""
    mine = identity.group_names
    found = [
        Offer(
            name=name,
            title=course.title or name,
            description=site.profiles[course.profile].title,
            profile=course.profile,
            resources=site.profiles[course.profile].resources(),
            wall_time=site.profiles[course.profile].wall_time,
            queues=(course.queue,),
            course=name,
        )
        for name, course in sorted(site.classes.items())
        if course.roster.group in mine and _is_held(course, now) and _allowed(site, identity, course)
    ]
    default = _default_profile(site, identity)
    for name, profile in ordered(site.profiles):
        queues = _queues_for(site, identity, profile)
        if open_to(profile.groups, mine) and queues:
            found.append(
                Offer(
                    name=name,
                    title=profile.title,
                    description=profile.description,
                    profile=name,
                    resources=profile.resources(),
                    wall_time=profile.wall_time,
                    queues=queues,
                    is_default=name == default,
                )
            )
    return tuple(found)


def _allowed(site: Site, identity: PosixIdentity, course: CourseClass) -> bool:
    return course.queue in _queues_for(site, identity, site.profiles[course.profile])


def _is_held(course: CourseClass, now: datetime) -> bool:
    return (course.since is None or course.since <= now.date()) and now.date() <= course.until


def _as_course(site: Site, identity: PosixIdentity, request: Request, now: datetime) -> Request:
    """A class offers exactly its profile and its queue."""
    if request.course is None:
        return request
    course = site.classes.get(request.course)
    if course is None or course.roster.group not in identity.group_names:
        mine = [offer.name for offer in offers(site, identity, now) if offer.course]
        raise Refusal(
            "class-not-yours",
            f"There is no class {request.course!r} that you are on the roster of.",
            field="class",
            hint=f"Yours: {_listed(mine)}." if mine else "Ask whoever gives the class to add you.",
            status=403,
        )
    if not _is_held(course, now):
        when = f"ended on {course.until}" if now.date() > course.until else f"begins on {course.since}"
        raise Refusal(
            "class-not-now",
            f"The class {request.course!r} {when}.",
            field="class",
            hint="Take another profile, or ask its staff to change the date.",
            status=403,
        )
    for field, asked, fixed in (("profile", request.profile, course.profile), ("queue", request.queue, course.queue)):
        if asked is not None and asked != fixed:
            raise Refusal(
                "class-fixed",
                f"The class {request.course!r} runs with {field} {fixed!r}, not {asked!r}.",
                field=field,
                hint=f"Leave {field} out.",
            )
    return replace(request, profile=course.profile, queue=course.queue)


def _profile(site: Site, identity: PosixIdentity, request: Request) -> str:
    if request.profile is not None:
        return _offered("profile", site.profiles, identity, request.profile)
    default = _default_profile(site, identity)
    if default is None:
        raise Refusal(
            "no-profile",
            "None of the profiles here is yours by default.",
            field="profile",
            hint=_others("profile", site.profiles, identity),
            status=403,
        )
    return default


def _default_profile(site: Site, identity: PosixIdentity) -> str | None:
    """The first that is mine and can wait somewhere; a GPU is never given to who did not ask for it."""
    for name, profile in ordered(site.profiles):
        is_mine = profile.gpu is None and open_to(profile.groups, identity.group_names)
        if is_mine and _default_queue(site, identity, profile) is not None:
            return name
    return None


def _queue(site: Site, identity: PosixIdentity, request: Request, profile_name: str) -> str:
    """The request's, else the profile's, else the first of mine that is not preemptible.  Never another than asked."""
    profile = site.profiles[profile_name]
    name = request.queue if request.queue is not None else profile.queue
    if name is None:
        name = _default_queue(site, identity, profile)
    if name is None:
        mine = _queues_for(site, identity, profile)
        raise Refusal(
            "no-queue",
            f"No queue of yours takes profile {profile_name!r} by default.",
            field="queue",
            hint=f"Choose one yourself: {_listed(mine)}." if mine else "Ask your group's owner for access to a queue.",
            status=403,
        )
    _offered("queue", site.queues, identity, name)
    if profile.queues and not profile.queues.get(name):
        raise Refusal(
            "queue-not-for-profile",
            f"Profile {profile_name!r} may not wait in queue {name!r}.",
            field="queue",
            hint=f"It may wait in {_listed(_queues_for(site, identity, profile)) or 'none of yours'}.",
        )
    return name


def _default_queue(site: Site, identity: PosixIdentity, profile: Profile) -> str | None:
    mine = _queues_for(site, identity, profile)
    if profile.queue is not None:
        return profile.queue if profile.queue in mine else None
    return next((name for name in mine if not site.queues[name].preemptible), None)


def _queues_for(site: Site, identity: PosixIdentity, profile: Profile) -> tuple[str, ...]:
    """Queues that both this person and this profile may use, the default one first."""
    mine = [
        (name, queue)
        for name, queue in ordered(site.queues)
        if open_to(queue.groups, identity.group_names) and (not profile.queues or profile.queues.get(name))
    ]
    return tuple(name for name, queue in sorted(mine, key=lambda it: (it[0] != profile.queue, it[1].preemptible)))


def _offered(field: str, offers_: Mapping[str, Any], identity: PosixIdentity, name: str) -> str:
    """`name` if there is such an offer and it is theirs.  Raises Refusal."""
    offer = offers_.get(name)
    if offer is None:
        raise Refusal(
            f"unknown-{field}", f"There is no {field} {name!r}.", field=field, hint=_others(field, offers_, identity)
        )
    if not open_to(offer.groups, identity.group_names):
        theirs = [group for group, may in offer.groups.items() if may]
        meant = f"is for the group {_listed(theirs, 'or')}" if theirs else "is closed to everybody"
        raise Refusal(
            f"{field}-not-yours",
            f"{field.capitalize()} {name!r} {meant}; you are in {_listed(identity.group_names)}.",
            field=field,
            hint=f"Ask your group's owner. {_others(field, offers_, identity)}",
            status=403,
        )
    return name


def _others(field: str, offers_: Mapping[str, Any], identity: PosixIdentity) -> str:
    mine = [name for name, offer in ordered(offers_) if open_to(offer.groups, identity.group_names)]
    return f"Yours: {_listed(mine)}." if mine else f"No {field} here is yours: ask the people who run this hub."


def _wall_time(site: Site, request: Request, profile_name: str) -> WallTime:
    """A notebook's hard limit is its profile's.  A job that asked for a time gets that as its limit, as under Slurm."""
    profile = site.profiles[profile_name]
    is_notebook = request.shape.kind == NOTEBOOK_KIND
    ceiling = profile.hard if is_notebook else site.batch.wall_time_hard
    rule = f"profiles.{profile_name}.wall_time_hard" if is_notebook else "batch.wall_time_hard"
    asked = request.wall_time
    if asked is not None and asked > ceiling:
        raise Refusal(
            "wall-time-too-long",
            f"A wall time of {format_duration(asked)} is more than the {format_duration(ceiling)} "
            f"that {'profile ' + repr(profile_name) if is_notebook else 'a job'} may have.",
            field="wall_time",
            hint=f"Ask for {format_duration(ceiling)} or less.",
        )
    if asked is None:
        return WallTime(min(profile.wall_time, ceiling), ceiling, f"{rule} is {format_duration(ceiling)}")
    if is_notebook:
        return WallTime(asked, ceiling, f"asked for {format_duration(asked)}; {rule} is {format_duration(ceiling)}")
    return WallTime(asked, asked, f"asked for {format_duration(asked)}")


def _image(site: Site, request: Request, profile_name: str) -> str | None:
    """One of the profile's (or, for a job, of batch.images), by name or in full.  Nothing allowed means nothing."""
    profile = site.profiles[profile_name]
    is_notebook = request.shape.kind == NOTEBOOK_KIND
    allowed = dict(profile.images) if is_notebook else {**site.batch.images, **profile.images}
    if request.image is None:
        if profile.default_image is not None or is_notebook:
            return profile.default_image
        if allowed:
            return allowed.get("default") or allowed[min(allowed)]
    elif request.image in allowed:
        return allowed[request.image]
    elif request.image in allowed.values():
        return request.image
    if not allowed:
        raise Refusal(
            "no-image",
            f"No image is allowed for profile {profile_name!r}.",
            field="image",
            hint=f"The people who run this hub name them in profiles.{profile_name}.images or batch.images.",
        )
    raise Refusal(
        "image-not-allowed",
        f"The image {request.image!r} is not allowed for profile {profile_name!r}.",
        field="image",
        hint=f"Allowed: {_listed(sorted(set(allowed.values())))}.",
    )


def _claims(mounts: Iterable[MountPoint], namespace: str) -> tuple[Need, ...]:
    claims = sorted({mount.claim for mount in mounts})
    return tuple(Need("v1", "PersistentVolumeClaim", claim, namespace) for claim in claims)


def _bounded(decided: Plan) -> None:
    size = len((decided.passwd + decided.group).encode()) + len(json.dumps(decided.summary()))
    size += sum(len(f"{g.name}:{g.gid},") for g in decided.identity.groups)
    size += sum(len(value) for value in decided.marks.pod.annotations.values())
    if size > ANNOTATION_LIMIT:
        raise Refusal(
            "too-many-groups",
            f"Your {len(decided.identity.groups)} groups make the pod's annotations {size} bytes long; "
            f"{ANNOTATION_LIMIT} is the limit.",
            field="groups",
            hint="Ask the people who run this hub to shorten what the identity source returns.",
            status=403,
        )


def _adoption_key(decided: Plan, secret: bytes) -> str:
    """What a waiting pod must carry to be taken for this server's own after a restart.

    Neither the run id nor the settings' digest: an upgrade must not cost anybody their place in the queue.
    """
    identity = decided.identity
    parts: list[Any] = [
        [identity.name, identity.uid, identity.gid, list(identity.gids), identity.home],
        [decided.namespace, decided.request.hub_user, decided.request.server, decided.shape.kind],
        [decided.profile, decided.queue, decided.hard_seconds, int(decided.wall_time.soft.total_seconds())],
    ]
    return hmac.new(secret, json.dumps(parts).encode(), hashlib.sha256).hexdigest()


def _listed(names: Iterable[str], last: str = "and") -> str:
    """`a, b and c`, shortened where it would fill the page."""
    shown = list(names)
    if len(shown) > 12:
        return f"{', '.join(shown[:12])} and {len(shown) - 12} more"
    return f" {last} ".join(filter(None, (", ".join(shown[:-1]), shown[-1] if shown else "")))
