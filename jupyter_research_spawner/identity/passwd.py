"""A parser for passwd(5) and group(5).  An invalid line affects only the accounts and groups that it contains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .source_interface import Account, Entries, InvalidAccount, login_shell, parse_id


@dataclass(frozen=True)
class Entry:
    """A line of passwd(5)."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


@dataclass(frozen=True)
class LineProblem:
    """A line that is not valid, or that contradicts an earlier line.  `place` is the file and the line number."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


@dataclass
class Directory:
    """Accounts and groups, and the problems of their lines.

    An account that occurs twice with different fields, or whose uid another account has, is refused.  A group that
    occurs twice with different gids, or whose gid is not a number, is left out of its members' groups.
    """

    people: dict[str, Entry] = field(default_factory=dict)
    problems: list[LineProblem] = field(default_factory=list)
    _refused: dict[str, str] = field(default_factory=dict)
    _name_of_uid: dict[int, str] = field(default_factory=dict)
    _gid_of_group: dict[str, int] = field(default_factory=dict)
    _left_out: dict[str, str] = field(default_factory=dict)
    _group_of_gid: dict[int, str] = field(default_factory=dict)
    _groups_of_member: dict[str, dict[str, None]] = field(default_factory=dict)

    def add_person(self, entry: Entry, place: str = "") -> None:
        """Add an account.  A line that is repeated without a change has no effect."""
        known = self.people.setdefault(entry.name, entry)
        if known != entry:
            self.refuse(place, f"the user {entry.name!r} occurs twice, with different fields", entry.name)
        other = self._name_of_uid.setdefault(entry.uid, entry.name)
        if other != entry.name:
            message = f"the users {other!r} and {entry.name!r} have the same uid {entry.uid}"
            self.refuse(place, message, other, entry.name)

    def add_group(self, name: str, gid: int, members: Iterable[str], place: str = "") -> None:
        """Add members to a group.

        A group with many members can occur several times.  If two groups have the same gid, each member gets
        that gid with the name of the group that lists the member.
        """
        self._add_members(name, members)
        known = self._gid_of_group.setdefault(name, gid)
        if known != gid:
            self.leave_out(place, f"the group {name!r} occurs twice, with gid {known} and with gid {gid}", name)
        other = self._group_of_gid.setdefault(gid, name)
        if other != name:
            self.problems.append(LineProblem(place, f"the groups {other!r} and {name!r} have the same gid {gid}"))

    def refuse(self, place: str, message: str, *names: str) -> None:
        """Report a problem, and refuse the accounts with these names."""
        self.problems.append(LineProblem(place, message))
        for name in names:
            self._refused.setdefault(name, message)

    def leave_out(self, place: str, message: str, name: str, members: Iterable[str] = ()) -> None:
        """Report a problem, and leave the group out of the groups of its members."""
        self.problems.append(LineProblem(place, message))
        self._left_out.setdefault(name, message)
        self._add_members(name, members)

    def account(self, name: str) -> Account | None:
        """Return the account with this name, or None.  Raises InvalidAccount."""
        if (why := self._refused.get(name)) is not None:
            raise InvalidAccount(why)
        entry = self.people.get(name)
        if entry is None:
            return None
        member_of = self._groups_of_member.get(name, {})
        left_out = tuple((group, self._left_out[group]) for group in member_of if group in self._left_out)
        names: dict[int, str | None] = {}
        for group in member_of:
            if group not in self._left_out:
                names.setdefault(self._gid_of_group[group], group)
        names.setdefault(entry.gid, self._primary_name(entry.gid))
        return Account(
            name, entry.uid, entry.gid, tuple(sorted(names.items())), entry.home, login_shell(entry.shell), left_out
        )

    def gids(self, groups: Iterable[str]) -> dict[str, int]:
        """Return the gid of each of these groups that exists here and is not left out."""
        known = self._gid_of_group
        return {group: known[group] for group in groups if group in known and group not in self._left_out}

    def entries(self) -> Entries:
        """Return all accounts that are not refused, and the problems."""
        valid = [account for name in self.people if name not in self._refused and (account := self.account(name))]
        return Entries(tuple(valid), tuple(map(str, self.problems)))

    def _primary_name(self, gid: int) -> str | None:
        name = self._group_of_gid.get(gid)
        return None if name in self._left_out else name

    def _add_members(self, group: str, members: Iterable[str]) -> None:
        for member in members:
            self._groups_of_member.setdefault(member, {})[group] = None


def parse(passwd: Mapping[str, bytes], group: Mapping[str, bytes]) -> Directory:
    """Return the accounts in passwd(5) and group(5) files.  Each argument maps file names to contents.

    Raises ValueError with a message that names the file if a file is empty or may be incomplete.
    """
    directory = Directory()
    for title, content in passwd.items():
        for place, fields in _lines(title, content):
            _add_passwd_line(directory, place, fields)
    for title, content in group.items():
        for place, fields in _lines(title, content):
            _add_group_line(directory, place, fields)
    return directory


def _add_passwd_line(directory: Directory, place: str, fields: list[str]) -> None:
    name = fields[0]
    if (problem := _name_problem(name)) is not None:
        directory.refuse(place, problem)
        return
    try:
        _, _, uid, gid, _, home, shell = _counted(fields, 7)
        entry = Entry(name, parse_id(uid), parse_id(gid), _text("home", home), _text("shell", shell))
    except ValueError as error:
        directory.refuse(place, str(error), name)
        return
    directory.add_person(entry, place)


def _add_group_line(directory: Directory, place: str, fields: list[str]) -> None:
    name = fields[0]
    if (problem := _name_problem(name)) is not None:
        directory.refuse(place, problem)
        return
    members = fields[3] if len(fields) > 3 else ""
    listed = [member.strip() for member in members.split(",") if member.strip()]
    try:
        _, _, gid, _ = _counted(fields, 4)
        number = parse_id(gid)
    except ValueError as error:
        directory.leave_out(place, str(error), name, listed)
        return
    directory.add_group(name, number, listed, place)


def _lines(title: str, content: bytes) -> Iterator[tuple[str, list[str]]]:
    """Yield the place and the fields of each line.  Skip empty lines and comments, as glibc does.

    Bytes that are not UTF-8 become surrogate escapes, because they are harmless in an unused field such as the comment.
    """
    if not content:
        raise ValueError(f"{title} is empty; perhaps another process is writing the file")
    # The last line of a truncated file can have all fields but only some of the group's members.
    if not content.endswith(b"\n"):
        raise ValueError(f"{title} does not end with a newline; perhaps another process is writing the file")
    # Not splitlines(): it also splits at characters that passwd(5) does not treat as line ends.
    for number, line in enumerate(content[:-1].split(b"\n"), start=1):
        text = line.removesuffix(b"\r").decode(errors="surrogateescape")
        if text.strip() and not text.startswith("#"):
            yield f"{title}:{number}", text.split(":")


def _counted(fields: list[str], count: int) -> list[str]:
    if len(fields) != count:
        raise ValueError(f"the line has {len(fields)} fields, expected {count}")
    return fields


def _name_problem(name: str) -> str | None:
    if not name or name[0] in "+-":
        return "the name is missing (NIS lines with + or - are not supported)"
    return None if _is_utf8(name) else f"the name {_printable(name)} is not valid UTF-8"


def _text(field_name: str, value: str) -> str:
    if not _is_utf8(value):
        raise ValueError(f"the {field_name} is not valid UTF-8")
    return value


def _printable(name: str) -> str:
    """Return the name in quotes, with `\\xe9` for a byte that is not UTF-8."""
    return f"'{name.encode(errors='surrogateescape').decode(errors='backslashreplace')}'"


def _is_utf8(text: str) -> bool:
    return not any("\udc80" <= sign <= "\udcff" for sign in text)
