"""The texts of the pages in the language of the site, from a GNU gettext catalogue.

The texts in the code are English.  Each is a whole sentence, a label or a word, with named placeholders such as
`%(server)s`.  Babel collects them in locale/jupyter_research_spawner.pot.  A process has one language, because an
installation has one.  Source: GNU gettext manual, "Message Catalog (MO) File Format" and "Plural forms".
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Iterable
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

log = logging.getLogger(__name__)

DOMAIN = "jupyter_research_spawner"
ENGLISH = "en"
# A translated plural form may leave out the number, as in "one workload".
COUNT = "count"
_PLACEHOLDER = re.compile(r"%(?:\((?P<name>[a-z_]+)\)s|(?P<percent>%)|(?P<invalid>.?))", re.DOTALL)
_MOST_NAMES = 12
# The forms of these numbers are tried when a catalogue is loaded.
_TRIED_COUNTS = range(1000)

_translations = NullTranslations()
_language = ENGLISH


def gettext(message: str, /, **values: object) -> str:
    """Return the text in the site's language, with `values` in its placeholders."""
    return translate(message) % values


def ngettext(singular: str, plural: str, count: int, /, **values: object) -> str:
    """Return the form of the text for this number, which is also the placeholder `count`."""
    return translate_form(singular, plural, count) % {COUNT: count, **values}


def translate(message: str) -> str:
    """Return the text in the site's language, with its placeholders; a text that is not one of the pages unchanged."""
    return _translations.gettext(message) if message else ""


def translate_form(singular: str, plural: str, count: int) -> str:
    """Return the form of the text for this number in the site's language, with its placeholders."""
    return _translations.ngettext(singular, plural, count)


def gettext_noop(message: str) -> str:
    """Return the text unchanged, for a constant that `gettext` translates when it is used."""
    return message


def ngettext_noop(singular: str, plural: str) -> tuple[str, str]:
    """Return both forms unchanged, for a constant that `ngettext` translates when it is used."""
    return singular, plural


def gettext_list(names: Iterable[str]) -> str:
    """Return `a, b and c`, or `a, b and 3 more` if there are very many."""
    found = [*names]
    shown, left = ", ".join(found[:_MOST_NAMES]), len(found) - _MOST_NAMES
    if left > 0:
        return ngettext("%(names)s and %(count)s more", "%(names)s and %(count)s more", left, names=shown)
    if len(found) < 2:
        return shown
    return gettext("%(names)s and %(last)s", names=", ".join(found[:-1]), last=found[-1])


def gettext_choice(names: Iterable[str]) -> str:
    """Return `a, b or c`."""
    *others, last = [*names] or [""]
    return gettext("%(names)s or %(last)s", names=", ".join(others), last=last) if others else last


def language_tag() -> str:
    """Return the language of the texts as the value of the attribute `lang` of HTML, such as `pt-BR`."""
    return _language.replace("_", "-")


def catalogue_path(directory: Path, language: str) -> Path:
    """Return the path of the catalogue for a language, as gettext expects it."""
    return directory / language / "LC_MESSAGES" / f"{DOMAIN}.mo"


def use_english() -> None:
    """Show all texts in English."""
    _use(NullTranslations(), ENGLISH)


def use_catalogue(path: Path, language: str) -> None:
    """Show the texts in the language of this catalogue.

    A text that the catalogue does not have, or whose translation has the wrong placeholders, stays English.  So do all
    texts if the catalogue cannot be read.  Both are logged.
    """
    try:
        catalogue = Catalogue.read(path)
    except CatalogueError as error:
        log.error("%s. The pages are in English", error)
        use_english()
        return
    if faults := catalogue.remove_faulty():
        log.error("These texts of %s are not used, and are shown in English:\n%s", path, "\n".join(faults))
    _use(catalogue, language)


def _use(translations: NullTranslations, language: str) -> None:
    global _translations, _language
    _translations, _language = translations, language


class CatalogueError(Exception):
    """A catalogue cannot be read."""


class Catalogue(GNUTranslations):
    """A catalogue in the format of gettext's .mo files."""

    # The translations by English text; of a text with plural forms, by the English singular and the number of the form.
    _catalog: dict[str | tuple[str, int], str]

    @classmethod
    def read(cls, path: Path) -> Catalogue:
        """Read a catalogue.  Raises CatalogueError."""
        try:
            with path.open("rb") as file:
                found = cls(file)
            choose_form = found.ngettext
            for count in _TRIED_COUNTS:
                choose_form("", "", count)
        except OSError as error:
            raise CatalogueError(f"The catalogue {path} cannot be read: {error.strerror or error}") from error
        # gettext raises these for a file that is not a catalogue, an unknown charset, and a wrong Plural-Forms line.
        except (ArithmeticError, LookupError, RecursionError, ValueError, struct.error) as error:
            raise CatalogueError(f"{path} is not a valid catalogue of gettext: {error}") from error
        return found

    def remove_faulty(self) -> list[str]:
        """Remove the translations that cannot be shown, and return a sentence about each."""
        faults = {key: why for key, text in self._catalog.items() if (why := _why_faulty(key, text))}
        # All forms of a text are shown, or none.
        texts = {_english(key) for key in faults}
        for key in [key for key in self._catalog if _english(key) in texts]:
            del self._catalog[key]
        return [f"{_english(key)!r}: {why}" for key, why in faults.items()]


def _english(key: str | tuple[str, int]) -> str:
    return key if isinstance(key, str) else key[0]


def _why_faulty(key: str | tuple[str, int], text: str) -> str:
    """Return why a translation cannot be shown; "" if it can.

    A form of a text with plural forms may have the placeholder `count` and may leave it out.  All other placeholders
    must be those of the English text.
    """
    english = _english(key)
    if not english:  # the catalogue's header
        return ""
    if invalid := invalid_placeholder(text):
        return f"{text!r} has {invalid!r}, where a placeholder such as %(name)s or %% must be"
    own, found = placeholders(english), placeholders(text)
    required, allowed = (own, own) if isinstance(key, str) else (own - {COUNT}, own | {COUNT})
    if missing := required - found:
        return f"{text!r} does not have {_shown(missing)}"
    if unknown := found - allowed:
        return f"{text!r} has {_shown(unknown)}, which the English text does not have"
    return ""


def _shown(names: Iterable[str]) -> str:
    return ", ".join(f"%({name})s" for name in sorted(names))


def placeholders(text: str) -> frozenset[str]:
    """Return the names of the placeholders in a text."""
    return frozenset(found["name"] for found in _PLACEHOLDER.finditer(text) if found["name"])


def invalid_placeholder(text: str) -> str:
    """Return the first percent sign, with what follows, that is not part of a placeholder or of `%%`; "" if none."""
    for found in _PLACEHOLDER.finditer(text):
        if not found["name"] and not found["percent"]:
            return text[found.start() : found.start() + 10]
    return ""
