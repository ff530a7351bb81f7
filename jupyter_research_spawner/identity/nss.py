"""Source `nss`: what `id` prints where this runs (nsswitch.conf(5): files, sss, winbind)."""

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
    """The name service of this machine.  It answers `unknown` where SSSD is down: see `probe`."""

    kind: Literal["nss"] = Field(title="Kind of source")
    lookup_limit: Duration = Field(
        timedelta(seconds=5),
        title="How long one lookup may take",
        description="Longer, and the source counts as down for this lookup.",
        examples=["5s"],
    )
    threads: StrictInt = Field(
        4,
        ge=1,
        le=64,
        title="Lookups at once",
        description="A lookup that hangs keeps its thread. When all hang, the source is down at once.",
        examples=[4],
    )
    probe: str | None = Field(
        None,
        title="A name that it always knows",
        description=(
            "The C library says that a name is unknown also when SSSD or the network is down. With a probe, a person "
            "is unknown only while this name is known; else the source is down. Take an account that lies in the "
            "directory, not in /etc/passwd."
        ),
        min_length=1,
        examples=["svc-jupyter"],
    )


def open_source(options: SourceOptions, base: Path) -> Source:
    assert isinstance(options, Options)
    return NameService(options)


class NameService:
    """getpwnam(3), getgrouplist(3) and getgrgid(3) in threads, since they block as long as they like."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._threads = Threads(options.threads)

    async def lookup(self, name: str) -> Account | None:
        return await self._threads.run(lambda: _account(name, self._options.probe), self._options.lookup_limit)


def _account(name: str, probe: str | None) -> Account | None:
    entry = _passwd(name)
    if entry is None:
        if probe is not None and _passwd(probe) is None:
            raise SourceDown(f"it does not even know {probe!r}, which it should always know")
        return None
    groups = tuple((gid, _group_name(gid)) for gid in sorted(set(os.getgrouplist(name, entry.pw_gid))))
    # getgrouplist cannot fail: when the service goes away before it, it returns fewer groups.
    if _passwd(name) != entry:
        raise SourceDown(f"its answer for {name!r} changed while the groups were read")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir, login_shell(entry.pw_shell))


def _passwd(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
    except OSError as error:
        raise SourceDown(f"getpwnam: {error.strerror}") from None
    except ValueError:  # a name with a NUL, or one that the file system's encoding does not have
        return None


def _group_name(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return None
    except OSError as error:
        raise SourceDown(f"getgrgid: {error.strerror}") from None
