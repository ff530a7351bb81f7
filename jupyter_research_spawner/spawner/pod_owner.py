"""Tells the pods that this hub has created from those of other hubs and of users, without a list of pods.

Each pod has an annotation with two keys, which are HMACs with a secret of the hub, so that nobody else can make them:

* The first is of the installation. It covers the pod's place and the server. A pod in the way of a start is adopted or
  deleted only if it has this key.
* The second is of the hub's database. It also covers the row of the user, so that no pod has it if the database is
  empty or another one. Only pods with this key count as unclaimed, and are deleted without a start.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime
from typing import Any, Protocol

from ..api_object import annotations_of, parse_map
from ..pod.overlay import OWNER, PLAN, USER_NAME
from ..shape import Json


class UserRow(Protocol):
    """A row of the table `users` in the hub's database."""

    id: int
    created: datetime | None


def owner_keys(secret: bytes, row: UserRow, *, user: str, server: str, namespace: str, pod_name: str) -> str:
    """Return the annotation of a pod that this hub creates. The secret must not be empty."""
    parts = [namespace, pod_name, user, server]
    return f"{_key(secret, parts)}.{_row_key(secret, parts, row)}"


def server_of(pod: Json) -> tuple[str, str]:
    """Return the user's name in the hub and the name of the server for which the pod was created, as the pod says."""
    annotations = annotations_of(pod)
    return str(annotations.get(USER_NAME, "")), str(parse_map(annotations.get(PLAN)).get("server", ""))


def is_of_this_hub(secret: bytes, pod: Json) -> bool:
    """Return whether a hub with this secret has created the pod.

    A pod without keys, but with the name of a user, is of an older version of this project and counts as created here.
    """
    annotations = annotations_of(pod)
    if OWNER not in annotations:
        return USER_NAME in annotations
    return bool(secret) and _equal(annotations[OWNER].partition(".")[0], _key(secret, _parts(pod)))


def is_of_this_database(secret: bytes, row: UserRow, pod: Json) -> bool:
    """Return whether a hub with this secret and this row in its database has created the pod."""
    key = str(annotations_of(pod).get(OWNER, "")).partition(".")[2]
    return bool(secret and key) and _equal(key, _row_key(secret, _parts(pod), row))


def _parts(pod: Json) -> list[Any]:
    metadata = pod["metadata"]
    return [metadata.get("namespace"), metadata.get("name"), *server_of(pod)]


def _row_key(secret: bytes, parts: list[Any], row: UserRow) -> str:
    # Some databases keep no fractions of a second.
    created = row.created.replace(microsecond=0).isoformat() if row.created else ""
    return _key(secret, [*parts, row.id, created])


def _key(secret: bytes, parts: list[Any]) -> str:
    return hmac.new(secret, json.dumps(["owner", *parts]).encode(), hashlib.sha256).hexdigest()


def _equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())
