"""Durations, CPU cores and bytes in settings.  Quantities follow Kubernetes' resource.Quantity."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from ..wording import quote

# Without lookahead, which helm's validator of JSON schemas does not have.
DURATION = r"^([0-9]+d([0-9]+h)?([0-9]+m)?([0-9]+s)?|[0-9]+h([0-9]+m)?([0-9]+s)?|[0-9]+m([0-9]+s)?|[0-9]+s)$"
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
    """Return a string like `"8h"`, `"90m"` or `"1h30m"` as a timedelta.  Raises ValueError with a message for the user.

    Settings must have a unit, because YAML reads 4:00:00 without quotes as the number 14400 (YAML 1.1, sexagesimal).
    """
    if isinstance(text, timedelta):
        return _within_limits(text, text)
    if isinstance(text, str) and (duration := _with_units(text)) is not None:
        return _within_limits(duration, text)
    raise ValueError(_without_unit(text) or f"{quote(text)} is not a valid duration. {_FORMS}")


def parse_wall_time(text: Any) -> timedelta:
    """Return the wall time that a user writes as a timedelta.  Raises ValueError with a message for the user.

    Besides `"8h"`, all formats of `sbatch --time` are valid: minutes, minutes:seconds, hours:minutes:seconds,
    days-hours, days-hours:minutes and days-hours:minutes:seconds.  A number is minutes.  Source: sbatch(1) and
    time_str2secs in src/common/parse_time.c.  Slurm rounds up to whole minutes, and this function does not.  It refuses
    the formats that mean no limit.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text) if abs(text) < 10**9 else quote(text)
    if isinstance(text, str):
        text = text.strip()
        duration = _of_slurm(text)
        if duration:
            return _within_limits(duration, text)
        if text.lower() in _UNLIMITED or duration is not None:  # 0 minutes mean no limit too
            raise ValueError(
                f"{quote(text)}: a wall time without a limit is not possible. Leave it out for the default"
            )
    try:
        return parse_duration(text)
    except ValueError as error:
        if isinstance(text, timedelta) or (isinstance(text, str) and _with_units(text) is not None):
            raise error from None  # the format is valid, and the value is not
        raise ValueError(
            f"{quote(text)} is not a valid wall time. Use a unit (90m, 8h, 1h30m, 2d) or a format of Slurm: 90 "
            "(minutes), 4:00:00, 1-12 or 1-12:30:00 (days-hours)"
        ) from None


_FORMS = "Use a whole number and a unit: 30s, 90m, 8h, 1h30m or 21d"
_UNLIMITED = ("-1", "infinite", "unlimited")
_PART = re.compile(r"([0-9]+)([smhd])")
_SLURM = re.compile(
    r"(?P<d>[0-9]+)-((?P<dh>[0-9]+)(:(?P<dm>[0-9]+)(:(?P<ds>[0-9]+))?)?)?"
    r"|(?P<h>[0-9]+):(?P<hm>[0-9]+):(?P<hs>[0-9]+)"
    r"|(?P<m>[0-9]+)(:(?P<s>[0-9]+))?"
)
_LONGEST_TEXT = 20


def _with_units(text: str) -> timedelta | None:
    if len(text) > _LONGEST_TEXT or not re.fullmatch(DURATION, text, re.ASCII) or text.endswith("\n"):
        return None
    return _seconds(sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text)))


def _of_slurm(text: str) -> timedelta | None:
    found = _SLURM.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if found is None:
        return None
    part = {name: int(number or 0) for name, number in found.groupdict().items()}
    hours = part["d"] * 24 + part["dh"] + part["h"]
    minutes = hours * 60 + part["dm"] + part["hm"] + part["m"]
    return _seconds(minutes * 60 + part["ds"] + part["hs"] + part["s"])


def _seconds(seconds: int) -> timedelta:
    return timedelta(seconds=min(seconds, 10**11))


def _within_limits(duration: timedelta, text: Any) -> timedelta:
    if not timedelta(seconds=1) <= duration <= timedelta(days=10 * 366):
        raise ValueError(f"{quote(text)} must be between one second and ten years")
    return duration


def _without_unit(value: Any) -> str:
    """Return the message for a number, or for a format of Slurm, without a unit; "" for any other value."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**9:
        seconds = format_duration(timedelta(seconds=value))
        clock = f"{value // 3600}:{value // 60 % 60:02}:{value % 60:02}" if value >= 3600 else ""
        clock = clock or (f"{value // 60}:{value % 60:02}" if value >= 60 else "")
        also = f" (YAML reads {clock} as {value})" if clock else ""
        return f"{value} has no unit. Write {seconds} for {value} seconds, or {value}m for minutes{also}"
    if isinstance(value, str) and (duration := _of_slurm(value)):
        return (
            f"{quote(value)} has no unit. Settings need one, because YAML reads a time like 4:00:00 as a number. "
            f"Write {format_duration(duration)}"
        )
    return ""


def format_duration(duration: timedelta) -> str:
    """Return the duration in its shortest exact notation that is easy to read: 8h, 90m, 1d12h30m and not 2190m."""
    seconds = int(duration.total_seconds())
    largest = next((unit for unit in ("d", "h", "m") if seconds and seconds % _SECONDS[unit] == 0), "s")
    number = seconds // _SECONDS[largest]
    if number < 100 or largest == "d":
        return f"{number}{largest}"
    parts = []
    for unit in ("d", "h", "m", "s"):
        number, seconds = divmod(seconds, _SECONDS[unit])
        parts.append(f"{number}{unit}" if number else "")
    return "".join(parts)


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
    """Return a size like `"4Gi"`, `"500M"` or a number as bytes.  Raises ValueError with a message for the user."""
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
# A duration that a user asks for, as text or as a number of minutes.
AskedWallTime = Annotated[
    timedelta,
    BeforeValidator(parse_wall_time),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}], "examples": ["8h", "4:00:00", "1-12", 90]}),
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
