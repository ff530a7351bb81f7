"""The texts of the pages: the catalogue of the package, and catalogues of sites, also faulty ones."""

from __future__ import annotations

import ast
import importlib.util
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from markupsafe import Markup
from samples import site_with
from translations import TEMPLATE, catalogue, pot

from jupyter_research_spawner import texts, web
from jupyter_research_spawner.settings import SettingsError
from jupyter_research_spawner.site import Site

EVIL = '<img src=x onerror="alert(1)">'
WAITS = "Your server %(name)s is waiting"
OFFERS = ("Search %(count)s offer", "Search %(count)s offers")


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    yield
    texts.use_english()


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """Return tools/texts.py, which is not part of a package."""
    spec = importlib.util.spec_from_file_location("write_texts", Path(__file__).parents[1] / "tools" / "texts.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_catalogue_has_the_texts_of_the_source(tool: ModuleType) -> None:
    assert TEMPLATE.read_bytes() == tool.template(), "run `make texts`"


def test_no_text_is_inside_an_f_string() -> None:
    """Babel finds it there only with Python 3.12 or later."""
    for path in TEMPLATE.parents[1].rglob("*.py"):
        for string in ast.walk(ast.parse(path.read_text())):
            calls = ast.walk(string) if isinstance(string, ast.JoinedStr) else ()
            called = [call for call in calls if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)]
            texts_of = [call.args[0] for call in called if call.func.id in ("gettext", "ngettext")]  # type: ignore[attr-defined]
            assert not [text for text in texts_of if isinstance(text, ast.Constant)], (path, string.lineno)  # type: ignore[attr-defined]


def test_every_text_can_be_shown() -> None:
    """Each is formatted, so a percent sign must be doubled, and both forms of a number need the same values."""
    for message in pot():
        forms = message.id if isinstance(message.id, (list, tuple)) else (message.id,)
        for form in forms:
            assert texts.invalid_placeholder(form) == ""
        if len(forms) > 1:
            one, several = map(texts.placeholders, forms)
            assert one - {texts.COUNT} == several - {texts.COUNT}


def test_texts_are_english_without_a_catalogue() -> None:
    assert texts.gettext(WAITS, name="lab") == "Your server lab is waiting"
    assert [texts.ngettext(*OFFERS, count) for count in (1, 12)] == ["Search 1 offer", "Search 12 offers"]
    assert [texts.gettext_list(["a", "b", "c"][:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert texts.gettext_choice(["a", "b", "c"]) == "a, b or c"
    assert texts.gettext_list(map(str, range(20))).endswith("10, 11 and 8 more")
    assert texts.translate("") == ""
    assert texts.language_tag() == "en"


def test_a_catalogue_translates_and_chooses_the_form_of_a_number(tmp_path: Path) -> None:
    made = catalogue(tmp_path, {WAITS: "%(name)s väntar", OFFERS: ("Sök ett", "Sök %(count)s")}, "pt_BR")
    texts.use_catalogue(made, "pt_BR")
    assert texts.gettext(WAITS, name="lab %(x)s") == "lab %(x)s väntar"
    assert [texts.ngettext(*OFFERS, count) for count in (1, 12)] == ["Sök ett", "Sök 12"]
    assert texts.gettext("Home") == "Home"
    assert texts.language_tag() == "pt-BR"


def test_values_and_translations_are_escaped_in_templates(tmp_path: Path) -> None:
    texts.use_catalogue(catalogue(tmp_path, {WAITS: "<b>%(name)s</b> & co", "Home": EVIL}), "xx")
    assert web.gettext(WAITS, name=EVIL) == ("&lt;b&gt;&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&lt;/b&gt; &amp; co")
    assert web.gettext(WAITS, name=Markup("<i>lab</i>")) == "&lt;b&gt;<i>lab</i>&lt;/b&gt; &amp; co"
    assert web.gettext("Home") == "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;"
    assert "<b>" not in web.ngettext(*OFFERS, 2, name="<b>")


@pytest.mark.parametrize(
    ("translated", "why"),
    [
        ("väntar", r"does not have %\(name\)s"),
        ("%(name)s %(other)s", r"has %\(other\)s, which the English text does not have"),
        ("%(name)s %s", "has '%s'"),
        ("%(name)d", r"has '%\(name\)d'"),
        ("%(name)s 100%", "has '%'"),
        ("%(name", r"has '%\(name'"),
    ],
)
def test_a_faulty_translation_is_logged_and_shown_in_english(
    translated: str, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts.use_catalogue(catalogue(tmp_path, {WAITS: translated, "Home": "Hem"}), "xx")
    assert texts.gettext(WAITS, name="lab") == "Your server lab is waiting"
    assert texts.gettext("Home") == "Hem"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert re.search(f"{re.escape(repr(WAITS))}: .*{why}", record.getMessage())


def test_all_faults_are_in_one_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made: dict[Any, Any] = {WAITS: "x", OFFERS: ("%(number)s", "y"), "Stop %(name)s": "Stoppa"}
    texts.use_catalogue(catalogue(tmp_path, made), "xx")
    (record,) = caplog.records
    assert len(record.getMessage().splitlines()) == 4
    # All forms of a text stay English together.
    assert texts.ngettext(*OFFERS, 2) == "Search 2 offers"


@pytest.mark.parametrize(
    "content",
    [b"", b"not a catalogue", b"\xde\x12\x04\x95" + b"\xff" * 24, b"\xde\x12\x04\x95\x00"],
    ids=["empty", "text", "numbers", "cut off"],
)
def test_a_file_that_is_no_catalogue_leaves_the_pages_english(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "broken.mo"
    path.write_bytes(content)
    texts.use_catalogue(path, "xx")
    assert (texts.gettext("Home"), texts.language_tag()) == ("Home", "en")
    (record,) = caplog.records
    assert record.getMessage() == f"{path} is not a valid catalogue of gettext. The pages are in English" or (
        str(path) in record.getMessage() and record.getMessage().endswith("The pages are in English")
    )


@pytest.mark.parametrize("rule", ["nplurals=2; plural=n/0;", "nplurals=2; plural=(n", "nplurals=2; plural=x;"])
def test_a_wrong_plural_rule_leaves_the_pages_english(
    rule: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = catalogue(tmp_path, {OFFERS: ("a", "b")})
    content = made.read_bytes()
    before = re.search(rb"nplurals=2; plural=[^;]*;", content)
    assert before is not None
    made.write_bytes(content.replace(before[0], rule.encode().ljust(len(before[0]))[: len(before[0])]))
    texts.use_catalogue(made, "xx")
    assert [texts.ngettext(*OFFERS, count) for count in (0, 1)] == ["Search 0 offers", "Search 1 offer"]
    assert texts.language_tag() == "en"
    assert len(caplog.records) == 1


def test_the_settings_name_the_language_and_its_catalogue(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def site(**pages: str) -> Site:
        return site_with({"pages": pages})

    catalogue(tmp_path / "translations", {"Home": "Hem"}, "sv")
    site(language="sv", translations="translations").pages.use_language(tmp_path)
    assert (texts.gettext("Home"), texts.language_tag()) == ("Hem", "sv")
    site(language="de", translations="translations").pages.use_language(tmp_path)
    assert (texts.gettext("Home"), texts.language_tag()) == ("Home", "en")
    assert f"The catalogue {tmp_path}/translations/de/LC_MESSAGES/jupyter_research_spawner.mo" in caplog.text
    site().pages.use_language(tmp_path)
    assert texts.language_tag() == "en"
    with pytest.raises(SettingsError, match=r"pages\.translations: is missing, but language is 'sv'"):
        site(language="sv")
    for language in ("../../etc", "SV", "s", ""):
        with pytest.raises(SettingsError, match=r"pages\.language"):
            site(language=language, translations="translations")
