"""A user's POSIX identity: what `id` prints on the login node."""

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
    """A user's account in the terms of passwd(5).

    `groups` has all groups, also the primary one, sorted by gid.  `source` is the source's name in the settings.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[Group, ...]
    home: str
    shell: str
    source: str

    @cached_property
    def group_names(self) -> tuple[str, ...]:
        """The names of all groups, in the order of their gids."""
        return tuple(group.name for group in self.groups)

    @cached_property
    def gids(self) -> tuple[int, ...]:
        """All gids, sorted."""
        return tuple(group.gid for group in self.groups)

    @cached_property
    def supplementary_gids(self) -> tuple[int, ...]:
        """The gids for `supplementalGroups`: all but the primary gid, sorted."""
        return tuple(gid for gid in self.gids if gid != self.gid)
