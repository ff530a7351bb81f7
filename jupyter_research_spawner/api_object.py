"""Read and write what all objects of the API server have in common: annotations, and times as RFC 3339 text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from .shape import Json


def annotations_of(obj: Json) -> Mapping[str, Any]:
    """Return the annotations of an object; {} if it has none."""
    return (obj.get("metadata") or {}).get("annotations") or {}


def parse_map(text: object) -> Mapping[str, Any]:
    """Return the JSON object in an annotation; {} if the text is not a JSON object."""
    try:
        found = json.loads(str(text))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def parse_time(text: str) -> datetime:
    """Return a time of the API server.  Raises ValueError."""
    # Python 3.10's fromisoformat does not accept the suffix Z of RFC 3339.
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def format_time(time: datetime) -> str:
    """Return a timezone-aware time as the API server writes it, in seconds."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_now() -> str:
    """Return the time now as the API server writes it, in seconds."""
    return format_time(datetime.now(timezone.utc))
