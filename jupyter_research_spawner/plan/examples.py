"""Example users for whom `lint` and `configure` try each profile of a site."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

from ..identity import PosixIdentity
from ..identity.posix import Group
from ..settings import ordered
from ..site import Profile, Site
from .rights import Restricted, classes_of

# The name, and the uid and gid, of the example user.
EXAMPLE_NAME, EXAMPLE_ID = "somebody", 65533


@dataclass(frozen=True)
class Sample:
    """A profile and a queue to try, and a user who may use them at this time."""

    profile: str
    queue: str
    user: PosixIdentity
    now: datetime

    @property
    def options(self) -> dict[str, str]:
        """Return the options of a start, as in JupyterHub's REST API."""
        return {"profile": self.profile, "queue": self.queue}


def queues_of(site: Site, profile: Profile) -> list[str]:
    """Return the queues that the profile can use and that are not closed to all users."""
    return [
        name
        for name, queue in ordered(site.queues)
        if (not profile.queues or profile.queues.get(name)) and not is_closed(queue)
    ]


def is_closed(offer: Restricted) -> bool:
    """Return whether no user may use the offer, because it lists groups or classes but all with the value false."""
    listed = [*offer.groups.values(), *offer.classes.values()]
    return bool(listed) and not any(listed)


def samples(site: Site, now: datetime) -> list[Sample]:
    """Return each profile that is not closed to all users, with its first queue, and a user and a time for both."""
    return [
        Sample(name, queue, example_user(site, name, queue), example_time(site, name, queue, now))
        for name, profile in ordered(site.profiles)
        if not is_closed(profile)
        for queue in queues_of(site, profile)[:1]
    ]


def example_user(site: Site, profile: str, queue: str) -> PosixIdentity:
    """Return a user who may use this profile in this queue."""
    offers = (site.profiles[profile], site.queues[queue])
    groups = {group for offer in offers for group, may in offer.groups.items() if may}
    groups |= {course.roster.group for offer in offers for _, course in classes_of(offer, site)}
    home = min(site.storage.homes.values(), key=lambda home: home.root).root
    return PosixIdentity(  # noqa: S604 - a login shell, which nothing runs
        name=EXAMPLE_NAME,
        uid=EXAMPLE_ID,
        gid=EXAMPLE_ID,
        groups=tuple(Group(EXAMPLE_ID - index, group) for index, group in enumerate(sorted(groups))),
        home=f"{home}/{EXAMPLE_NAME}",
        shell="/bin/sh",
        source="lint",
    )


def example_time(site: Site, profile: str, queue: str, now: datetime) -> datetime:
    """Return a time at which `example_user` may use this profile in this queue: the last day of a class, or now."""
    for offer in (site.profiles[profile], site.queues[queue]):
        for _, course in classes_of(offer, site):
            return datetime.combine(course.until, time(12), ZoneInfo(course.time_zone or site.time_zone))
    return now
