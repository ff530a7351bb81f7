"""Format lists of names and untrusted values for messages."""

from __future__ import annotations

from collections.abc import Iterable

QUOTE_LIMIT = 64


def format_list(names: Iterable[str], conjunction: str = "and", limit: int | None = 12) -> str:
    """Return `a, b and c`, or `a, b and 3 more` if there are more than `limit` names."""
    found = list(names)
    if limit is not None and len(found) > limit:
        return f"{', '.join(found[:limit])} and {len(found) - limit} more"
    return f" {conjunction} ".join(filter(None, (", ".join(found[:-1]), found[-1] if found else "")))


def quote(value: object) -> str:
    """Return `repr(value)`, which escapes newlines and control characters, for at most QUOTE_LIMIT characters of it."""
    if isinstance(value, str):
        return repr(_shorten(value))
    return _shorten(repr(value))


def _shorten(text: str) -> str:
    return text if len(text) <= QUOTE_LIMIT else text[: QUOTE_LIMIT - 1] + "…"
