"""Formats text for a terminal, without control characters and in aligned columns.  Widths follow UAX 11."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

# Unicode categories: control and format characters (such as U+202E), surrogates, line and paragraph separators.
UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
GAP = "  "


def visible(text: str, keep: str = "") -> str:
    """Return `text` with escapes instead of characters that do not print, except those in `keep`."""
    if text.isprintable():
        return text
    return "".join(
        character if character in keep or unicodedata.category(character) not in UNPRINTABLE else _escape(character)
        for character in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def cells(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    return sum(_cells_of(character) for character in text)


def _cells_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def clipped(text: str, width: int) -> str:
    """Return `text` in at most `width` columns, with "…" at its end if it was cut."""
    if cells(text) <= width:
        return text
    kept = ""
    room = width - 1
    for character in text:
        room -= _cells_of(character)
        if room < 0:
            break
        kept += character
    return kept.rstrip() + "…"


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, shrink: Sequence[tuple[str, int]]
) -> list[str]:
    """Return the lines of a table, at most `width` columns wide where that is possible.

    `shrink` lists the columns to shorten until the table fits, in this order, each with its minimum width.
    """
    lines = [tuple(heads), *(tuple(visible(cell) for cell in row) for row in rows)]
    widths = [max(cells(line[column]) for line in lines) for column in range(len(heads))]
    surplus = sum(widths) + len(GAP) * (len(heads) - 1) - width
    for head, least in shrink:
        column = heads.index(head)
        given_up = min(max(surplus, 0), max(widths[column] - least, 0))
        widths[column] -= given_up
        surplus -= given_up
    return [GAP.join(_padded(line[column], widths[column]) for column in range(len(heads))).rstrip() for line in lines]


def _padded(cell: str, width: int) -> str:
    short = clipped(cell, width)
    return short + " " * (width - cells(short))
