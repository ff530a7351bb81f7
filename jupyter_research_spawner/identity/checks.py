"""Checks the account that a source returns, and creates an identity from the account.  All sources share the checks."""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pydantic import Field, StrictBool, StrictInt, field_validator

from ..refusal import Refusal
from ..settings import ByName, Settings
from ..texts import gettext, gettext_noop, translate
from ..wording import format_list, quote
from .posix import Group, PosixIdentity
from .source_interface import Account, IdRange
from .username import is_posix_name

logger = logging.getLogger(__name__)

# Distributions give lower ids to services and their groups (login.defs(5): UID_MIN; Debian: static gids below 100).
USUAL_MINIMUM_UID, USUAL_MINIMUM_GID = 1000, 100
# Linux allows up to 4294967293, but Kubernetes allows no runAsUser, runAsGroup or supplemental group above this
# (apimachinery, util/validation: IsValidUserID).
LAST_ID = 2147483647
# The uid of nobody, and (uid_t)-1 on systems with 16-bit uids.
NOBODY = (65534, 65535)
LONGEST_PATH = 1024
LONGEST_GROUP_NAME = 64
# RFC 5531: an AUTH_SYS request has at most 16 gids, so the file server does not receive the user's other gids.
AUTH_SYS_GROUPS = 16

# Programs that trust these group names give the members access to devices, logs, password hashes or root.
DENIED_GROUPS: Mapping[str, bool] = MappingProxyType(
    dict.fromkeys(
        ["adm", "disk", "docker", "kmem", "libvirt", "lxd", "root", "shadow", "sudo", "wheel"],
        True,
    )
)
_NAMELESS = "gid-{}"
_LOCKED_SHELLS = ("nologin", "false")


class Checks(Settings):
    """Checks of the accounts of all sources.  Settings can make them stricter, but cannot turn them off."""

    reserved_uids: ByName[IdRange] = Field(
        default_factory=dict,
        title="Ranges of uids that no user may have",
        description="The uids 0, 65534, 65535 and those above 2147483647 are always refused.",
        examples=[{"containers": {"first": 100000, "last": 165535}}],
    )
    minimum_uid: StrictInt = Field(
        USUAL_MINIMUM_UID,
        ge=1,
        title="Lowest uid that a user may have",
        description=(
            "Uids below 1000 usually belong to services, also in images. Set a lower value only if people have lower "
            "uids, which begin at 500 on Red Hat Enterprise Linux 6."
        ),
        examples=[500],
    )
    minimum_gid: StrictInt = Field(
        USUAL_MINIMUM_GID,
        ge=1,
        title="Lowest gid that a user may have",
        description="Lower gids belong to system groups such as disk, shadow and sudo.",
        examples=[1000],
    )
    denied_gids: ByName[IdRange] = Field(
        default_factory=dict,
        title="Ranges of gids that no user may have",
        description="A user with a group in such a range is refused.",
        examples=[{"services": {"first": 900, "last": 999}}],
    )
    denied_groups: dict[str, StrictBool] = Field(
        default_factory=lambda: dict(DENIED_GROUPS),
        title="Groups whose members are refused",
        description=f"Always denied unless set to false: {', '.join(sorted(DENIED_GROUPS))}.",
        examples=[{"hpc-admins": True, "libvirt": False}],
    )
    drop_groups: dict[str, StrictBool] = Field(
        default_factory=dict,
        title="Groups that pods do not get",
        description=(
            "Members can start servers and jobs, which run without the group, and see a warning. Members of a group in "
            "this list are not refused because of `minimum_gid` or `denied_gids`. Without the group, members can read "
            "files that only the group may not read (mode 0604). If such files exist, use `denied_groups` instead. A "
            "group with a gid above 2147483647 is always left out. A primary group is never left out."
        ),
        examples=[{"docker": True, "staff": True}],
    )
    numeric_group_names: StrictBool = Field(
        default=False,
        title="Allow group names that are numbers",
        description=(
            "A group whose name is its gid is always allowed. Where the group does not exist, programs such as chgrp "
            "read a numeric name as a gid, so other numeric names are rejected by default."
        ),
    )

    @field_validator("denied_groups")
    @classmethod
    def _with_ours(cls, given: dict[str, bool]) -> dict[str, bool]:
        return {**DENIED_GROUPS, **given}


def check(settings: Checks, source: str, asked: str, account: Account) -> PosixIdentity:
    """Return the identity for the account that the source `source` returned for the POSIX name `asked`.

    The identity's `groups` always include the primary group.  A gid without a name, for example 20500,
    gets the name `gid-20500`.  An account is refused if the source gives such a name to another gid, so
    that a generated name never gives access that is meant for a group of the source.
    Raises Refusal (403) that names the invalid field, and logs it for administrators.
    """
    try:
        identity = identity_from(settings, source, asked, account)
    except Refusal as refusal:
        logger.error("Identity source %s: the account %s is refused: %s", source, quote(asked), refusal.message)
        raise
    if identity.left_out:
        told = format_list([f"{quote(name)} ({reason})" for name, reason in identity.left_out])
        logger.warning("Identity source %s: pods of %s do not get these groups: %s", source, quote(asked), told)
    return identity


def identity_from(settings: Checks, source: str, asked: str, account: Account) -> PosixIdentity:
    """Return the identity as `check` does, but write nothing to the log."""
    _check_name(asked, account)
    _check_uid(settings, account.uid)
    _check_path("home", account.home)
    _check_path("shell", account.shell)
    _check_locked(account.shell)
    groups, left_out = _groups(settings, account)
    return PosixIdentity(
        account.name, account.uid, account.gid, groups, account.home, account.shell, source, tuple(left_out)
    )


def warnings(identity: PosixIdentity) -> tuple[str, ...]:
    """Return warnings for the user about limits of this identity, for example too many groups for NFS."""
    found = [
        gettext(
            "You are in the group %(group)s, but your servers and jobs are not: %(reason)s.",
            group=quote(name),
            reason=translate(reason),
        )
        for name, reason in identity.left_out
    ]
    if len(identity.groups) > AUTH_SYS_GROUPS:
        found.append(
            gettext(
                "You are in %(number)s groups, but NFS with AUTH_SYS sends only %(limit)s of them. Unless the file "
                "server looks up your groups itself, you cannot open directories of your other groups. Then ask "
                "your administrators to take you out of groups that you do not need.",
                number=len(identity.groups),
                limit=AUTH_SYS_GROUPS,
            )
        )
    return tuple(found)


def advice(settings: Checks) -> Iterator[tuple[str, str]]:
    """Yield a setting and a sentence for each check that is weaker than usual."""
    if settings.minimum_uid < USUAL_MINIMUM_UID:
        yield (
            "minimum_uid",
            f"lets accounts with uids from {settings.minimum_uid} to {USUAL_MINIMUM_UID - 1} run pods. Services have "
            "such uids, also in images. Set reserved_uids to the uids of services",
        )
    if settings.minimum_gid < USUAL_MINIMUM_GID:
        yield (
            "minimum_gid",
            f"lets pods have gids from {settings.minimum_gid} to {USUAL_MINIMUM_GID - 1}. Groups such as disk and "
            "shadow have such gids, also in images. Set denied_gids to the gids of such groups",
        )


def _check_name(asked: str, account: Account) -> None:
    if account.name != asked:
        raise _refused("name", f"The directory service returned the account {quote(account.name)} for your user name.")
    if not is_posix_name(account.name):
        raise _refused("name", f"Your account name {quote(account.name)} is not a valid POSIX user name.")


def _check_uid(settings: Checks, uid: int) -> None:
    if not settings.minimum_uid <= uid <= LAST_ID or uid in NOBODY:
        raise _refused(
            "uid",
            f"Your uid {uid} is not allowed. Allowed: {settings.minimum_uid} to {LAST_ID}, except 65534 and 65535.",
        )
    for name, taken in settings.reserved_uids.items():
        if uid in taken:
            raise _refused("uid", f"Your uid {uid} is in the range {name!r}, which is reserved here.")


def _groups(settings: Checks, account: Account) -> tuple[tuple[Group, ...], list[tuple[str, str]]]:
    """Return the groups that the user's pods get, and the other groups of the account, each with the reason.

    Raises Refusal if the account has a group that is denied.
    """
    names: dict[int, str | None] = {account.gid: None}
    for gid, name in account.groups:
        known = names.get(gid)
        if known is not None and name is not None and name != known:
            raise _refused("groups", f"Your gid {gid} has two names, {quote(known)} and {quote(name)}.")
        names[gid] = name if known is None else known
    groups = [Group(gid, _group_name(gid, name)) for gid, name in sorted(names.items())]
    if len({group.name for group in groups}) != len(groups):
        raise _refused("groups", "Two of your groups have the same name.")
    kept: list[Group] = []
    left_out = list(account.left_out)
    for group in groups:
        if group.gid != account.gid and (why := _why_left_out(settings, group)) is not None:
            left_out.append((group.name, why))
            continue
        _check_group(settings, group, "gid" if group.gid == account.gid else "groups")
        kept.append(group)
    return tuple(kept), left_out


def _why_left_out(settings: Checks, group: Group) -> str | None:
    if settings.drop_groups.get(group.name, False):
        return gettext_noop("your administrators exclude this group")
    if not 0 <= group.gid <= LAST_ID:
        return f"its gid {group.gid} is not between 0 and {LAST_ID}, as Kubernetes requires"
    return None


def _group_name(gid: int, name: str | None) -> str:
    made_up = _NAMELESS.format(gid)
    if name is None:
        return made_up
    if name != made_up and re.fullmatch(_NAMELESS.format(r"[0-9]+"), name):
        raise _refused(
            "groups", f"Your group {quote(name)} has gid {gid}, but this name is reserved for the gid in the name."
        )
    return name


def _check_group(settings: Checks, group: Group, field: str) -> None:
    title = f"Your group {quote(group.name)} (gid {group.gid})"
    if not settings.minimum_gid <= group.gid <= LAST_ID or group.gid in NOBODY:
        raise _refused(
            field,
            f"{title} is a system group. Allowed gids: {settings.minimum_gid} to {LAST_ID}, except 65534 and 65535.",
        )
    for name, taken in settings.denied_gids.items():
        if group.gid in taken:
            raise _refused(field, f"{title} is in the range {name!r}, which is denied here.")
    if settings.denied_groups.get(group.name, False):
        raise _refused(field, f"{title} is denied here, because it can give administrator rights.")
    if not _is_group_name(settings, group):
        raise _refused(field, f"{title} has a name that is not valid in /etc/group.")


def _is_group_name(settings: Checks, group: Group) -> bool:
    """Return whether the name is valid in group(5).

    Spaces and letters of all scripts are allowed, because Active Directory has translated group names.
    """
    name = group.name
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= LONGEST_GROUP_NAME:
        return False
    if name.isdigit() and name != str(group.gid) and not (settings.numeric_group_names and name.isascii()):
        return False
    return name[0] not in "#+-~" and not any(sign in name for sign in ":,/{}$")


def _check_path(field: str, path: str) -> None:
    if len(path) > LONGEST_PATH or not path.isprintable() or any(sign in path for sign in ":{}$"):
        # In passwd(5), a colon separates fields and a newline separates users.  Kubernetes expands $( ), Argo {{ }}.
        raise _refused(
            field, f"Your {field} {quote(path)} has characters that are not allowed here, for example : $ {{ }}."
        )
    if not path.startswith("/") or path.startswith("//") or posixpath.normpath(path) != path or path == "/":
        raise _refused(field, f"Your {field} {quote(path)} is not a normalized absolute path.")


def _check_locked(shell: str) -> None:
    if posixpath.basename(shell) in _LOCKED_SHELLS:
        raise _refused("shell", f"Your account is locked: its login shell is {quote(shell)}.", code="account-locked")


def _refused(field: str, message: str, code: str = "invalid-identity") -> Refusal:
    hint = "Ask your administrators to correct the account in the directory service."
    return Refusal(code, message, field=field, hint=hint, status=403)
