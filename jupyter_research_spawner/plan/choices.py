"""What is offered to a person: classes, profiles and queues, the default ones, and why not another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timezone
from typing import Any

from ..identity import PosixIdentity
from ..refusal import Refusal
from ..settings import ordered
from ..settings.strict import open_to
from ..site import CourseClass, Profile, Site
from ..wording import format_list, quote
from .model import Offer, Request


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
        if course.roster.group in mine and _is_held(course, now)
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


def _is_held(course: CourseClass, now: datetime) -> bool:
    today = _today(now)
    return (course.since is None or course.since <= today) and today <= course.until


def _today(now: datetime) -> date:
    return now.astimezone(timezone.utc).date()


def as_course(site: Site, identity: PosixIdentity, request: Request, now: datetime) -> Request:
    """A class offers exactly its profile and its queue."""
    if request.course is None:
        return request
    course = site.classes.get(request.course)
    if course is None or course.roster.group not in identity.group_names:
        mine = [offer.name for offer in offers(site, identity, now) if offer.course]
        raise Refusal(
            "class-not-yours",
            f"There is no class {quote(request.course)} that you are on the roster of.",
            field="class",
            hint=f"Yours: {format_list(mine)}." if mine else "Ask whoever gives the class to add you.",
            status=403,
        )
    if not _is_held(course, now):
        when = f"ended on {course.until}" if _today(now) > course.until else f"begins on {course.since}"
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


def profile_for(site: Site, identity: PosixIdentity, request: Request) -> str:
    if request.profile is not None:
        return _offered("profile", site.profiles, identity, request.profile)
    if request.queue is not None:
        _offered("queue", site.queues, identity, request.queue)
    default = _default_profile(site, identity, request.queue)
    if default is None:
        raise Refusal(
            "no-profile",
            "None of the profiles here is yours by default.",
            field="profile",
            hint=_others("profile", site.profiles, identity),
            status=403,
        )
    return default


def _default_profile(site: Site, identity: PosixIdentity, queue: str | None = None) -> str | None:
    """The first that is mine and can wait, in `queue` or by default; a GPU is never given to who did not ask for it."""
    for name, profile in ordered(site.profiles):
        if profile.gpu is not None or not open_to(profile.groups, identity.group_names):
            continue
        can_wait = (
            _default_queue(site, identity, profile) is not None
            if queue is None
            else queue in _queues_for(site, identity, profile)
        )
        if can_wait:
            return name
    return None


def queue_for(site: Site, identity: PosixIdentity, request: Request, profile_name: str) -> str:
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
            hint=f"Choose one yourself: {format_list(mine)}."
            if mine
            else "Ask your group's owner for access to a queue.",
            status=403,
        )
    _offered("queue", site.queues, identity, name)
    if profile.queues and not profile.queues.get(name):
        raise Refusal(
            "queue-not-for-profile",
            f"Profile {profile_name!r} may not wait in queue {name!r}.",
            field="queue",
            hint=f"It may wait in {format_list(_queues_for(site, identity, profile)) or 'none of yours'}.",
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
            f"unknown-{field}",
            f"There is no {field} {quote(name)}.",
            field=field,
            hint=_others(field, offers_, identity),
        )
    if not open_to(offer.groups, identity.group_names):
        theirs = [group for group, may in offer.groups.items() if may]
        meant = f"is for the group {format_list(theirs, 'or')}" if theirs else "is closed to everybody"
        raise Refusal(
            f"{field}-not-yours",
            f"{field.capitalize()} {name!r} {meant}; you are in {format_list(identity.group_names)}.",
            field=field,
            hint=f"Ask your group's owner. {_others(field, offers_, identity)}",
            status=403,
        )
    return name


def _others(field: str, offers_: Mapping[str, Any], identity: PosixIdentity) -> str:
    mine = [name for name, offer in ordered(offers_) if open_to(offer.groups, identity.group_names)]
    return f"Yours: {format_list(mine)}." if mine else f"No {field} here is yours: ask the people who run this hub."
