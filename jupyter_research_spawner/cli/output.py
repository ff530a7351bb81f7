"""Format text in lines of at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

WIDTH = 80


def wrapped(text: str) -> str:
    """Return text in lines of at most 80 columns.  Its own line breaks stay, and no word is broken."""
    return "\n".join(
        textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False) for line in text.split("\n")
    )


class Differs(Exception):
    """A command has compared two things that differ.  The message says how, and the exit code is 1, as of diff."""


def stacked(rows: Iterable[tuple[str, Iterable[str]]]) -> list[str]:
    """Return the lines of rows with long words: each word on a line, and its sentences indented below it."""
    lines = []
    for word, sentences in rows:
        lines.append(word)
        for sentence in sentences:
            lines += textwrap.wrap(
                sentence,
                WIDTH,
                initial_indent="  ",
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    return lines


def table(rows: Iterable[tuple[str, Iterable[str]]], width: int = WIDTH, prefix: str = "") -> list[str]:
    """Return the lines of a table.  A row is a word with its sentences.  Each sentence begins on a new line."""
    found = [(word, list(sentences)) for word, sentences in rows]
    column = max((len(word) for word, _ in found), default=0) + 2
    lines = []
    for word, sentences in found:
        for index, sentence in enumerate(sentences):
            lines += textwrap.wrap(
                sentence,
                width,
                initial_indent=f"{prefix}{word if index == 0 else '':{column}}",
                subsequent_indent=prefix + " " * (column + 2),
                break_long_words=False,
                break_on_hyphens=False,
            )
    return lines
