"""A user's POSIX identity: name, uid, gid, groups, home directory and shell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, order=True)
class Group:
    """A POSIX group; `name` is the name in group(5)."""

    gid: int
    name: str


@dataclass(frozen=True)
class PosixIdentity:
    """A user's account, with the fields of passwd(5) and the groups.

    `groups` has all groups, including the primary one, sorted by gid.  `source` is the name of the identity source.
    `left_out` has the name of each group that the user has in the directory but not in pods, and the reason.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[Group, ...]
    home: str
    shell: str
    source: str
    left_out: tuple[tuple[str, str], ...] = ()

    @cached_property
    def group_names(self) -> tuple[str, ...]:
        """Return the names of all groups, in the order of their gids."""
        return tuple(group.name for group in self.groups)

    @cached_property
    def gids(self) -> tuple[int, ...]:
        """Return all gids, sorted."""
        return tuple(group.gid for group in self.groups)

    @cached_property
    def supplementary_gids(self) -> tuple[int, ...]:
        """Return the gids for `supplementalGroups`: all except the primary gid, sorted."""
        return tuple(gid for gid in self.gids if gid != self.gid)
