"""One set of checks for what any source answers: from here on an identity is one that the file systems can trust."""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Mapping
from types import MappingProxyType

from pydantic import Field, StrictBool, StrictInt, field_validator, model_validator

from ..refusal import Refusal
from ..settings import ByName, Settings
from ..wording import quote
from .posix import Group, PosixIdentity
from .source_interface import Account
from .username import is_posix_name

logger = logging.getLogger(__name__)

FIRST_UID = 1000
# Linux goes to 4294967293, but Kubernetes takes no runAsUser, runAsGroup or supplemental group above this
# (apimachinery, util/validation: IsValidUserID): such a pod would be refused in words that name no person.
LAST_ID = 2147483647
# nobody, and the same (uid_t)-1 where it has 16 bits.
NOBODY = (65534, 65535)
LONGEST_PATH = 1024
LONGEST_GROUP_NAME = 64
# RFC 5531: AUTH_SYS has room for 16 gids, and the file server sees no others.
AUTH_SYS_GROUPS = 16

# Their members own devices, logs or other people's passwords wherever a program trusts the name.
DENIED_GROUPS: Mapping[str, bool] = MappingProxyType(
    dict.fromkeys(
        ["adm", "disk", "docker", "kmem", "libvirt", "lxd", "root", "shadow", "sudo", "wheel"],
        True,
    )
)
_NAMELESS = "gid-{}"
_LOCKED_SHELLS = ("nologin", "false")


class IdRange(Settings):
    """IDs from `first` to `last`, both included."""

    first: StrictInt = Field(ge=0, title="First", examples=[100000])
    last: StrictInt = Field(ge=0, title="Last", examples=[165535])

    @model_validator(mode="after")
    def _forward(self) -> IdRange:
        if self.first > self.last:
            raise ValueError(f"first ({self.first}) is more than last ({self.last})")
        return self

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last


class Checks(Settings):
    """What nobody may be, whatever a source says.  These can be made stricter, never turned off."""

    reserved_uids: ByName[IdRange] = Field(
        default_factory=dict,
        title="Ranges of uids that are no person's",
        description="Besides those below 1000, 65534, 65535 and those above 2147483647.",
        examples=[{"containers": {"first": 100000, "last": 165535}}],
    )
    minimum_gid: StrictInt = Field(
        100,
        ge=100,
        title="Lowest gid that a person may have",
        description="Lower ones are the system's: disk, shadow, sudo.",
        examples=[1000],
    )
    denied_gids: ByName[IdRange] = Field(
        default_factory=dict,
        title="Ranges of gids that nobody may have here",
        examples=[{"services": {"first": 900, "last": 999}}],
    )
    denied_groups: dict[str, StrictBool] = Field(
        default_factory=lambda: dict(DENIED_GROUPS),
        title="Groups whose members are refused",
        description=f"Added to {', '.join(sorted(DENIED_GROUPS))}; `NAME: false` takes one of these out.",
        examples=[{"hpc-admins": True, "libvirt": False}],
    )

    @field_validator("denied_groups")
    @classmethod
    def _with_ours(cls, given: dict[str, bool]) -> dict[str, bool]:
        return {**DENIED_GROUPS, **given}


def check(settings: Checks, source: str, asked: str, account: Account) -> PosixIdentity:
    """The account of source `source` for the name `asked` as an identity.

    The primary group is among `groups` afterwards.  A gid without a name becomes `gid-20500`, and a group that is
    really called so but has another gid is refused: a made-up name must never open what is meant for a real group.
    Raises Refusal (403) with the field at fault, and logs it for the admins.
    """
    try:
        _check_name(asked, account)
        _check_uid(settings, account.uid)
        _check_path("home", account.home)
        _check_path("shell", account.shell)
        _check_locked(account.shell)
        groups = _groups(settings, account)
    except Refusal as refusal:
        logger.error("Source %s: the account %s is refused: %s", source, quote(asked), refusal.message)
        raise
    return PosixIdentity(account.name, account.uid, account.gid, groups, account.home, account.shell, source)


def warnings(identity: PosixIdentity) -> tuple[str, ...]:
    """Sentences on what works, but perhaps not as the person expects."""
    if len(identity.groups) <= AUTH_SYS_GROUPS:
        return ()
    return (
        f"You are in {len(identity.groups)} groups, and NFS (AUTH_SYS) carries only {AUTH_SYS_GROUPS}: unless the file "
        "server looks them up itself, some directories of your groups will be closed to you.",
    )


def _check_name(asked: str, account: Account) -> None:
    if account.name != asked:
        raise _refused("name", f"The account found for your name is called {quote(account.name)}.")
    if not is_posix_name(account.name):
        raise _refused("name", f"Your account name {quote(account.name)} is not a POSIX name.")


def _check_uid(settings: Checks, uid: int) -> None:
    if not FIRST_UID <= uid <= LAST_ID or uid in NOBODY:
        raise _refused("uid", f"Your uid {uid} is not a person's: those are from {FIRST_UID} to {LAST_ID}.")
    for name, taken in settings.reserved_uids.items():
        if uid in taken:
            raise _refused("uid", f"Your uid {uid} is in the range {name!r}, which is not for people.")


def _groups(settings: Checks, account: Account) -> tuple[Group, ...]:
    names: dict[int, str | None] = {account.gid: None}
    for gid, name in account.groups:
        known = names.get(gid)
        if known is not None and name is not None and name != known:
            raise _refused("groups", f"The gid {gid} has two names, {quote(known)} and {quote(name)}.")
        names[gid] = name if known is None else known
    groups = [Group(gid, _group_name(gid, name)) for gid, name in sorted(names.items())]
    if len({group.name for group in groups}) != len(groups):
        raise _refused("groups", "Two of your groups have the same name.")
    for group in groups:
        _check_group(settings, group, "gid" if group.gid == account.gid else "groups")
    return tuple(groups)


def _group_name(gid: int, name: str | None) -> str:
    made_up = _NAMELESS.format(gid)
    if name is None:
        return made_up
    if name != made_up and re.fullmatch(_NAMELESS.format(r"[0-9]+"), name):
        raise _refused("groups", f"Your group {quote(name)} has the gid {gid}, which is not the one it names.")
    return name


def _check_group(settings: Checks, group: Group, field: str) -> None:
    title = f"Your group {quote(group.name)} (gid {group.gid})"
    if not settings.minimum_gid <= group.gid <= LAST_ID or group.gid in NOBODY:
        raise _refused(field, f"{title} is a system's: people's are from {settings.minimum_gid} to {LAST_ID}.")
    for name, taken in settings.denied_gids.items():
        if group.gid in taken:
            raise _refused(field, f"{title} is in the range {name!r}, which nobody may have here.")
    if settings.denied_groups.get(group.name, False):
        raise _refused(field, f"{title} gives rights over machines, which nobody may have here.")
    if not _is_group_name(group.name):
        raise _refused(field, f"{title} has a name that cannot be written into /etc/group.")


def _is_group_name(name: str) -> bool:
    """Any word or words in any script (Active Directory's are translated), none that group(5) reads otherwise."""
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= LONGEST_GROUP_NAME:
        return False
    return not name.isdigit() and name[0] not in "#+-~" and not any(sign in name for sign in ":,/{}$")


def _check_path(field: str, path: str) -> None:
    if len(path) > LONGEST_PATH or not path.isprintable() or any(sign in path for sign in ":{}$"):
        # In passwd(5) a colon or a newline begins another field or person; Kubernetes and Argo expand $( ) and {{ }}.
        raise _refused(field, f"Your {field} {quote(path)} has signs that a path cannot have here, such as : $ {{ }}.")
    if not path.startswith("/") or path.startswith("//") or posixpath.normpath(path) != path or path == "/":
        raise _refused(field, f"Your {field} {quote(path)} is not a plain absolute path.")


def _check_locked(shell: str) -> None:
    if posixpath.basename(shell) in _LOCKED_SHELLS:
        raise _refused("shell", f"Your account is locked: its shell is {quote(shell)}.", code="account-locked")


def _refused(field: str, message: str, code: str = "invalid-identity") -> Refusal:
    hint = "Ask the people who run this hub; the account has to be changed where it is kept."
    return Refusal(code, message, field=field, hint=hint, status=403)
