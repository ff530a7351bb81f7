"""Identity source `static`: passwd(5) and group(5) files, or accounts in the settings."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from ..settings import Duration, Settings, SeveralProblems
from .passwd import Directory, Entry, LineProblem, parse
from .source_interface import Account, Entries, Source, SourceDown, SourceOptions
from .threads import Threads
from .username import LONGEST_NAME, is_posix_name

logger = logging.getLogger(__name__)

KIND = "static"
EXAMPLE = {"kind": "static", "passwd": "people.passwd", "group": "people.group", "order": 10}

Text = Annotated[str, StringConstraints(strict=True)]
# Any 32-bit ID.  `checks` decides which IDs a user may have.
Id = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]
Signature = tuple[int, ...]
Seen = tuple[Signature, Signature]
LOGGED_PROBLEMS = 20


class Person(Settings):
    """An account, as `id` and `getent passwd` print it on the login node."""

    uid: Id = Field(title="User ID", examples=[20001])
    gid: Id = Field(title="ID of the primary group", examples=[20001])
    groups: dict[Text, Id] = Field(
        default_factory=dict,
        title="Groups and their IDs",
        description="Add the primary group too, so that it has a name.",
        examples=[{"alice": 20001, "climate": 20500}],
    )
    home: Text = Field(title="Home directory", examples=["/home/alice"])
    shell: Text = Field("/bin/bash", title="Login shell", examples=["/bin/bash"])


class Options(SourceOptions):
    """Accounts from two files, or from the settings themselves."""

    kind: Literal["static"] = Field(title="Kind of source")
    passwd: Path | None = Field(
        None,
        title="File with accounts, in the format of passwd(5)",
        description=(
            "A changed file is read again. Replace the file with `mv`, so that it is never read half-written. "
            "A relative path is relative to the directory of the settings. Requires `group`."
        ),
        examples=["people.passwd"],
    )
    group: Path | None = Field(
        None,
        title="File with groups, in the format of group(5)",
        description="Requires `passwd`. Replace this file with `mv`, too.",
        examples=["people.group"],
    )
    people: dict[Text, Person] = Field(
        default_factory=dict,
        title="Accounts by user name, instead of files",
        examples=[{"alice": {"uid": 20001, "gid": 20001, "groups": {"climate": 20500}, "home": "/home/alice"}}],
    )
    lookup_limit: Duration = Field(timedelta(seconds=5), title="Time limit for reading the files", examples=["5s"])

    @model_validator(mode="after")
    def _one_of_both(self) -> Options:
        if (self.passwd is None) != (self.group is None):
            raise ValueError("passwd and group must be set together")
        if (self.passwd is None) == (not self.people):
            raise ValueError("set either passwd and group, or people")
        _directory(self)
        return self


def open_source(options: SourceOptions, base: Path) -> Source:
    """Return a source for the accounts in the settings or in the two files."""
    assert isinstance(options, Options)
    if options.passwd is None or options.group is None:
        return Inline(_directory(options))
    return Files(base / options.passwd, base / options.group, options.lookup_limit)


@dataclass(frozen=True)
class Inline:
    """Accounts from the settings."""

    directory: Directory

    async def lookup(self, name: str) -> Account | None:
        return self.directory.account(name)

    async def gids(self, groups: Sequence[str]) -> Mapping[str, int]:
        return self.directory.gids(groups)


def read_entries(options: SourceOptions, base: Path) -> Entries:
    """Return the accounts and the problems of the two files, or one sentence that says why they cannot be read."""
    assert isinstance(options, Options)
    if options.passwd is None or options.group is None:
        return _directory(options).entries()
    try:
        _, directory = _read(base / options.passwd, base / options.group, None)
    except SourceDown as down:
        return Entries(problems=(str(down),))
    return directory.entries() if directory else Entries()


class Files:
    """Accounts from two files, which are read again if one of them has changed."""

    def __init__(self, passwd: Path, group: Path, limit: timedelta) -> None:
        self._passwd = passwd
        self._group = group
        self._limit = limit
        # One thread is enough: a second one would only read the same files.
        self._threads = Threads(1)
        self._seen: Seen | None = None
        self._directory = Directory()

    async def lookup(self, name: str) -> Account | None:
        directory = await self._threads.run(self._fresh, self._limit)
        return directory.account(name)

    async def gids(self, groups: Sequence[str]) -> Mapping[str, int]:
        directory = await self._threads.run(self._fresh, self._limit)
        return directory.gids(groups)

    def _fresh(self) -> Directory:
        seen, directory = _read(self._passwd, self._group, self._seen)
        if directory is not None:
            self._seen, self._directory = seen, directory
            _log(directory.problems)
        return self._directory


def _read(passwd: Path, group: Path, seen: Seen | None) -> tuple[Seen, Directory | None]:
    """Return the signatures of both files, and their accounts.  If `seen` has the same signatures, return no accounts.

    Raises SourceDown if a file cannot be read, may be incomplete, or changes meanwhile.
    """
    try:
        now = (_signature(passwd), _signature(group))
        if now == seen:
            return now, None
        contents = passwd.read_bytes(), group.read_bytes()
        if now != (_signature(passwd), _signature(group)):
            raise SourceDown(f"{passwd} or {group} changed while they were read")
        return now, parse({str(passwd): contents[0]}, {str(group): contents[1]})
    except OSError as error:
        raise SourceDown(f"{error.filename} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SourceDown(str(error)) from None


def _log(problems: Sequence[LineProblem]) -> None:
    for problem in problems[:LOGGED_PROBLEMS]:
        logger.warning("%s", problem)
    if len(problems) > LOGGED_PROBLEMS:
        more = len(problems) - LOGGED_PROBLEMS
        logger.warning("%d more lines have problems; `research-spawner lint` lists them", more)


def _signature(path: Path) -> Signature:
    """Return values that change when the file or its content changes.  Users can reset the mtime but not the ctime."""
    status = path.stat()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _directory(options: Options) -> Directory:
    """Return the accounts in the settings.  Raises SeveralProblems, which name both entries of a conflict."""
    directory, problems = Directory(), []
    for name, person in options.people.items():
        if not is_posix_name(name):
            message = (
                f"{name!r} is not a valid POSIX user name: use lower-case letters, digits, '_', '.' and '-', at most "
                f"{LONGEST_NAME} in all"
            )
            problems.append((f"people.{name}", message))
        directory.add_person(Entry(name, person.uid, person.gid, person.home, person.shell), f"people.{name}")
        for group, gid in person.groups.items():
            directory.add_group(group, gid, [name], f"people.{name}.groups.{group}")
    SeveralProblems.check([*problems, *((problem.place, problem.message) for problem in directory.problems)])
    return directory
