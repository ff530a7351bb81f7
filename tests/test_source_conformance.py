"""What every identity source must do, tested for each module in the registry; a new source needs no new test here.

`pytest --update-golden tests/test_source_conformance.py` writes the golden file of a new source,
tests/golden/sources/KIND.yaml: the JSON schema of its settings.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import pytest
from conformance import check_all_registered, check_described, check_guide_names, check_module, members
from pydantic import ValidationError

from jupyter_research_spawner import identity
from jupyter_research_spawner.identity import IdentitySettings, sources
from jupyter_research_spawner.identity.source_interface import Account, Source, SourceDown, SourceKind, SourceOptions
from jupyter_research_spawner.identity.sources import SOURCES

V = TypeVar("V")

each_source = pytest.mark.parametrize("kind", SOURCES)


def options(kind: str) -> SourceOptions:
    try:
        return SOURCES[kind].Options.model_validate(SOURCES[kind].EXAMPLE)
    except ValidationError as error:
        pytest.fail(f"EXAMPLE of source {kind} is not valid: {error}")


def opened(kind: str, base: Path) -> Source:
    try:
        return SOURCES[kind].open_source(options(kind), base)
    except OSError as error:
        pytest.fail(f"open_source of {kind} must not read: the hub calls it before its event loop runs. {error!r}")


async def outcome(source: Source, name: str) -> Account | None:
    """Return what a lookup returns, or None if the source is down.  Any other exception is an error of the source."""
    return await answered(source.lookup(name))


async def answered(asked: Awaitable[V]) -> V | None:
    try:
        return await asked
    except SourceDown as down:
        assert str(down), "without a sentence an administrator cannot find the cause"
        return None
    except OSError as error:
        pytest.fail(f"raise SourceDown with a sentence instead of {error!r}")


@each_source
def test_golden_settings(kind: str, golden: Callable[[str], Any]) -> None:
    assert SOURCES[kind].Options.model_json_schema() == golden(f"sources/{kind}")


@each_source
def test_module_has_every_member_and_its_file_is_named_after_its_kind(kind: str) -> None:
    check_module(SOURCES[kind], kind, SourceKind)


def test_every_module_of_the_package_is_registered() -> None:
    check_all_registered(identity, sources._MODULES)


@pytest.mark.parametrize("member", members(SourceKind))
def test_contributing_guide_names_every_member(member: str) -> None:
    check_guide_names(member, "How to add an identity source")


@each_source
def test_source_has_a_test_file_of_its_own(kind: str) -> None:
    """The tests here have no service to ask, so they see no account; that file tests found, unknown and down."""
    name = f"test_identity_{kind.replace('-', '_')}.py"
    assert (Path(__file__).parent / name).is_file(), f"write tests/{name}: CONTRIBUTING.md lists its cases"


@each_source
def test_options_accept_only_their_own_kind_and_known_keys(kind: str) -> None:
    model = SOURCES[kind].Options
    assert get_args(model.model_fields["kind"].annotation) == (kind,), f"Options: kind must be Literal[{kind!r}]"
    for wrong in ({"kind": "other"}, {"no-such-option": 1}):
        with pytest.raises(ValidationError):
            model.model_validate({**SOURCES[kind].EXAMPLE, **wrong})


@each_source
def test_every_option_has_a_title_and_a_description_or_an_example(kind: str) -> None:
    check_described(SOURCES[kind].Options)


@each_source
def test_site_accepts_the_example(kind: str) -> None:
    settings = IdentitySettings.model_validate({"sources": {"example": SOURCES[kind].EXAMPLE}})
    assert type(settings.sources["example"]) is SOURCES[kind].Options
    assert settings.sources["example"] == options(kind)


@each_source
def test_opening_reads_nothing_and_lookup_is_a_coroutine(kind: str, tmp_path: Path) -> None:
    source = opened(kind, tmp_path / "no-such-directory")
    for method in (source.lookup, source.gids):
        assert inspect.iscoroutinefunction(method), f"{kind}: write `async def {method.__name__}`"


@each_source
@pytest.mark.parametrize("name", ["no-such-user", "", "nul\0", "a" * 5000, "ö", "a/../b", "a:b", "-", "*"])
async def test_lookup_of_a_name_that_no_source_has_is_none_or_source_down(kind: str, name: str, tmp_path: Path) -> None:
    assert await outcome(opened(kind, tmp_path), name) is None


@each_source
async def test_gids_has_no_group_that_no_source_has(kind: str, tmp_path: Path) -> None:
    groups = ["no-such-group", "", "a/../b", "*"]
    assert not await answered(opened(kind, tmp_path).gids(groups))


@each_source
def test_reading_entries_without_the_files_returns_the_reason(kind: str, tmp_path: Path) -> None:
    """`research-spawner lint` prints it.  A source whose accounts are in the settings, or elsewhere, has no problem."""
    found = SOURCES[kind].read_entries(options(kind), tmp_path / "no-such-directory")
    assert all(str(problem) for problem in found.problems)
