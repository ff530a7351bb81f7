"""An administrator's statement which uid a hub user has now, after a planned change of a uid or of an account's name.

`research-spawner accept-uid` writes it into a ConfigMap that only administrators of the cluster may change.  The hub
and every process of the batch service read it there when they would otherwise refuse the user.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

# In the namespace of the pods.  Its keys are POSIX names, which are valid keys (letters, digits, `-`, `_` and `.`).
CONFIG_MAP = "research-accepted-uids"


@dataclass(frozen=True)
class AcceptedUid:
    """The uid that the account of a hub user has, as an administrator stated at a time."""

    hub_user: str
    uid: int
    at: datetime

    def __str__(self) -> str:
        return json.dumps({"hub_user": self.hub_user, "uid": self.uid, "at": self.at.isoformat(timespec="seconds")})


def accepted_uids(data: Mapping[str, Any], now: datetime, lifetime: timedelta) -> dict[str, AcceptedUid]:
    """Return the valid entries of the ConfigMap's data, by POSIX name.

    An entry is valid for `lifetime`.  An entry that is not valid, or that comes from the future, is left out.
    """
    found = {name: _parse(text) for name, text in data.items()}
    return {
        name: entry for name, entry in found.items() if entry is not None and timedelta() <= now - entry.at < lifetime
    }


def _parse(text: Any) -> AcceptedUid | None:
    try:
        entry = json.loads(text)
        hub_user, uid, at = entry["hub_user"], entry["uid"], datetime.fromisoformat(entry["at"])
    except (ValueError, KeyError, TypeError):
        return None
    is_valid = isinstance(hub_user, str) and type(uid) is int and at.tzinfo is not None
    return AcceptedUid(hub_user, uid, at) if is_valid else None
