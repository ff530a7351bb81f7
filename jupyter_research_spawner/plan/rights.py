"""Decide which classes count for a user at a time, and what the user may use because of groups and classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from ..identity import PosixIdentity
from ..settings.strict import open_to
from ..site import CourseClass, Site


class Restricted(Protocol):
    """A profile, queue or mount that is open to some groups and classes, or to all users if both maps are empty."""

    @property
    def groups(self) -> Mapping[str, bool]: ...

    @property
    def classes(self) -> Mapping[str, bool]: ...


@dataclass(frozen=True)
class Rights:
    """The groups of a user, and the classes that count for the user now."""

    groups: tuple[str, ...]
    classes: frozenset[str]

    def may_use(self, offer: Restricted) -> bool:
        return open_to(offer.groups, self.groups, offer.classes, self.classes)

    def granting_classes(self, offer: Restricted) -> frozenset[str]:
        """Return the classes without which the user could not use the offer."""
        if not offer.classes or any(map(offer.groups.get, self.groups)):
            return frozenset()
        return frozenset(name for name in self.classes if offer.classes.get(name))


def rights_of(site: Site, identity: PosixIdentity, now: datetime) -> Rights:
    """Return the user's rights.  A class counts for its students while it runs, and for its staff always."""
    mine = identity.group_names
    classes = {
        name
        for name, course in site.classes.items()
        if is_staff(course, mine) or (course.roster.group in mine and is_current(site, course, now))
    }
    return Rights(mine, frozenset(classes))


def is_in(course: CourseClass, identity: PosixIdentity) -> bool:
    """Return whether the user is a student or on the staff of the class, even if the class does not run now."""
    return course.roster.group in identity.group_names or is_staff(course, identity.group_names)


def is_staff(course: CourseClass, mine: tuple[str, ...]) -> bool:
    """Return whether a user with the groups `mine` is on the staff of the class."""
    return course.staff is not None and course.staff.group in mine


def is_current(site: Site, course: CourseClass, now: datetime) -> bool:
    """Return whether `now` is within the days of the class, both included, in its time zone."""
    today = today_in(site, course, now)
    return (course.since is None or course.since <= today) and today <= course.until


def zone_of(site: Site, course: CourseClass) -> str:
    """Return the name of the class's time zone, which is the site's unless the class has its own."""
    return course.time_zone or site.time_zone


def today_in(site: Site, course: CourseClass, now: datetime) -> date:
    """Return the date in the time zone of the class."""
    return now.astimezone(ZoneInfo(zone_of(site, course))).date()


def end_of(site: Site, course: CourseClass) -> datetime:
    """Return the midnight after the last day of the class, in its time zone."""
    return datetime.combine(course.until + timedelta(days=1), time(), ZoneInfo(zone_of(site, course)))


def when_it_is(site: Site, course: CourseClass, now: datetime) -> str:
    """Return `begins on DAY (ZONE)`, `runs now` or `ended on DAY (ZONE)`."""
    if course.since is not None and today_in(site, course, now) < course.since:
        return f"begins on {course.since} ({zone_of(site, course)})"
    if today_in(site, course, now) > course.until:
        return f"ended on {course.until} ({zone_of(site, course)})"
    return "runs now"


def classes_of(offer: Restricted, site: Site) -> Iterator[tuple[str, CourseClass]]:
    """Yield the classes for which the offer is open."""
    return ((name, site.classes[name]) for name, may in sorted(offer.classes.items()) if may and name in site.classes)
