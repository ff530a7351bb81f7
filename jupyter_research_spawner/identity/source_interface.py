"""The interface of an identity source, which returns the unchecked Account for a POSIX name, or None."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field, StrictInt, model_validator

from ..settings import Settings

# int() also accepts "1_000", " 12 ", "+5" and Arabic digits, which other programs may read as another uid.
_ID = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True)
class Account:
    """The account for a name, as the source has it.

    `groups` has (gid, name) pairs in any order, with or without the primary group.  The name of a group is None if the
    source has only the gid.  `left_out` has the name of each group whose entry the source cannot use, and the reason.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[tuple[int, str | None], ...]
    home: str
    shell: str
    left_out: tuple[tuple[str, str], ...] = ()


class InvalidAccount(Exception):
    """The source has an account of this name, but its entry is malformed or ambiguous.

    The user is refused, even if another source has the account.  The message goes to the user and to the log.
    """


@dataclass(frozen=True)
class Entries:
    """The valid accounts of a source, and a sentence for each invalid entry that says where it is."""

    accounts: tuple[Account, ...] = ()
    problems: tuple[str, ...] = ()


class SourceDown(Exception):
    """The source cannot determine whether the account exists, or cannot read its fields.

    The message goes only to the log, not to users.  It may name hosts and files, but must not contain a secret.
    """


class IdRange(Settings):
    """A range of IDs, from `first` to `last`, both included."""

    first: StrictInt = Field(ge=0, title="First ID", examples=[100000])
    last: StrictInt = Field(ge=0, title="Last ID", examples=[165535])

    @model_validator(mode="after")
    def _forward(self) -> IdRange:
        if self.first > self.last:
            raise ValueError(f"first ({self.first}) must not be greater than last ({self.last})")
        return self

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last


class SourceOptions(Settings):
    """The settings that all sources have.  Each source narrows `kind` to a Literal in its own `Options`."""

    kind: str = Field(title="Kind of source")
    order: StrictInt = Field(
        100,
        title="Position among the sources",
        description="The account of the source with the lowest order is used. Accounts are not merged.",
        examples=[10],
    )
    uid_range: IdRange | None = Field(
        None,
        title="Uids that accounts of this source may have",
        description=(
            "An account with another uid is ignored. With several sources, give each its own range. Otherwise each "
            "of them can claim the uid of any user."
        ),
        examples=[{"first": 20000, "last": 29999}],
    )
    gid_range: IdRange | None = Field(
        None,
        title="Gids that accounts of this source may have",
        description="An account with another gid is ignored.",
        examples=[{"first": 20000, "last": 29999}],
    )


class Source(Protocol):
    """An opened source, which is never closed.

    Each lookup must open and close its own connection, or the source must close idle connections itself.
    """

    async def lookup(self, name: str) -> Account | None:
        """Return the account, or None if the source answers that it has no account of this name.

        Raises InvalidAccount if the entry of this account is malformed or ambiguous.  Raises SourceDown in every other
        case: no answer, no answer in time, or an answer that is partial or older than this lookup.  The resolver
        caches answers.  A source may cache only what it verifies in each lookup, for example the content of a file
        that has not changed.

        The resolver asks only for valid POSIX names, but a source escapes any name for its protocol.  Lookups of
        several users run at the same time, and the resolver cancels them after `identity.resolve_limit`.
        """

    async def gids(self, groups: Sequence[str]) -> Mapping[str, int]:
        """Return the gid of each of these groups that the source has.  Raises SourceDown.

        The resolver passes the groups of an account of a later source.  A group belongs to the first source that has
        it, so that a later source cannot give it another gid.
        """


class SourceKind(Protocol):
    """The interface of a source module.  Code outside these modules never tests the kind of a source."""

    @property
    def KIND(self) -> str:
        """The value of `identity.sources.<name>.kind` in the settings that selects this kind of source."""

    @property
    def EXAMPLE(self) -> Mapping[str, Any]:
        """Example settings of a source of this kind, for the settings reference and the tests.

        The tests look up names in a source with these settings, so a host name in them ends in `.invalid` (RFC 2606).
        """

    @property
    def Options(self) -> type[SourceOptions]:
        """The settings model of a source of this kind."""

    @property
    def open_source(self) -> Callable[[SourceOptions, Path], Source]:
        """Return an opened source for these options, which are an instance of `Options`.

        Relative paths in the options are relative to the given directory.  The hub calls this function before its event
        loop runs, so this function must not do any I/O.
        """

    @property
    def read_entries(self) -> Callable[[SourceOptions, Path], Entries]:
        """Return the accounts and the problems of the source for lint, or nothing if it cannot list its accounts.

        The arguments are those of `open_source`.  The function may read files, but it must not use the network.
        """


def parse_id(text: str) -> int:
    """Return a uid or gid from its text in passwd(5) or LDAP.  Raises ValueError with a message for the log."""
    if not _ID.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a number of at most ten digits")
    return int(text)


def login_shell(shell: str) -> str:
    """Return the shell, or /bin/sh for an empty one, as passwd(5) defines."""
    return shell or "/bin/sh"
