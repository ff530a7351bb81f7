"""A catalogue that brackets each text, so that a page shows which of its texts are not translated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from bs4 import BeautifulSoup, Tag
from bs4.element import PreformattedString

import jupyter_research_spawner
from jupyter_research_spawner.texts import DOMAIN, catalogue_path

TEMPLATE = Path(jupyter_research_spawner.__file__).parent / "locale" / f"{DOMAIN}.pot"
# Attributes that users read or hear, and texts for scripts.
_TEXTS = re.compile(r"aria-label|alt|placeholder|title|data-text-.*|data-name|data-short")
# Dates, durations and sizes: `29 Nov 10:02`, `7 h 59 min`, `2h`, `64Mi`.
_DATE = re.compile(r"\b(\d+ [A-Z][a-z]{2}( \d+:\d+)?|\d+ [A-Z][a-z]+ \d{4}|\d+ (d|h|min)|(\d+[dhms])+|\d+Mi)\b")
_PLACEHOLDER = re.compile(r"(%\([a-z_]+\)s)")


def bracketed(text: str) -> str:
    """Return the text with brackets around each part, except placeholders: `[Your server ]%(name)s[ is waiting]`."""
    return "".join(part if _PLACEHOLDER.fullmatch(part) else f"⟦{part}⟧" if part else "" for part in _parts(text))


def _parts(text: str) -> list[str]:
    return _PLACEHOLDER.split(text)


def pot() -> Catalog:
    """Return the catalogue of the package."""
    with TEMPLATE.open("rb") as file:
        return read_po(file)


def pseudo_catalogue(directory: Path, language: str = "xx") -> Path:
    """Write the catalogue that brackets each text, and return its path."""
    found = pot()
    made: dict[str | tuple[str, ...], str | tuple[str, ...]] = {}
    for message in found:
        if message.id:
            forms = message.id if isinstance(message.id, (list, tuple)) else (message.id,)
            texts = tuple(bracketed(form) for form in forms)
            made[tuple(forms) if len(forms) > 1 else forms[0]] = texts if len(forms) > 1 else texts[0]
    return catalogue(directory, made, language)


def catalogue(
    directory: Path, texts: Mapping[str | tuple[str, ...], str | tuple[str, ...]], language: str = "xx"
) -> Path:
    """Write a catalogue with these translations, and return its path.  A key with two texts has plural forms."""
    made = Catalog(locale="sv")
    for english, translated in texts.items():
        made.add(english, string=translated)
    path = catalogue_path(directory, language)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_mo(file, made)
    return path


def untranslated(page: BeautifulSoup | Tag, known: Iterable[str] = ()) -> list[str]:
    """Return the words on a page that are outside of all brackets.

    known: what the site, the user or another program has written.
    """
    found = [
        str(text)
        for text in page.find_all(string=True)
        if not isinstance(text, PreformattedString)  # comments and the like
    ]
    for tag in page.find_all(True):
        found += [str(value) for name, value in tag.attrs.items() if _TEXTS.fullmatch(name)]
    # Longer ones first, because one can be part of another.
    whole = sorted(known, key=len, reverse=True)
    return [left for text in found if (left := _outside(text, whole))]


def _outside(text: str, known: Iterable[str]) -> str:
    # A text with markup inside is in several parts of the page, and each part has brackets of its own.
    left = _PLACEHOLDER.sub(" ", re.sub(r"⟦[^⟧]*⟧", " ", text))
    for word in known:  # before dates: the random end of a name can look like a duration
        left = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "", left)
    left = _DATE.sub("", left)
    return " ".join(left.split()) if re.search(r"[^\W\d_]", left) else ""
