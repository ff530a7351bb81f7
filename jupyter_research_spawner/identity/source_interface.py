"""What every source speaks in: a POSIX name goes in, an Account that nobody has checked yet comes out, or None."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import Field, StrictInt

from ..settings import Settings

# int() takes "1_000", " 12 ", "+5" and Arabic digits too, and a uid read in another way is another person.
_ID = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True)
class Account:
    """What one source says of one name, word for word.

    `groups` has (gid, name) pairs in any order, with or without the primary group; the name is None where the source
    knows only the number.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[tuple[int, str | None], ...]
    home: str
    shell: str


class SourceDown(Exception):
    """The source cannot say whether it knows a name.  Its sentence is for the admins: it may name hosts and files."""


class SourceOptions(Settings):
    """What every source can be told.  A source's own options narrow `kind` to a Literal."""

    kind: str = Field(title="Kind of source")
    order: StrictInt = Field(
        100,
        title="Place among the sources",
        description="The first by order that knows a name wins whole: nothing is mixed from two.",
        examples=[10],
    )


class Source(Protocol):
    """One opened source.  A source that needs more than the name takes it as a keyword with a default."""

    async def lookup(self, name: str) -> Account | None:
        """The account, or None when the source answers that it knows no such name.

        Raises SourceDown for everything else: a partial or old answer is none.
        """


class SourceKind(Protocol):
    """One module per source.  Nobody else branches on its kind."""

    @property
    def KIND(self) -> str:
        """As in the settings: `sources: {NAME: {kind: ...}}`."""

    @property
    def Options(self) -> type[SourceOptions]: ...

    @property
    def open_source(self) -> Callable[[SourceOptions, Path], Source]:
        """Options, and the directory that relative paths in them start from.  Waits for nothing, reads nothing."""


def parse_id(text: str) -> int:
    """A uid or gid as passwd(5) and LDAP write it.  Raises ValueError with a sentence."""
    if not _ID.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a number of at most ten digits")
    return int(text)


def login_shell(shell: str) -> str:
    """passwd(5): an empty shell is /bin/sh."""
    return shell or "/bin/sh"
