"""The pages of the documentation and the code blocks in them: `from doc_pages import blocks`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).parents[1]
DOCS = TREE / "docs"
PAGES = [
    TREE / "README.md",
    TREE / "CONTRIBUTING.md",
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
]
_FENCE = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A code block: the page, the line of its first fence, the language after the fence, and the text."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def id(self) -> str:
        """Return the page and the line, as the id of a test."""
        return f"{self.page.relative_to(TREE)}:{self.line}"


def blocks(pages: list[Path] = PAGES) -> Iterator[Block]:
    """Return all code blocks of these pages, without MyST's directives, whose names are in braces."""
    for page in pages:
        text = page.read_text()
        for found in _FENCE.finditer(text):
            language = found[3].strip()
            if not language.startswith("{"):
                line = text.count("\n", 0, found.start()) + 1
                yield Block(page, line, language, textwrap.dedent(found[4]))


def without_blocks(page: Path) -> str:
    """Return the text of a page without its code blocks, in which inline code is text."""
    return _FENCE.sub("", page.read_text())
