"""Format lists of names, times and untrusted values for messages."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from itertools import islice

QUOTE_LIMIT = 64


def format_list(names: Iterable[str], conjunction: str = "and", limit: int | None = 12) -> str:
    """Return `a, b and c`, or `a, b and 3 more` if there are more than `limit` names."""
    found = list(names)
    if limit is not None and len(found) > limit:
        return f"{', '.join(found[:limit])} and {len(found) - limit} more"
    return f" {conjunction} ".join(filter(None, (", ".join(found[:-1]), found[-1] if found else "")))


def quote(value: object, limit: int = QUOTE_LIMIT) -> str:
    """Return a value as YAML writes it in one line, for at most `limit` characters of it.

    Text is in quotes, with newlines and control characters escaped.
    """
    if isinstance(value, str):
        return repr(shorten(value, limit))
    return shorten(flow_yaml(value), limit)


def flow_yaml(value: object) -> str:
    """Return a value in YAML's flow style: `null`, `true`, `2026-12-20`, `{group: climate}`, `[1, 2]`.

    Text is quoted only if it would be read as something else.  Of a large value, the end is left out.
    """
    return "".join(islice(_flow(value), _MOST_PARTS))


_MOST_PARTS = 1000
_DEEPEST = 8
# Text that YAML reads as text, also within brackets.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@+-]*(:[A-Za-z0-9_./@+-]+)*")
_NOT_TEXT = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def _flow(value: object, depth: int = 0) -> Iterator[str]:
    if value is None or isinstance(value, bool):
        yield {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, str):
        yield value if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT else repr(value)
    elif isinstance(value, date):
        yield value.isoformat()
    elif isinstance(value, (Mapping, list, tuple)):
        yield "{" if isinstance(value, Mapping) else "["
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for index, (key, item) in enumerate(items):
            yield ", " if index else ""
            if depth == _DEEPEST:
                yield "…"
                break
            if isinstance(value, Mapping):
                yield from _flow(key, depth + 1)
                yield ": "
            yield from _flow(item, depth + 1)
        yield "}" if isinstance(value, Mapping) else "]"
    elif isinstance(value, int):
        yield str(value) if value.bit_length() < 1024 else "a very large number"
    elif isinstance(value, float) and not math.isfinite(value):
        yield ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    else:
        yield str(value) if isinstance(value, (float, Decimal)) else repr(value)


def shorten(text: str, limit: int = QUOTE_LIMIT) -> str:
    """Return at most `limit` characters of the text, with an ellipsis if some are left out."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MOMENT = re.compile(rf"\b(\d{{1,2}}) ({'|'.join(_MONTHS)}) (\d\d):(\d\d) UTC\b")


def format_moment(time: datetime) -> str:
    """Return a time as sentences have it: `28 Nov 10:02 UTC`."""
    at = time.astimezone(timezone.utc)
    return f"{at.day} {_MONTHS[at.month - 1]} {at:%H:%M} UTC"


def find_moments(sentence: str, now: datetime) -> list[tuple[str, datetime]]:
    """Return the times in a sentence, as `format_moment` has written them and as times, in their order.

    A time without a year is the one that is closest to `now`.
    """
    found = []
    for moment in _MOMENT.finditer(sentence):
        day, month, hour, minute = int(moment[1]), _MONTHS.index(moment[2]) + 1, int(moment[3]), int(moment[4])
        years = []
        for year in (now.year - 1, now.year, now.year + 1):
            with contextlib.suppress(ValueError):  # 29 February, or text of another program
                years.append(datetime(year, month, day, hour, minute, tzinfo=timezone.utc))
        if years:
            found.append((moment[0], min(years, key=lambda time: abs(time - now))))
    return found
