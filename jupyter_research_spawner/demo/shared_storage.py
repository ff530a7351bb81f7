"""Describe the files and directories that the shared storage contains when the tour begins."""

from __future__ import annotations

from ..shape import Json
from .demo_cluster import People

CLAIMS = ("home", "project-climate", "era5")


def entries(people: People, *, owned: bool) -> list[Json]:
    """Return the entries for storage_layout.py: private homes, and a group's directory that others cannot enter.

    `owned`: whether the entries have a uid and gid; otherwise the files belong to the user who creates them.
    """
    climate = next(group.gid for group in people["alice"].groups if group.name == "climate")
    found: list[Json] = [
        {"path": "home", "mode": 0o755, "uid": 0, "gid": 0},
        {"path": "project-climate", "mode": 0o2770, "uid": 0, "gid": climate},
        {"path": "era5", "mode": 0o755, "uid": 0, "gid": 0},
        {"path": "era5/README", "mode": 0o644, "uid": 0, "gid": 0, "text": "Reanalysis data, read-only for all.\n"},
        *(
            {"path": f"home/{name}", "mode": 0o700, "uid": identity.uid, "gid": identity.gid}
            for name, identity in people.items()
        ),
    ]
    if owned:
        return found
    return [{key: value for key, value in entry.items() if key not in ("uid", "gid")} for entry in found]
