"""Writes the catalogue of the pages' texts, from which sites make translations: `python tools/texts.py`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import write_po

PACKAGE = Path(__file__).parents[1] / "jupyter_research_spawner"
TEMPLATE = PACKAGE / "locale" / "jupyter_research_spawner.pot"
METHODS = [("web/**.html", "jinja2"), ("**.py", "python")]
OPTIONS = {"web/**.html": {"silent": "false", "trimmed": "false"}}
# The functions of texts.py, and in templates also `_`, with the positions of their texts.
KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_noop": (1, 2),
    "research_gettext": None,
    "research_ngettext": (1, 2),
}
HEADER = """\
# The texts of the pages of jupyter-research-spawner.
# `make texts` writes this file."""


def extract() -> Catalog:
    """Return a catalogue with each text of the package, with the files that have it."""
    catalog = Catalog(project="jupyter-research-spawner", charset="utf-8", header_comment=HEADER)
    for path, _, message, comments, context in extract_from_dir(PACKAGE, METHODS, OPTIONS, KEYWORDS):
        catalog.add(message, locations=[(path, 0)], auto_comments=comments, context=context)
    return catalog


def template() -> bytes:
    """Return the content of the .pot file.  It has no date and no lines, so that it changes only with the texts."""
    file = io.BytesIO()
    write_po(file, extract(), width=100, omit_header=True, sort_output=True, include_lineno=False)
    return (
        f'{HEADER}\n#\nmsgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n\n'.encode() + file.getvalue()
    )


if __name__ == "__main__":
    TEMPLATE.parent.mkdir(exist_ok=True)
    TEMPLATE.write_bytes(template())
    print(f"{TEMPLATE.relative_to(Path.cwd()) if TEMPLATE.is_relative_to(Path.cwd()) else TEMPLATE}", file=sys.stderr)
