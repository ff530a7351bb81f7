"""The pages of the documentation and the code blocks in them: `from doc_pages import blocks`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from jupyter_research_spawner.settings import merge

TREE = Path(__file__).parents[1]
DOCS = TREE / "docs"
PAGES = [
    TREE / "README.md",
    TREE / "CONTRIBUTING.md",
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
]
_TITLE = re.compile(r"^## (.*)$", re.MULTILINE)
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


@dataclass(frozen=True)
class SchedulerExample:
    """The YAML in the section of a scheduler: helm values, and objects of the cluster, from this number of blocks."""

    values: dict[str, Any]
    objects: list[dict[str, Any]]
    blocks: int


def scheduler_examples() -> dict[str, SchedulerExample]:
    """Return the examples of docs/how-to/schedulers.md, by the kind of scheduler."""
    page = DOCS / "how-to" / "schedulers.md"
    text = page.read_text()
    titles = [(text.count("\n", 0, found.start()) + 1, found[1]) for found in _TITLE.finditer(text)]
    examples: dict[str, SchedulerExample] = {}
    for (start, title), (end, _) in pairwise([*titles, (10**6, "")]):
        yamls = [one.text for one in blocks([page]) if one.language == "yaml" and start < one.line < end]
        documents = [document for text in yamls for document in yaml.safe_load_all(text)]
        values = [document for document in documents if "kind" not in document]
        objects = [document for document in documents if "kind" in document]
        examples[title] = SchedulerExample(merge(*values), objects, len(yamls))
    return examples
