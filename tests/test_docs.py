"""The reference pages are complete, and the prose names only files, make targets and settings that exist."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import command_reference
import pytest
import settings_reference
from pydantic import BaseModel

from jupyter_research_spawner.site import Site

TREE = Path(__file__).parents[1]
PAGES = [
    TREE / "README.md",
    TREE / "CONTRIBUTING.md",
    *(page for page in (TREE / "docs").rglob("*.md") if "_build" not in page.parts),
]
TEXTS = [pytest.param(page, id=str(page.relative_to(TREE))) for page in PAGES]
BUILT = {"node_modules", "_build", "__pycache__", ".git", ".venv", ".cluster", ".demo"}


def models_below(annotation: Any, path: str) -> Iterator[tuple[type[BaseModel], str]]:
    """Return the models that a value of this type holds, each with its path."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from models_below(get_args(annotation)[0], path)
    elif origin in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from models_below(option, path)
    elif origin is dict:
        yield from models_below(get_args(annotation)[1], f"{path}.NAME")
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, path


def leaves(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Return the path of every setting without settings below it, and of every model without settings."""
    if not model.model_fields:
        yield path
    for name, field in model.model_fields.items():
        key = f"{path}.{field.alias or name}".lstrip(".")
        below = list(models_below(field.annotation, key))
        if not below:
            yield key
        for part, at in below:
            yield from leaves(part, at)


def documented() -> list[str]:
    return re.findall(r"^````\{confval\} (\S+)$", settings_reference.markdown(), re.MULTILINE)


def test_every_setting_has_an_entry() -> None:
    expected = set(leaves(Site)) | {"profiles.NAME.like", "classes.NAME.like"}  # resolved before the model sees them
    without_kinds = {re.sub(r"\[[^]]*\]", "", path) for path in documented()}
    assert without_kinds == expected


def test_every_entry_has_an_anchor_of_its_own() -> None:
    anchors = re.findall(r"^\((setting-\S+)\)=$", settings_reference.markdown(), re.MULTILINE)
    assert len(anchors) == len(set(anchors))
    assert {"setting-profiles-name-gpu-mig--resource", "setting-batch-url", "setting-queues-name-kueue"} <= set(anchors)


def test_an_entry_says_type_default_title_description_and_example() -> None:
    [setting] = [
        found for found in settings_reference.leaves(settings_reference.settings()) if found.path == "batch.url"
    ]
    assert settings_reference._entry(setting) == [
        "(setting-batch-url)=",
        "````{confval} batch.url",
        ":type: text",
        ":default: not set",
        "",
        "URL of the batch service for notebooks.",
        "",
        "If it is not set, notebooks have no `job` command.",
        "",
        "```yaml",
        "url: http://proxy-public/services/batch",
        "```",
        "",
        "````",
        "",
    ]


def test_every_entry_says_what_may_be_written_in_words() -> None:
    types_of = re.findall(r"^:type: (.*)$", settings_reference.markdown(), re.MULTILINE)
    assert len(types_of) == len(documented())
    assert not [text for text in types_of if "^" in text or "$" in text or not text.strip()]


@pytest.mark.parametrize("parser", [command_reference.research_spawner(), command_reference.job()], ids=["site", "job"])
def test_every_option_of_a_command_is_in_its_reference(parser: Any) -> None:
    text = command_reference.markdown(parser)
    found = [parser, *command_reference.commands(parser)]
    assert len(found) > 3
    for command in found:
        assert f"```{{program}} {command.prog}\n" in text
        for action in command_reference.options(command):
            name = (action.option_strings or [action.metavar])[0]
            assert f"```{{option}} {name}" in text


def repository() -> list[str]:
    """Return every file and directory of the repository, directories with a slash at their end."""
    found: list[str] = []
    below = [TREE]
    while below:
        for path in below.pop().iterdir():
            if path.name in BUILT:
                continue
            found.append(f"{path.relative_to(TREE)}{'/' if path.is_dir() else ''}")
            if path.is_dir() and not path.is_symlink():
                below.append(path)
    return found


# What commands write: not in a fresh clone.
WRITTEN = [".test-times/", "dist/", "tests/cluster/thorough.yaml"]
# Scripts that are code blocks of docs/how-to/roll-out.md.
WRITTEN += ["chown-homes.sh", "chown-homes-job.yaml", "copy-home.sh", "members.sh"]
# Examples of files that a reader has or writes.
OF_READERS = [
    *("values.yaml", "volumes.yaml", "hub-database.yaml", "campus.yaml", "general.yaml", "restricted.yaml"),
    *("templates/home.html", "script.sh", "site.yaml"),
]
FILES = [*repository(), *WRITTEN, *OF_READERS]
PATH = re.compile(
    r"[a-z.][a-z0-9_.-]*(/[a-z0-9_.-]+)*/|[\w.*-]+(/[\w.*-]+)*\.(py|md|yaml|yml|sh|toml|cfg|svg|lock|ipynb|html|json|css|js|txt|po|Containerfile)"
)


def named_paths(text: str) -> list[str]:
    quoted = [word for code in re.findall(r"`([^`\n]+)`", text) for word in re.split(r"[\s=:,]+", code)]
    return [word for word in quoted if PATH.fullmatch(word) and not re.search("NAME|MODULE|KIND", word)]


@pytest.mark.parametrize("page", TEXTS)
def test_every_path_that_is_named_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    missing = [
        path
        for path in named_paths(text)
        if not any(fnmatch(file, path) or fnmatch(file, f"*/{path}") for file in FILES)
    ]
    assert missing == []


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_to_a_file_has_its_target(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", TEXTS)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (TREE / "Makefile").read_text(), re.MULTILINE))
    # In code only: prose also makes things.
    code = "\n".join(re.findall(r"`+[^`]+`+", page.read_text()))
    assert set(re.findall(r"(?<![\w-])make ([a-z][a-z-]*)", code)) <= targets


@pytest.mark.parametrize("page", TEXTS)
def test_every_setting_that_is_linked_exists(page: Path) -> None:
    anchors = settings_reference.markdown()
    linked = re.findall(r"#(setting-[a-z0-9-]+)", page.read_text())
    assert [anchor for anchor in linked if f"({anchor})=" not in anchors] == []
