"""Formats times and durations for the hub's pages.  static/times.js shows the times in the browser's time zone."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo

from ..api_object import format_time, parse_time
from ..shape import Json
from ..texts import gettext
from ..wording import find_moments

_UNITS = (("d", 24 * 60), ("h", 60), ("min", 1))


def describe_time(at: str, time_zone: tzinfo) -> str:
    """Return an RFC 3339 time as the pages show it: in the site's time zone, whose name follows."""
    try:
        return f"{parse_time(at).astimezone(time_zone):%Y-%m-%d %H:%M} {time_zone}"
    except ValueError:
        return at


def short_time(time: datetime, time_zone: tzinfo, now: datetime, *, seconds: bool = False) -> str:
    """Return the time of day in the site's time zone, with the date if it is not today's: `14:31`, `28 Nov 14:31`."""
    local, today = time.astimezone(time_zone), now.astimezone(time_zone)
    date = "" if local.date() == today.date() else f"{local.day} {local:%b} "
    return f"{date}{local:%H:%M:%S}" if seconds else f"{date}{local:%H:%M}"


def shown_time(time: datetime, time_zone: tzinfo, now: datetime, *, seconds: bool = False) -> Json:
    """Return what a template needs for a `time` element: the RFC 3339 time and its text."""
    return {"at": format_time(time), "text": short_time(time, time_zone, now, seconds=seconds)}


def times_in(sentence: str) -> list[Json]:
    """Return the times in a sentence, which are in UTC, in their order: each text and its RFC 3339 time."""
    return [{"text": text, "at": format_time(at)} for text, at in find_moments(sentence, datetime.now(timezone.utc))]


def sentence_parts(sentence: str) -> list[Json]:
    """Return a sentence in parts, so that templates can make each time a `time` element.  `at` of other parts is ""."""
    parts, rest = [], sentence
    for time in times_in(sentence):
        before, _, rest = rest.partition(time["text"])
        parts += [{"text": before, "at": ""}, time]
    return [part for part in (*parts, {"text": rest, "at": ""}) if part["text"]]


def describe_minutes(duration: timedelta) -> str:
    """Return the duration in its two largest units, rounded down: `7 h 12 min`; `less than a minute` below one."""
    return describe_whole_minutes(duration) or gettext("less than a minute")


def describe_whole_minutes(duration: timedelta) -> str:
    """Return the duration in its two largest units, rounded down; "" below one minute."""
    left = max(0, int(duration.total_seconds()) // 60)
    parts = []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        parts.append((number, unit))
    first = next((index for index, (number, _) in enumerate(parts) if number), None)
    if first is None:
        return ""
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)
