"""Compare the identity and placement of a user's notebook and job."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

COMPARED = ("user", "uid", "gid", "groups", "home", "mounts", "scheduler", "queue", "priority")


@dataclass(frozen=True)
class Row:
    """One row of the table.  `equal` is None if the values were not compared; `note` then says why."""

    name: str
    notebook: str
    job: str
    equal: bool | None
    note: str = ""


def compare(notebook: Mapping[str, str], job: Mapping[str, str], not_compared: Mapping[str, str]) -> list[Row]:
    """Return a row for each value.  A value that only the notebook or only the job has counts as unequal.

    `not_compared` maps the name of each value that cannot be compared to the reason.
    """
    rows = []
    for name in COMPARED:
        left, right = notebook.get(name, ""), job.get(name, "")
        if name in not_compared:
            rows.append(Row(name, left, right, None, not_compared[name]))
        else:
            rows.append(Row(name, left, right, left == right and left != ""))
    return rows


def render(rows: Sequence[Row], width: int = 80) -> str:
    """Return the table, at most `width` columns wide.  Long values continue on the next line."""
    name = max(len(row.name) for row in rows) + 1
    column = (width - name - 6 - 3) // 2
    lines = [_line("", "notebook", "job", "", name, column), "-" * (name + 2 * column + 9)]
    for row in rows:
        mark = {True: "=", False: "DIFFERS", None: "-"}[row.equal]
        left, right = _wrapped(row.notebook, column), _wrapped(row.job, column)
        for index in range(max(len(left), len(right))):
            first = index == 0
            lines.append(
                _line(
                    row.name if first else "",
                    left[index] if index < len(left) else "",
                    right[index] if index < len(right) else "",
                    mark if first else "",
                    name,
                    column,
                )
            )
    notes = dict.fromkeys((row.note, ", ".join(r.name for r in rows if r.note == row.note)) for row in rows if row.note)
    for note, names in notes:
        lines += textwrap.wrap(f"- not compared: {names}: {note}", width, subsequent_indent="  ")
    return "\n".join(line.rstrip() for line in lines)


def _line(name: str, left: str, right: str, mark: str, name_width: int, column: int) -> str:
    return f"{name:<{name_width}}| {left:<{column}} | {right:<{column}} {mark}"


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap text at spaces, and within a word only if the word is longer than a line."""
    lines, line = [], ""
    for word in text.split(" "):
        rest = word
        while rest:
            space = width - len(line) - (1 if line else 0)
            if len(rest) <= space:
                line = f"{line} {rest}" if line else rest
                rest = ""
            elif line:
                lines.append(line)
                line = ""
            else:
                lines.append(rest[:width])
                rest = rest[width:]
    return [*lines, line] if line or not lines else lines
