"""Format numbers, ranges, and tables that are at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

LABEL, COLUMN, WIDTH = 29, 17, 80


@dataclass(frozen=True)
class Section:
    """One section of the table.  Each row has a label and a text for each column."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    label: int = LABEL
    column: int = COLUMN


def spread(values: Sequence[float | None]) -> str:
    """Return the median as text, with the minimum and maximum if these differ."""
    known = [value for value in values if value is not None]
    if not known:
        return "none"
    middle = number(median(known))
    if min(known) == max(known):
        return middle
    return f"{middle} ({number(min(known))}–{number(max(known))})"


def ratios(of: Sequence[float | None], to: Sequence[float | None]) -> str:
    """Return the range of the ratios of/to of all pairs.

    Only values of the same pair are compared, because the load of the machine changes between pairs. One side has
    fewer values if a measurement has failed.
    """
    pairs = [ours / theirs for ours, theirs in zip(of, to, strict=False) if ours is not None and theirs]
    return spread(pairs) if pairs else ""


def number(value: float) -> str:
    """Return the number as text with three significant digits."""
    if value == int(value) and value < 1000:
        return str(int(value))
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def render(sections: Iterable[Section]) -> str:
    return "\n\n".join("\n".join(_lines(section)) for section in sections)


def _lines(section: Section) -> Iterator[str]:
    # A title that is longer than the label column gets its own line above the column titles.
    is_long = len(section.title) > section.label
    if is_long:
        yield section.title
    yield _row(section, "" if is_long else section.title, section.columns)
    yield "-" * (section.label + section.column * len(section.columns))
    for label, *cells in section.rows:
        yield _row(section, label, cells)
    yield from section.notes


def _row(section: Section, label: str, cells: Sequence[str]) -> str:
    # A long label may extend into the first column, to the left of its right-aligned number.
    first, *others = cells
    width = section.label + section.column - len(label)
    return (f"{label}{first:>{width}}" + "".join(f"{cell:>{section.column}}" for cell in others)).rstrip()
