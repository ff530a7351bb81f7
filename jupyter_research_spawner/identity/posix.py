"""Who a person is to the file system: what `id` prints on the login node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Group:
    """One POSIX group; `name` as in group(5)."""

    gid: int
    name: str


@dataclass(frozen=True)
class PosixIdentity:
    """A person in passwd(5)'s terms.  `groups` has every group, the primary one too, sorted by gid.

    `source` is the name that the site gave the source in its settings.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[Group, ...]
    home: str
    shell: str
    source: str

    @property
    def group_names(self) -> tuple[str, ...]:
        return tuple(group.name for group in self.groups)

    @property
    def gids(self) -> tuple[int, ...]:
        return tuple(group.gid for group in self.groups)

    @property
    def supplementary_gids(self) -> tuple[int, ...]:
        """All but the primary gid, sorted: what `supplementalGroups` gets."""
        return tuple(gid for gid in self.gids if gid != self.gid)
