"""Durations, CPU cores and bytes in settings.  Quantities follow Kubernetes' resource.Quantity."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from ..wording import quote

DURATION = r"^[0-9]+[smhd]$"
CPU = r"^([0-9]+(\.[0-9]{1,3})?|[0-9]+m)$"
MEMORY = r"^[0-9]+(Ki|Mi|Gi|Ti|k|M|G|T)?$"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_FACTORS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def parse_duration(text: Any) -> timedelta:
    """Return a text like `"8h"`, `"90m"` or `"21d"` as a timedelta.  Raises ValueError with a message for the user."""
    if isinstance(text, timedelta):
        duration = text
    elif isinstance(text, str) and len(text) <= 10 and re.fullmatch(DURATION, text):
        duration = timedelta(seconds=int(text[:-1]) * _SECONDS[text[-1]])
    else:
        raise ValueError(f"{quote(text)} is not a valid duration. Use a whole number and a unit: 30s, 90m, 8h or 21d")
    if not timedelta(seconds=1) <= duration <= timedelta(days=10 * 366):
        raise ValueError(f"{quote(text)} must be between one second and ten years")
    return duration


def format_duration(duration: timedelta) -> str:
    """Return the duration in its shortest exact notation, for example 8h and not 480m."""
    seconds = int(duration.total_seconds())
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"


def parse_cores(value: Any) -> Decimal:
    """Return `2`, `0.5` or `"500m"` as a number of cores.  Raises ValueError with a message for the user."""
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    if len(text) > 10 or not re.fullmatch(CPU, text):
        raise ValueError(f"{quote(value)} is not a valid number of CPUs. Use for example 2, 0.5 or '500m'")
    cores = Decimal(text[:-1]) / 1000 if text.endswith("m") else Decimal(text)
    if not 0 < cores <= 4096:
        raise ValueError(f"{quote(value)} must be more than 0 and at most 4096 CPUs")
    return cores


def format_cores(cores: Decimal) -> str:
    """Return cores in Kubernetes' notation: `"2"` or `"500m"`."""
    return str(int(cores)) if cores == int(cores) else f"{int(cores * 1000)}m"


def parse_bytes(value: Any) -> int:
    """Return a text like `"4Gi"` or `"500M"`, or a number, as bytes.  Raises ValueError with a message for the user."""
    found = re.fullmatch(r"([0-9]{1,20})(Ki|Mi|Gi|Ti|k|M|G|T)?", str(value))
    if not found:
        raise ValueError(f"{quote(value)} is not a valid amount of memory. Use a whole number and a unit: 4Gi or 500Mi")
    size = int(found[1]) * _FACTORS[found[2] or ""]
    if not 2**20 <= size <= 2**50:
        raise ValueError(
            f"{quote(value)} must be between 1Mi and 1024Ti. Is the unit missing? Use for example 4Gi or 500Mi"
        )
    return size


def format_bytes(size: int) -> str:
    """Return the size in its shortest exact notation with binary units, for example `"4Gi"`."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if size % _FACTORS[unit] == 0:
            return f"{size // _FACTORS[unit]}{unit}"
    return str(size)


# pydantic's own JSON schema for a timedelta is ISO 8601, but settings have durations such as 8h.
Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION, "examples": ["8h", "21d"]}),
]
Cores = Annotated[
    Decimal,
    BeforeValidator(parse_cores),
    PlainSerializer(format_cores, return_type=str),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": CPU}]}),
]
Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    PlainSerializer(format_bytes, return_type=str),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": MEMORY}, {"type": "integer", "minimum": 1048576}]}),
]
