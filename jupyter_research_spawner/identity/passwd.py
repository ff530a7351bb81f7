"""A strict parser for passwd(5) and group(5), for which every invalid line is an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .source_interface import Account, login_shell, parse_id


@dataclass(frozen=True)
class Entry:
    """A line of passwd(5)."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


@dataclass
class Directory:
    """Accounts and groups without conflicts.  Each user name has one uid, and each uid has one name.

    The same is true for group names and gids.

    Every `add_` method raises ValueError with a message that names both entries of a conflict.
    """

    people: dict[str, Entry] = field(default_factory=dict)
    _name_of_uid: dict[int, str] = field(default_factory=dict)
    _gid_of_group: dict[str, int] = field(default_factory=dict)
    _group_of_gid: dict[int, str] = field(default_factory=dict)
    _gids_of_member: dict[str, set[int]] = field(default_factory=dict)

    def add_person(self, entry: Entry) -> None:
        """Add an account."""
        if entry.name in self.people:
            raise ValueError(f"the user {entry.name!r} occurs twice")
        other = self._name_of_uid.setdefault(entry.uid, entry.name)
        if other != entry.name:
            raise ValueError(f"the users {other!r} and {entry.name!r} have the same uid {entry.uid}")
        self.people[entry.name] = entry

    def add_group(self, name: str, gid: int, members: Iterable[str]) -> None:
        """Add members to a group.

        A group with many members can occur several times, with the same name and gid.
        """
        known = self._gid_of_group.setdefault(name, gid)
        if known != gid:
            raise ValueError(f"the group {name!r} occurs twice, with gid {known} and with gid {gid}")
        other = self._group_of_gid.setdefault(gid, name)
        if other != name:
            raise ValueError(f"the groups {other!r} and {name!r} have the same gid {gid}")
        for member in members:
            self._gids_of_member.setdefault(member, set()).add(gid)

    def account(self, name: str) -> Account | None:
        """Return the account with this name, or None."""
        entry = self.people.get(name)
        if entry is None:
            return None
        gids = sorted(self._gids_of_member.get(name, set()) | {entry.gid})
        groups = tuple((gid, self._group_of_gid.get(gid)) for gid in gids)
        return Account(name, entry.uid, entry.gid, groups, entry.home, login_shell(entry.shell))


def parse(passwd: Mapping[str, bytes], group: Mapping[str, bytes]) -> Directory:
    """Return the accounts in passwd(5) and group(5) files.  Each argument maps file names to contents.

    Raises ValueError with a message that names the file and the line.
    """
    directory = Directory()
    for title, content in passwd.items():
        for place, fields in _lines(title, content, 7):
            with _At(place):
                name, _, uid, gid, _, home, shell = fields
                directory.add_person(Entry(name, parse_id(uid), parse_id(gid), home, shell))
    for title, content in group.items():
        for place, fields in _lines(title, content, 4):
            with _At(place):
                name, _, gid, members = fields
                directory.add_group(name, parse_id(gid), _members(members))
    return directory


def _lines(title: str, content: bytes, count: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the place and the fields of each line.  Skip empty lines and comments, as glibc does."""
    if not content:
        raise ValueError(f"{title} is empty; perhaps another process is writing the file")
    # The last line of a truncated file can have all fields but only some of the group's members.
    if not content.endswith(b"\n"):
        raise ValueError(f"{title} does not end with a newline; perhaps another process is writing the file")
    # Not splitlines(): it also splits at characters that passwd(5) does not treat as line ends.
    for number, line in enumerate(content[:-1].split(b"\n"), start=1):
        place = f"{title}, line {number}"
        if not line.strip() or line.startswith(b"#"):
            continue
        try:
            fields = line.decode().split(":")
        except UnicodeDecodeError:
            raise ValueError(f"{place}: the line is not valid UTF-8") from None
        if len(fields) != count:
            raise ValueError(f"{place}: the line has {len(fields)} fields, expected {count}")
        if not fields[0] or fields[0][0] in "+-":
            raise ValueError(f"{place}: the name is missing (NIS lines with + or - are not supported)")
        yield place, fields


def _members(text: str) -> list[str]:
    members = [member.strip() for member in text.split(",")] if text else []
    if not all(members):
        raise ValueError("the list of members has an empty name")
    return members


class _At:
    """A context manager that adds the file and line to the message of a ValueError."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            raise ValueError(f"{self._place}: {error}") from None
