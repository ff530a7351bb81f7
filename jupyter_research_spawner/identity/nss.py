"""Identity source `nss`: the name service of this machine (nsswitch.conf(5): files, sss, winbind)."""

from __future__ import annotations

import grp
import os
import pwd
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, StrictInt

from ..settings import Duration
from .source_interface import Account, Source, SourceDown, SourceOptions, login_shell
from .threads import Threads

KIND = "nss"
EXAMPLE = {"kind": "nss", "probe": "svc-jupyter", "order": 20}


class Options(SourceOptions):
    """Accounts of the name service of this machine: what `id` prints there."""

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


def open_source(options: SourceOptions, base: Path) -> Source:
    """Return a source that looks up accounts in the name service of this machine."""
    assert isinstance(options, Options)
    return NameService(options)


class NameService:
    """Calls getpwnam(3), getgrouplist(3) and getgrgid(3) in threads, because they block without a time limit."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._threads = Threads(options.threads)

    async def lookup(self, name: str) -> Account | None:
        """Return the account from the name service, or None if it has no such account."""
        return await self._threads.run(lambda: _account(name, self._options.probe), self._options.lookup_limit)


def _account(name: str, probe: str | None) -> Account | None:
    entry = _passwd(name)
    if entry is None:
        if probe is not None and _passwd(probe) is None:
            raise SourceDown(f"the probe account {probe!r} is also unknown")
        return None
    groups = tuple((gid, _group_name(gid)) for gid in sorted(set(os.getgrouplist(name, entry.pw_gid))))
    # getgrouplist reports no errors.  If the name service stopped after the first lookup, getgrouplist omits groups.
    if _passwd(name) != entry:
        raise SourceDown(f"the answer for {name!r} changed while the groups were read")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir, login_shell(entry.pw_shell))


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
