"""Decide which classes, profiles and queues a user may choose, and which are the defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..identity import PosixIdentity
from ..refusal import Refusal
from ..settings import format_duration, ordered
from ..shape import NOTEBOOK_KIND
from ..site import Profile, Queue, Site
from ..texts import gettext, translate
from ..wording import format_list, quote
from .model import Help, Offer, OfferedImage, OfferedQueue, Request
from .names import Names
from .rights import Restricted, Rights, classes_of, end_of, is_current, is_in, is_staff, rights_of, when_it_is, zone_of

# The groups and the current classes that decide which offers a user gets.
OffersKey = tuple[frozenset[str], frozenset[str]]


def offers(site: Site, identity: PosixIdentity, now: datetime) -> tuple[Offer, ...]:
    """Return the classes, by name, and then the profiles, by `order`, that the user may choose now."""
    rights = rights_of(site, identity, now)
    default = _default_class(site, identity, now)
    found = [
        replace(
            _offer(site, course.profile, (course.queue,)),
            name=name,
            title=course.title or name,
            description=_description(course.title or name, site.profiles[course.profile]),
            heading="",
            course=name,
            is_default=name == default,
        )
        for name, course in sorted(site.classes.items())
        if name in rights.classes
        and rights.may_use(site.profiles[course.profile])
        and rights.may_use(site.queues[course.queue])
    ]
    of_classes = {offer.profile for offer in found}
    has_default = any(offer.is_default for offer in found)
    default = None if has_default else _default_profile(site, rights)
    for name, profile in ordered(site.profiles):
        # A class and the profile that is only for its members are one offer.
        if name in of_classes and rights.granting_classes(profile):
            continue
        queues = _queues_for(site, rights, profile)
        if rights.may_use(profile) and queues:
            found.append(replace(_offer(site, name, queues), is_default=name == default))
    return tuple(found)


class OffersKeys:
    """Finds out which users get the same offers: those with the same key."""

    def __init__(self, site: Site) -> None:
        self._site = site
        restricted: list[Restricted] = [*site.profiles.values(), *site.queues.values()]
        self._groups = {group for offer in restricted for group in offer.groups}
        for course in site.classes.values():
            self._groups |= {course.roster.group, *([course.staff.group] if course.staff is not None else [])}

    def of(self, identity: PosixIdentity, now: datetime) -> OffersKey:
        """Return all of which the result of `offers` depends."""
        current = (name for name, course in self._site.classes.items() if is_current(self._site, course, now))
        return (frozenset(self._groups.intersection(identity.group_names)), frozenset(current))


def _offer(site: Site, name: str, queues: Sequence[str]) -> Offer:
    """Return the offer of a profile in these queues."""
    profile = site.profiles[name]
    return Offer(
        name=name,
        title=profile.title,
        description=profile.description,
        profile=name,
        resources=profile.resources(),
        wall_time=profile.wall_time,
        offered_queues=tuple(_offered_queue(queue, site.queues[queue]) for queue in queues),
        images=_offered_images(profile),
        other_images=tuple(sorted(pattern for pattern, may in profile.other_images.items() if may)),
        heading=profile.heading or "",
    )


def _offered_queue(name: str, queue: Queue) -> OfferedQueue:
    return OfferedQueue(name, queue.title or name, describe_queue(queue), queue.preemptible)


def describe_queue(queue: Queue) -> str:
    """Return what the queue means for its work: the site's description, its share if that is set, and preemption."""
    sentences = [f"{queue.description.rstrip('.')}."] if queue.description else []
    if "share" in queue.model_fields_set:
        sentences.append(gettext("This queue has weight %(share)s when all queues are busy.", share=queue.share))
    if queue.preemptible:
        sentences.append(gettext("Preemptible: your work is stopped when work of other queues needs its place."))
    else:
        sentences.append(gettext("Not preemptible by other queues."))
    return " ".join(sentences)


def _offered_images(profile: Profile) -> tuple[OfferedImage, ...]:
    """Return the images of the profile: the default image first, then by name."""
    found = []
    for name, image in sorted(profile.images.items(), key=lambda item: (item[0] != "default", item[0])):
        if isinstance(image, str):
            found.append(OfferedImage(name, name, "", image))
        else:
            found.append(OfferedImage(name, image.title or name, image.description, image.image))
    return tuple(found)


def whom_to_ask(site: Site) -> Help:
    """Return whom the site's users ask for help."""
    return Help(translate(site.contact.text), site.contact.url or "")


def _default_class(site: Site, identity: PosixIdentity, now: datetime) -> str | None:
    """Return the first class, by name, that the user attends now.  The staff of a class have other work too."""
    attended = (
        name
        for name, course in sorted(site.classes.items())
        if course.roster.group in identity.group_names and is_current(site, course, now)
    )
    return next(attended, None)


def why_not_offered(site: Site, identity: PosixIdentity, course_name: str, now: datetime) -> str:
    """Return when the user's class begins or has ended, as the end of a sentence; "" if it is not that."""
    course = site.classes.get(course_name)
    if course is None or not is_in(course, identity) or is_current(site, course, now):
        return ""
    return when_it_is(site, course, now)


def _description(title: str, profile: Profile) -> str:
    """Return the description of a class with this title: its profile, if that says more than its own title."""
    return profile.description if profile.title == title else gettext("Profile: %(title)s", title=profile.title)


def apply_class(site: Site, identity: PosixIdentity, request: Request, now: datetime) -> Request:
    """Return the request with the profile and the queue of its class.

    Raises Refusal if the user is not in the class, or if the request names another profile or queue."""
    if request.course is None:
        return request
    course, names = site.classes.get(request.course), Names.in_request(site, request)
    if course is None or not is_in(course, identity):
        hints = []
        if course is not None:
            hints.append(f"Ask the course staff to add you to group {course.roster.group}. {_known_after(site)}")
        if mine := [offer.name for offer in offers(site, identity, now) if offer.course]:
            hints.append(f"Your classes: {names.to_write('class', mine)}.")
        raise Refusal(
            "class-not-yours",
            f"You are not on the roster of a class named {quote(request.course)}.",
            field="class",
            hint=" ".join(hints) or "You are not on the roster of any class.",
            status=403,
        )
    if request.course not in rights_of(site, identity, now).classes:
        raise Refusal(
            "class-not-now",
            f"Class {names.of('class', request.course)} {when_it_is(site, course, now)}.",
            field="class",
            hint="Choose a profile instead, or ask the course staff to change the date.",
            status=403,
        )
    for field, asked, fixed in (("profile", request.profile, course.profile), ("queue", request.queue, course.queue)):
        if asked is not None and asked != fixed:
            raise Refusal(
                "class-fixed",
                f"Class {names.of('class', request.course)} always uses {field} {names.of(field, fixed)}; "
                f"you asked for {names.of(field, asked)}.",
                field=field,
                hint=f"Do not choose a {field} for this class.",
            )
    return replace(request, profile=course.profile, queue=course.queue)


def choose_profile(site: Site, rights: Rights, request: Request, now: datetime) -> str:
    """Return the name of the requested profile, or of the user's default profile.  Raises Refusal."""
    names = Names.in_request(site, request)
    if request.profile is not None:
        return _require_allowed(names, "profile", site.profiles, rights, request.profile, now)
    if request.queue is not None:
        _require_allowed(names, "queue", site.queues, rights, request.queue, now)
    default = _default_profile(site, rights, request.queue)
    if default is None:
        raise Refusal(
            "no-profile",
            "You have no default profile.",
            field="profile",
            hint=_alternatives("profile", site.profiles, rights, names.listed),
            status=403,
        )
    return default


def _default_profile(site: Site, rights: Rights, queue: str | None = None) -> str | None:
    """Return the first profile by `order` that the user may use in `queue`, or if None, that has a default queue.

    A profile with a GPU is never the default.
    """
    for name, profile in ordered(site.profiles):
        if profile.gpu is not None or not rights.may_use(profile):
            continue
        has_queue = (
            _default_queue(site, rights, profile) is not None
            if queue is None
            else queue in _queues_for(site, rights, profile)
        )
        if has_queue:
            return name
    return None


def choose_queue(site: Site, rights: Rights, request: Request, profile_name: str, now: datetime) -> str:
    """Return the requested queue, or the profile's queue, or else the user's first queue that is not preemptible.

    Raises Refusal if the user or the profile may not use that queue.
    """
    profile, names = site.profiles[profile_name], Names.in_request(site, request)
    name = request.queue if request.queue is not None else profile.queue
    if name is None:
        name = _default_queue(site, rights, profile)
    if name is None:
        mine = _queues_for(site, rights, profile)
        raise Refusal(
            "no-queue",
            f"You have no default queue for profile {names.of('profile', profile_name)}.",
            field="queue",
            hint=f"Choose a queue: {names.listed('queue', mine)}."
            if mine
            else "Ask your administrators for access to a queue.",
            status=403,
        )
    _require_allowed(names, "queue", site.queues, rights, name, now)
    if profile.queues and not profile.queues.get(name):
        mine = _queues_for(site, rights, profile)
        raise Refusal(
            "queue-not-for-profile",
            f"Profile {names.of('profile', profile_name)} cannot be used in queue {names.of('queue', name)}.",
            field="queue",
            hint=f"Your queues for this profile: {names.listed('queue', mine)}."
            if mine
            else "You have no queue for this profile. Choose another profile.",
        )
    return name


def _default_queue(site: Site, rights: Rights, profile: Profile) -> str | None:
    """Return the profile's own queue, or else the user's first queue that is not preemptible; None if not allowed."""
    mine = _queues_for(site, rights, profile)
    if profile.queue is not None:
        return profile.queue if profile.queue in mine else None
    return next((name for name in mine if not site.queues[name].preemptible), None)


def _queues_for(site: Site, rights: Rights, profile: Profile) -> tuple[str, ...]:
    """Return the queues that both the user and the profile may use.

    The profile's own queue comes first, then queues that are not preemptible, then preemptible queues."""
    mine = [
        (name, queue)
        for name, queue in ordered(site.queues)
        if rights.may_use(queue) and (not profile.queues or profile.queues.get(name))
    ]
    return tuple(name for name, queue in sorted(mine, key=lambda it: (it[0] != profile.queue, it[1].preemptible)))


def priority_of(site: Site, queue_name: str) -> str:
    """Return the name of the priority of what runs in this queue."""
    return site.queues[queue_name].priority or site.default_priority


def _require_allowed(
    names: Names, field: str, choices: Mapping[str, Any], rights: Rights, name: str, now: datetime
) -> str:
    """Return `name`.  Raises Refusal if that profile or queue does not exist or the user may not use it."""
    offer = choices.get(name)
    if offer is None:
        raise Refusal(
            f"unknown-{field}",
            f"There is no {field} {quote(name)}.",
            field=field,
            hint=_alternatives(field, choices, rights, names.to_write),
        )
    if not rights.may_use(offer):
        raise Refusal(
            f"{field}-not-yours",
            f"{field.capitalize()} {names.of(field, name)} {_rule(names.site, offer, now)}; your groups are "
            f"{format_list(rights.groups)}.",
            field=field,
            hint=f"Ask the group's owner to add you. {_known_after(names.site)} "
            f"{_alternatives(field, choices, rights, names.listed)}",
            status=403,
        )
    return name


def _known_after(site: Site) -> str:
    cache = site.identity.cache
    return (
        f"A new group has an effect here after {format_duration(cache.found)} at most. To have your groups read again "
        f"sooner, try again after {format_duration(cache.reload)}."
    )


def _rule(site: Site, offer: Restricted, now: datetime) -> str:
    """Return who may use the offer, as the end of a sentence about it."""
    allowed_groups = [group for group, is_allowed in offer.groups.items() if is_allowed]
    rules = [f"requires membership in group {format_list(allowed_groups, 'or')}"] if allowed_groups else []
    classes = [
        f"{course.title or name}, which {when_it_is(site, course, now)}" for name, course in classes_of(offer, site)
    ]
    if classes:
        rules.append(f"is for class {format_list(classes, 'or')}")
    return " or ".join(rules) or "is closed to all users"


def _alternatives(
    field: str, choices: Mapping[str, Any], rights: Rights, listed: Callable[[str, Iterable[str]], str]
) -> str:
    mine = [name for name, offer in ordered(choices) if rights.may_use(offer)]
    return f"Your {field}s: {listed(field, mine)}." if mine else f"Ask your administrators for access to a {field}."


def classes_required(
    site: Site, rights: Rights, profile_name: str, queue_name: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the classes that the user needs for this profile or queue: as a student, and as staff.

    If there are classes of which the user is staff, the first tuple is empty.
    """
    offers = (site.profiles[profile_name], site.queues[queue_name])
    required = sorted({name for offer in offers for name in rights.granting_classes(offer)})
    staffed = tuple(name for name in required if is_staff(site.classes[name], rights.groups))
    return (() if staffed else tuple(required)), staffed


def class_end_warnings(site: Site, then: Rights, classes: Sequence[str], profile: str, queue: str) -> tuple[str, ...]:
    """Return a warning if the user, who needs these classes, may not use the profile or queue with the rights `then`.

    `then` are the user's rights at the end of the wall time.  The wall time is not shortened: it begins when the
    scheduler starts the pod, which is not known in advance.
    """
    ending = [site.classes[name] for name in classes if name not in then.classes]
    if not ending or (then.may_use(site.profiles[profile]) and then.may_use(site.queues[queue])):
        return ()
    first = min(ending, key=lambda course: end_of(site, course))
    name, day = _titles(site, classes), f"{first.until} ({zone_of(site, first)})"
    if site.on_lost_right == "continue":
        told = gettext(
            "Class %(name)s ends on %(day)s, before the wall time. What has not started by then will never start, and "
            "what runs then continues until its wall time.",
            name=name,
            day=day,
        )
    else:
        told = gettext(
            "Class %(name)s ends on %(day)s, before the wall time. What has not started by then will never start, and "
            "what runs then is stopped.",
            name=name,
            day=day,
        )
    return (told,)


def check_class_jobs(site: Site, request: Request, classes: Sequence[str], queue_name: str) -> None:
    """Raise Refusal for a job that is possible only through these classes, if none of them allows jobs."""
    if request.shape.kind == NOTEBOOK_KIND or not classes or any(site.classes[name].jobs.allowed for name in classes):
        return
    raise Refusal(
        "class-no-jobs",
        f"Students of class {_titles(site, classes)} cannot submit jobs in queue {queue_name!r}.",
        field="queue",
        hint="Run the program in your notebook, or ask the course staff.",
        status=403,
    )


def _titles(site: Site, classes: Iterable[str]) -> str:
    return format_list(site.classes[name].title or name for name in classes)
