"""Settings, values and commands in the inline code of the documentation exist, with these values and options."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import command_reference
import jsonschema
import pytest
import samples
import settings_reference
import yaml
from doc_pages import PAGES, TREE, without_blocks

from jupyter_research_spawner.site import Site, values_schema

Json = dict[str, Any]
PREFIX = ("custom", "research")
CHART_SCHEMA: Json = json.loads((samples.DATA / "z2jh-values.schema.json").read_text())
SETTINGS_SCHEMA = values_schema()

INLINE = [(page, code) for page in PAGES for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", without_blocks(page))]


def of_pages(found: Iterator[tuple[Any, str]]) -> list[Any]:
    return [pytest.param(code, id=f"{page.relative_to(TREE)}-{code}") for page, code in dict.fromkeys(found)]


# Settings, and values of the chart

# A dotted path, with names in brackets or NAME for what a site chooses, and perhaps a value.
PATH = re.compile(r"([A-Za-z]\w*(?:\.(?:[\w-]+|<\w+>)(?:\[[\w-]+\])?)+)(?:: (.+))?")
FILE = re.compile(r"\.(py|md|yaml|yml|sh|html|cfg|lock|toml|json|css|js)$")
# Settings of profiles and classes can be named without the profile or the class.
OF_PROFILES_AND_CLASSES = {"gpu", "jobs", "pod", "roster", "staff"}
# Other things with such a name.
OTHERS = {"jobs.batch": "a resource of Kubernetes", "pod.overlay.literal": "a function", "storage.py": "a module"}


def all_settings(found: Any = None) -> Iterator[tuple[str, ...]]:
    """Return the path of every setting and group of settings, without the kinds in brackets."""
    for setting in settings_reference.settings() if found is None else found:
        yield tuple(re.sub(r"\[.*?\]", "", setting.path).split("."))
        yield from all_settings(setting.children)


def kinds_of_settings(found: Any = None) -> set[str]:
    """Return the paths of the settings that have a kind in brackets."""
    of_all = settings_reference.settings() if found is None else found
    below = {path for setting in of_all for path in kinds_of_settings(setting.children)}
    return below | {setting.path for setting in of_all if "[" in setting.path}


SETTINGS = set(all_settings())
WITH_KIND = kinds_of_settings()
ROOTS = set(Site.model_fields)


def paths_in(code: str) -> Iterator[tuple[str, Any]]:
    """Yield the path and the value in the code, if it is a path of settings or of the chart's values."""
    found = PATH.fullmatch(code)
    if found is not None and not FILE.search(found[1]) and code not in OTHERS:
        root = found[1].partition(".")[0]
        if root in {*ROOTS, *OF_PROFILES_AND_CLASSES, *CHART_SCHEMA["properties"]}:
            yield found[1], found[2]


def is_setting(path: tuple[str, ...]) -> bool:
    """Return whether a setting has this path, or this end of a path if the path begins in a profile or class."""
    is_end = path[0] in OF_PROFILES_AND_CLASSES and path[0] not in ROOTS

    def matches(known: tuple[str, ...]) -> bool:
        compared = known[-len(path) :] if is_end else known
        return len(compared) == len(path) and all(
            one in (other, settings_reference.KEY) for one, other in zip(compared, path, strict=True)
        )

    return any(map(matches, SETTINGS))


def is_value_of_chart(path: tuple[str, ...], schema: Json = CHART_SCHEMA) -> bool:
    """Return whether the chart has a value at this path; below maps of which it knows no keys, everything is."""
    if not path:
        return True
    known = schema.get("properties", {})
    if path[0] in known:
        return is_value_of_chart(path[1:], known[path[0]])
    of_pattern = any(re.search(pattern, path[0]) for pattern in schema.get("patternProperties", {}))
    return of_pattern or schema.get("additionalProperties", not known) is not False


def wrong(code: str) -> str:
    """Return what is wrong with a path of settings or values, and with the value after it; "" if nothing is."""
    for written, text in paths_in(code):
        path = tuple(re.sub(r"\[.*?\]", "", written).split("."))
        of_settings = path[2:] if path[:2] == PREFIX else path
        exists = [
            *([PREFIX] if not of_settings or is_setting(of_settings) else []),
            *([()] if path[:2] != PREFIX and is_value_of_chart(path) else []),
        ]
        if not exists or ("[" in written and written.removeprefix("custom.research.") not in WITH_KIND):
            return f"{written} does not exist"
        if text is not None and "..." not in text and path[0] not in OF_PROFILES_AND_CLASSES:
            document = yaml.safe_load(text)
            for key in reversed((*exists[0], *(of_settings if exists[0] else path))):
                document = {"name" if key == settings_reference.KEY else key: document}
            schema = SETTINGS_SCHEMA if exists[0] else CHART_SCHEMA
            errors = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]
            return "; ".join(error for error in errors if "required" not in error)
    return ""


NAMED = of_pages((page, code) for page, code in INLINE if any(paths_in(code)))


@pytest.mark.parametrize("code", NAMED)
def test_a_setting_or_value_exists(code: str) -> None:
    assert wrong(code) == ""


def test_settings_and_values_are_found() -> None:
    assert len(NAMED) > 80


@pytest.mark.parametrize(
    "code",
    [
        "custom.research.hub.concurrent_start",
        "queues.NAME.kueue.queue",
        "profiles.NAME.walltime",
        "profiles.NAME.gpu[a100].resource",
        "jobs.wall_time_soft",
        "singleuser.gid",
        "hub.first_notices",
        "hub.unclaimed_pods: maybe",
        "singleuser.storage.type: nfs",
    ],
)
def test_what_does_not_exist_is_found(code: str) -> None:
    assert wrong(code) != ""


# Commands and options

PROGRAMS = {"research-spawner": command_reference.research_spawner(), "job": command_reference.job()}
OPTION = re.compile(r"--?[a-z][a-z-]*")
# Options of sbatch, kubectl, helm, buildah, cp and find, which pages compare with or explain.
OF_OTHER_PROGRAMS = {
    *("--account", "--begin", "--chdir", "--cpus-per-task", "--dependency", "--distribution", "--export", "--gres"),
    *("--job-name", "--mail-type", "--mem", "--nodes", "--output", "--partition", "--qos", "--time", "--uid"),
    *("--build-arg", "--dry-run", "--update-pod-eviction-condition", "--validate", "-execdir", "-xdev"),
}


def of_command(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser | None:
    """Return the parser of a command; None if the program does not have it."""
    return next((found for found in command_reference.commands(parser) if found.prog.split()[-1] == name), None)


def unknown_words(words: list[str]) -> list[str]:
    """Return the words of a command line that name a command or an option that this program does not have."""
    parser = of_command(PROGRAMS[words[0]], words[1])
    if parser is None:
        return [words[1]]
    own = words[2 : words.index("--")] if "--" in words else words[2:]
    options = [word.partition("=")[0] for word in own if word.startswith("-") and word != "-"]
    return [option for option in options if option not in parser._option_string_actions]


def command_lines() -> Iterator[tuple[Any, str]]:
    for page, code in INLINE:
        if re.match(rf"({'|'.join(PROGRAMS)}) ", code):
            yield page, code


@pytest.mark.parametrize("code", of_pages(command_lines()))
def test_a_command_and_its_options_exist(code: str) -> None:
    assert unknown_words(shlex.split(code.partition(" < ")[0].partition(" | ")[0])) == []


@pytest.mark.parametrize(
    "code", of_pages((page, code) for page, code in INLINE if OPTION.match(code) and not code.startswith("-- "))
)
def test_an_option_is_one_of_a_program(code: str) -> None:
    known = {
        option
        for program in PROGRAMS.values()
        for parser in command_reference.commands(program)
        for option in parser._option_string_actions
    }
    named = {found[0] for word in code.split() if (found := OPTION.match(word)) is not None}
    assert named - known - OF_OTHER_PROGRAMS == set()


def test_commands_are_found() -> None:
    assert len(of_pages(command_lines())) > 25
    assert unknown_words(["research-spawner", "lint", "--formats", "json"]) == ["--formats"]
    assert unknown_words(["job", "submitt", "--wait"]) == ["submitt"]
    assert unknown_words(["job", "submit", "--wait", "--", "train", "--epochs"]) == []
