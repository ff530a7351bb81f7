"""Text that sentences for people are made of: lists of names, and values that somebody else wrote."""

from __future__ import annotations

from collections.abc import Iterable

QUOTE_LIMIT = 64


def format_list(names: Iterable[str], conjunction: str = "and", limit: int | None = 12) -> str:
    """Return `a, b and c`.  Of more than `limit` names, the first ones and the number of the others."""
    found = list(names)
    if limit is not None and len(found) > limit:
        return f"{', '.join(found[:limit])} and {len(found) - limit} more"
    return f" {conjunction} ".join(filter(None, (", ".join(found[:-1]), found[-1] if found else "")))


def quote(value: object) -> str:
    """Return somebody else's value in quotes, shortened and without line ends or other unprintable characters."""
    if isinstance(value, str):
        return repr(_shorten(value))
    return _shorten(repr(value))


def _shorten(text: str) -> str:
    return text if len(text) <= QUOTE_LIMIT else text[: QUOTE_LIMIT - 1] + "…"
