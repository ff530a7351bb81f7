"""The PersistentVolumeClaims of a trial: directories of this machine with the homes of its users."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from ..identity import PosixIdentity
from ..shape import Json
from ..site import Site
from ..storage import root_above


def claims_of(site: Site) -> list[str]:
    """Return the claims that the settings name."""
    found = {home.claim for home in site.storage.homes.values()}
    found |= {mount.claim for mount in site.storage.mounts.values()}
    found |= {name for name in site.pods.allow.claims if "{" not in name}
    return sorted(found)


def entries(site: Site, identities: Sequence[PosixIdentity], *, owned: bool) -> list[Json]:
    """Return the entries for `lay_out`: a directory of each claim, homes of mode 0700, and directories of groups.

    owned: whether the entries have a uid and gid; otherwise the files belong to the user who creates them.
    """
    known = {group.name: group.gid for identity in identities for group in identity.groups}
    found: dict[str, Json] = {}

    def add(path: str, mode: int, uid: int = 0, gid: int = 0) -> None:
        found.setdefault(path, {"path": path, "mode": mode} | ({"uid": uid, "gid": gid} if owned else {}))

    def add_below(claim: str, below: PurePosixPath, mode: int, uid: int = 0, gid: int = 0) -> None:
        add(claim, 0o755)
        for parent in reversed(below.parents[:-1]):
            add(f"{claim}/{parent}", 0o755)
        add(f"{claim}/{below}", mode, uid, gid)

    for mount in site.storage.mounts.values():
        groups = [group for group, may in mount.groups.items() if may and group in known]
        # A directory for several groups would need an ACL.
        of_group = (0o2770, 0, known[groups[0]]) if len(groups) == 1 else (0o755,)
        if mount.sub_path:
            add_below(mount.claim, PurePosixPath(mount.sub_path), *of_group)
        else:
            add(mount.claim, *of_group)
    homes = {home.root: home.claim for home in site.storage.homes.values()}
    for identity in identities:
        root = root_above(site.storage, identity.home)
        if root is not None:
            below = PurePosixPath(identity.home).relative_to(root)
            add_below(homes[root], below, 0o700, identity.uid, identity.gid)
    for claim in claims_of(site):
        add(claim, 0o755)
    return list(found.values())
