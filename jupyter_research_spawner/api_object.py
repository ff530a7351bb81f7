"""Read and write what all objects of the API server have in common.

These are annotations, conditions, times (RFC 3339) and quantities.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from .shape import Json

_FRACTION = re.compile(r"\.([0-9]{1,6})[0-9]*")
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE][+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i)?)")
_FACTORS = {
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in zip((-3, -2, -1), "num", strict=True)},
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}


def annotations_of(obj: Json) -> Mapping[str, Any]:
    """Return the annotations of an object; {} if it has none."""
    return (obj.get("metadata") or {}).get("annotations") or {}


def condition(obj: Mapping[str, Any], kind: str) -> Json:
    """Return the condition of type `kind` of a pod or another object, or {} if it has none."""
    for found in (obj.get("status") or {}).get("conditions") or []:
        if found.get("type") == kind:
            return dict(found)
    return {}


def parse_map(text: object) -> Mapping[str, Any]:
    """Return the JSON object in an annotation; {} if the text is not a JSON object."""
    try:
        found = json.loads(str(text))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def parse_time(text: str) -> datetime:
    """Return a time of the API server.  Raises ValueError."""
    # Python 3.10's fromisoformat accepts neither the suffix Z of RFC 3339 nor fractions of other than 3 or 6 digits.
    return datetime.fromisoformat(_FRACTION.sub(_in_microseconds, text.replace("Z", "+00:00")))


def _in_microseconds(fraction: re.Match[str]) -> str:
    return "." + fraction[1].ljust(6, "0")


def format_time(time: datetime) -> str:
    """Return a timezone-aware time as the API server writes it, in seconds."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_now() -> str:
    """Return the time now as the API server writes it, in seconds."""
    return format_time(datetime.now(timezone.utc))


def parse_quantity(written: object) -> Decimal:
    """Return a quantity of Kubernetes as a number; 0 for text that is none, because the API server refuses it."""
    matched = _QUANTITY.fullmatch(str(written))
    if matched is None or isinstance(written, bool):
        return Decimal(0)
    return Decimal(matched[1] + (matched[2] or "")) * _FACTORS[matched[3] or ""]
