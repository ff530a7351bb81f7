"""The users of a trial: from passwd and group files, or invented members of each group that the settings name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..identity import PosixIdentity, Resolver
from ..identity.source_interface import IdRange
from ..identity.sources import SOURCES
from ..identity.static import Options
from ..identity.username import USUAL_LENGTH, is_posix_name
from ..plan.rights import Restricted
from ..refusal import Refusal
from ..settings import SettingsError
from ..settings.problems import Problem
from ..site import Site

MEMBERS = 3
# The prefix of the names of invented users who are in no group of the settings.
WITHOUT_GROUP = "user"
_FIRST_UID, _FIRST_GID = 20001, 30001


@dataclass(frozen=True)
class TrialUser:
    """A user who can log in.  `identity` is None if the checks of the settings refuse the account, for `refusal`."""

    name: str
    groups: tuple[str, ...]
    identity: PosixIdentity | None
    refusal: str = ""


def named_groups(site: Site) -> list[str]:
    """Return the groups that get something by the settings: an offer, a queue, a mount, or a class."""
    offers: list[Restricted] = [*site.profiles.values(), *site.queues.values(), *site.storage.mounts.values()]
    found = {group for offer in offers for group, may in offer.groups.items() if may}
    found |= {group for queue in site.queues.values() for group, may in queue.owners.items() if may}
    for course in site.classes.values():
        found |= {roster.group for roster in (course.roster, course.staff) if roster is not None}
    return sorted(found)


def invented(site: Site) -> tuple[str, str]:
    """Return passwd(5) and group(5) with MEMBERS users for each group that the settings name, and others in none."""
    checks = site.identity.checks
    uids = _free_ids(max(_FIRST_UID, checks.minimum_uid, checks.minimum_gid), checks.reserved_uids.values())
    gids = _free_ids(max(_FIRST_GID, checks.minimum_gid), checks.denied_gids.values())
    root = min(home.root for home in site.storage.homes.values())
    passwd, group = [], []
    taken: set[str] = set()
    for name in (*named_groups(site), None):
        members = [_user_name(name or WITHOUT_GROUP, number, taken) for number in range(1, MEMBERS + 1)]
        for member in members:
            uid = next(uids)
            passwd.append(f"{member}:x:{uid}:{uid}::{root}/{member}:/bin/bash")
            group.append(f"{member}:x:{uid}:")
        if name is not None:
            group.append(f"{name}:x:{next(gids)}:{','.join(members)}")
    return "\n".join([*passwd, ""]), "\n".join([*group, ""])


def _free_ids(first: int, refused: Iterable[IdRange]) -> Iterator[int]:
    number = first
    while True:
        if not any(number in ids for ids in refused):
            yield number
        number += 1


def _user_name(group: str, number: int, taken: set[str]) -> str:
    """Return a POSIX user name such as climate-1, which no other user has."""
    stem = re.sub(r"[^a-z0-9_-]+", "-", group.lower()).strip("-")[: USUAL_LENGTH - 4] or WITHOUT_GROUP
    if not is_posix_name(stem) or stem[0].isdigit():
        stem = f"g{stem}"
    found = f"{stem}-{number}"
    while found in taken:
        number += MEMBERS
        found = f"{stem}-{number}"
    taken.add(found)
    return found


async def read_people(site: Site, passwd: Path, group: Path, base: Path) -> tuple[list[TrialUser], list[str]]:
    """Return the users of the files, and sentences about lines that cannot be used.

    site: its only identity source has these files.  Raises SettingsError if there is no user.
    """
    entries = SOURCES["static"].read_entries(Options(kind="static", passwd=passwd, group=group), base)
    if not entries.accounts:
        raise SettingsError([Problem("--people", problem) for problem in entries.problems] or [_empty(passwd)])
    resolver = Resolver(site.identity, base)
    domains = site.identity.username.domains
    suffix = f"@{domains[0]}" if site.identity.username.require_domain else ""
    found = []
    for account in entries.accounts:
        groups = tuple(sorted(name for _, name in account.groups if name and name != account.name))
        try:
            identity = await resolver.resolve(account.name + suffix)
        except Refusal as refusal:
            found.append(TrialUser(account.name + suffix, groups, None, refusal.message))
        else:
            found.append(TrialUser(account.name + suffix, groups, identity))
    return found, list(entries.problems)


def _empty(passwd: Path) -> Problem:
    return Problem("--people", f"{passwd} has no user")


def one_of_each_group(site: Site, people: list[TrialUser]) -> list[TrialUser]:
    """Return one user of each group that the settings name, and one who is in none of them."""
    named = named_groups(site)
    chosen: dict[str, TrialUser] = {}
    for user in people:
        if user.identity is not None:
            for group in set(named).intersection(user.groups) or {""}:
                chosen.setdefault(group, user)
    return list(dict.fromkeys(chosen[group] for group in (*named, "") if group in chosen))
