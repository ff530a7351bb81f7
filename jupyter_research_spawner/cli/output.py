"""Format Kubernetes objects as readable YAML, and text in lines of at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import yaml

WIDTH = 80


class _Readable(yaml.SafeDumper):
    """A YAML dumper that writes text of several lines as a block, and repeats equal values instead of using anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Readable, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)

# The order of keys in the documentation of Kubernetes.  Other keys follow in alphabetical order.
_FIRST = ("apiVersion", "kind", "metadata", "name", "namespace")


def as_text(manifest: Any) -> str:
    """Return an object as YAML without a newline at the end."""
    return yaml.dump(_sorted(manifest), Dumper=_Readable, sort_keys=False, allow_unicode=True, width=WIDTH).rstrip("\n")


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        rank = {key: index for index, key in enumerate(_FIRST)}
        return {key: _sorted(value[key]) for key in sorted(value, key=lambda key: (rank.get(key, len(rank)), key))}
    if isinstance(value, (list, tuple)):
        return [_sorted(below) for below in value]
    return value


def wrapped(text: str) -> str:
    """Return text in lines of at most 80 columns.  Its own line breaks stay, and no word is broken."""
    return "\n".join(
        textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False) for line in text.split("\n")
    )


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
