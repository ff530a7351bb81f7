"""Decide which classes, profiles and queues a user may choose, and which are the defaults."""

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
    """Return the classes, by name, and then the profiles, by `order`, that the user may choose now."""
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
        if course.roster.group in mine and _is_current(course, now)
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


def _is_current(course: CourseClass, now: datetime) -> bool:
    today = _today(now)
    return (course.since is None or course.since <= today) and today <= course.until


def _today(now: datetime) -> date:
    return now.astimezone(timezone.utc).date()


def apply_class(site: Site, identity: PosixIdentity, request: Request, now: datetime) -> Request:
    """Return the request with the profile and the queue of its class.

    Raises Refusal if the user is not in the class, or if the request names another profile or queue."""
    if request.course is None:
        return request
    course = site.classes.get(request.course)
    if course is None or course.roster.group not in identity.group_names:
        hints = []
        if course is not None:
            hints.append(f"Ask the course staff to add you to group {course.roster.group}.")
        if mine := [offer.name for offer in offers(site, identity, now) if offer.course]:
            hints.append(f"Your classes: {format_list(mine)}.")
        raise Refusal(
            "class-not-yours",
            f"You are not on the roster of a class named {quote(request.course)}.",
            field="class",
            hint=" ".join(hints) or "You are not on the roster of any class.",
            status=403,
        )
    if not _is_current(course, now):
        when = f"ended on {course.until}" if _today(now) > course.until else f"begins on {course.since}"
        raise Refusal(
            "class-not-now",
            f"Class {quote(request.course)} {when}.",
            field="class",
            hint="Choose a profile instead, or ask the course staff to change the date.",
            status=403,
        )
    for field, asked, fixed in (("profile", request.profile, course.profile), ("queue", request.queue, course.queue)):
        if asked is not None and asked != fixed:
            raise Refusal(
                "class-fixed",
                f"Class {request.course!r} always uses {field} {fixed!r}; you asked for {quote(asked)}.",
                field=field,
                hint=f"Do not choose a {field} for this class.",
            )
    return replace(request, profile=course.profile, queue=course.queue)


def choose_profile(site: Site, identity: PosixIdentity, request: Request) -> str:
    """Return the name of the requested profile, or of the user's default profile.  Raises Refusal."""
    if request.profile is not None:
        return _require_allowed("profile", site.profiles, identity, request.profile)
    if request.queue is not None:
        _require_allowed("queue", site.queues, identity, request.queue)
    default = _default_profile(site, identity, request.queue)
    if default is None:
        raise Refusal(
            "no-profile",
            "You have no default profile.",
            field="profile",
            hint=_alternatives("profile", site.profiles, identity),
            status=403,
        )
    return default


def _default_profile(site: Site, identity: PosixIdentity, queue: str | None = None) -> str | None:
    """Return the first profile by `order` that the user may use in `queue`, or if None, that has a default queue.

    A profile with a GPU is never the default.
    """
    for name, profile in ordered(site.profiles):
        if profile.gpu is not None or not open_to(profile.groups, identity.group_names):
            continue
        has_queue = (
            _default_queue(site, identity, profile) is not None
            if queue is None
            else queue in _queues_for(site, identity, profile)
        )
        if has_queue:
            return name
    return None


def choose_queue(site: Site, identity: PosixIdentity, request: Request, profile_name: str) -> str:
    """Return the requested queue, or the profile's queue, or else the user's first queue that is not preemptible.

    Raises Refusal if the user or the profile may not use that queue.
    """
    profile = site.profiles[profile_name]
    name = request.queue if request.queue is not None else profile.queue
    if name is None:
        name = _default_queue(site, identity, profile)
    if name is None:
        mine = _queues_for(site, identity, profile)
        raise Refusal(
            "no-queue",
            f"You have no default queue for profile {profile_name!r}.",
            field="queue",
            hint=f"Choose a queue: {format_list(mine)}." if mine else "Ask your administrators for access to a queue.",
            status=403,
        )
    _require_allowed("queue", site.queues, identity, name)
    if profile.queues and not profile.queues.get(name):
        mine = _queues_for(site, identity, profile)
        raise Refusal(
            "queue-not-for-profile",
            f"Profile {profile_name!r} cannot be used in queue {name!r}.",
            field="queue",
            hint=f"Your queues for this profile: {format_list(mine)}."
            if mine
            else "You have no queue for this profile. Choose another profile.",
        )
    return name


def _default_queue(site: Site, identity: PosixIdentity, profile: Profile) -> str | None:
    """Return the profile's own queue, or else the user's first queue that is not preemptible; None if not allowed."""
    mine = _queues_for(site, identity, profile)
    if profile.queue is not None:
        return profile.queue if profile.queue in mine else None
    return next((name for name in mine if not site.queues[name].preemptible), None)


def _queues_for(site: Site, identity: PosixIdentity, profile: Profile) -> tuple[str, ...]:
    """Return the queues that both the user and the profile may use.

    The profile's own queue comes first, then queues that are not preemptible, then preemptible queues."""
    mine = [
        (name, queue)
        for name, queue in ordered(site.queues)
        if open_to(queue.groups, identity.group_names) and (not profile.queues or profile.queues.get(name))
    ]
    return tuple(name for name, queue in sorted(mine, key=lambda it: (it[0] != profile.queue, it[1].preemptible)))


def _require_allowed(field: str, choices: Mapping[str, Any], identity: PosixIdentity, name: str) -> str:
    """Return `name`.  Raises Refusal if that profile or queue does not exist or the user may not use it."""
    offer = choices.get(name)
    if offer is None:
        raise Refusal(
            f"unknown-{field}",
            f"There is no {field} {quote(name)}.",
            field=field,
            hint=_alternatives(field, choices, identity),
        )
    if not open_to(offer.groups, identity.group_names):
        allowed_groups = [group for group, is_allowed in offer.groups.items() if is_allowed]
        rule = (
            f"requires membership in group {format_list(allowed_groups, 'or')}"
            if allowed_groups
            else "is closed to all users"
        )
        raise Refusal(
            f"{field}-not-yours",
            f"{field.capitalize()} {name!r} {rule}; your groups are {format_list(identity.group_names)}.",
            field=field,
            hint=f"Ask the group's owner to add you. {_alternatives(field, choices, identity)}",
            status=403,
        )
    return name


def _alternatives(field: str, choices: Mapping[str, Any], identity: PosixIdentity) -> str:
    mine = [name for name, offer in ordered(choices) if open_to(offer.groups, identity.group_names)]
    return f"Your {field}s: {format_list(mine)}." if mine else f"Ask your administrators for access to a {field}."
