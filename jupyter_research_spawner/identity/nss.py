"""Identity source `nss`: the name service of this machine (nsswitch.conf(5): files, sss, winbind)."""

from __future__ import annotations

import grp
import logging
import os
import pwd
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, StrictBool, StrictInt

from ..settings import Duration
from ..wording import quote
from .source_interface import Account, Entries, InvalidAccount, Source, SourceDown, SourceOptions, login_shell
from .threads import Threads

logger = logging.getLogger(__name__)

KIND = "nss"
EXAMPLE = {"kind": "nss", "probe": "svc-jupyter", "order": 20}
LOCAL_FILE = Path("/etc/passwd")


class Options(SourceOptions):
    """Accounts of the name service of the hub's machine, as `id` prints them there."""

    kind: Literal["nss"] = Field(title="Kind of source")
    lookup_limit: Duration = Field(
        timedelta(seconds=5),
        title="Time limit of a lookup",
        description="A lookup that takes longer fails, and the user cannot start anything until a lookup succeeds.",
        examples=["5s"],
    )
    threads: StrictInt = Field(
        4,
        ge=1,
        le=64,
        title="Number of concurrent lookups",
        description="A lookup that hangs keeps a thread. If all threads hang, further lookups fail.",
        examples=[4],
    )
    probe: str | None = Field(
        None,
        title="User name that always exists",
        description=(
            "The C library reports a user as unknown also if SSSD or the network is down. With a probe, an unknown "
            "user counts as unknown only if this account is found at the same time. Otherwise the lookup fails. "
            "Choose an account of the directory service, not of /etc/passwd."
        ),
        min_length=1,
        examples=["svc-jupyter"],
    )
    local_files: StrictBool | None = Field(
        None,
        title="Use the accounts of /etc/passwd",
        description=(
            "Default: false in a container, whose /etc/passwd has accounts of the image such as `jovyan` or `ubuntu`, "
            "and true elsewhere."
        ),
    )


def open_source(options: SourceOptions, base: Path) -> Source:
    """Return a source that looks up accounts in the name service of this machine."""
    assert isinstance(options, Options)
    return NameService(options)


def read_entries(options: SourceOptions, base: Path) -> Entries:
    """Return nothing, because lint may run on a machine with another name service than the hub."""
    return Entries()


class NameService:
    """Calls getpwnam(3), getgrouplist(3) and getgrgid(3) in threads, because they block without a time limit."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._threads = Threads(options.threads)
        self._local_files = not _in_container() if options.local_files is None else options.local_files

    async def lookup(self, name: str) -> Account | None:
        """Return the account from the name service, or None if it has no such account."""
        return await self._threads.run(lambda: self._account(name), self._options.lookup_limit)

    async def gids(self, groups: Sequence[str]) -> Mapping[str, int]:
        """Return the gid of each of these groups that the name service has."""
        return await self._threads.run(lambda: _gids(groups), self._options.lookup_limit)

    def _account(self, name: str) -> Account | None:
        if not self._local_files and name in _local_names():
            logger.warning("The account %s of this container's %s is not used (local_files)", quote(name), LOCAL_FILE)
            return None
        return _account(name, self._options.probe)


def _account(name: str, probe: str | None) -> Account | None:
    entry = _passwd(name)
    if entry is None:
        if probe is not None and _passwd(probe) is None:
            raise SourceDown(f"the probe account {probe!r} is also unknown")
        return None
    _check_uid_leads_back(entry)
    groups = tuple((gid, _group_name(gid)) for gid in sorted(set(os.getgrouplist(name, entry.pw_gid))))
    # getgrouplist reports no errors.  If the name service stopped after the first lookup, getgrouplist omits groups.
    if _passwd(name) != entry:
        raise SourceDown(f"the answer for {name!r} changed while the groups were read")
    found = name if _is_qualified(entry.pw_name, name) else entry.pw_name
    return Account(found, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir, login_shell(entry.pw_shell))


def _check_uid_leads_back(entry: pwd.struct_passwd) -> None:
    """Raise InvalidAccount if the uid belongs to an account with another name."""
    try:
        owner = pwd.getpwuid(entry.pw_uid).pw_name
    except (KeyError, OverflowError):
        raise InvalidAccount(f"no account has its uid {entry.pw_uid}") from None
    except OSError as error:
        raise SourceDown(f"getpwuid: {error.strerror}") from None
    if owner != entry.pw_name:
        raise InvalidAccount(f"its uid {entry.pw_uid} belongs to the account {quote(owner)}")


def _is_qualified(found: str, name: str) -> bool:
    """Return whether `found` is `name` with a domain: `alice@example.edu` (SSSD) or `EXAMPLE\\alice` (winbind)."""
    return found.partition("@")[0] == name or found.rpartition("\\")[2] == name


def _gids(groups: Sequence[str]) -> dict[str, int]:
    return {group: gid for group in groups if (gid := _gid(group)) is not None}


def _gid(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        return None
    except OSError as error:
        raise SourceDown(f"getgrnam: {error.strerror}") from None


def _local_names() -> set[str]:
    """Return the names in /etc/passwd."""
    try:
        lines = LOCAL_FILE.read_bytes().splitlines()
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise SourceDown(f"{LOCAL_FILE} cannot be read: {error.strerror}") from None
    return {line.split(b":")[0].decode(errors="replace") for line in lines}


def _in_container() -> bool:
    """Return whether this process runs in a container of Kubernetes, Docker or Podman."""
    marks = (Path("/.dockerenv"), Path("/run/.containerenv"))
    return "KUBERNETES_SERVICE_HOST" in os.environ or any(mark.exists() for mark in marks)


def _passwd(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
    except OSError as error:
        raise SourceDown(f"getpwnam: {error.strerror}") from None
    except ValueError:  # the name contains a NUL or cannot be encoded
        return None


def _group_name(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return None
    except OSError as error:
        raise SourceDown(f"getgrgid: {error.strerror}") from None
