"""Every code block of the documentation is checked as what it is: settings, values, commands, Python, JSON, HTML."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import command_reference
import jinja2
import jsonschema
import pytest
import samples
import yaml
from doc_pages import TREE, Block, blocks
from helm_files import BASE, CLASSES, OTHERS, STORAGE, VALUES
from jupyterhub.app import JupyterHub

import jupyter_research_spawner
from jupyter_research_spawner.chart_values import chart_defaults
from jupyter_research_spawner.cli.chart_lint import check_chart
from jupyter_research_spawner.client.research_jobs import command
from jupyter_research_spawner.settings import merge, read
from jupyter_research_spawner.site import Site, values_schema
from jupyter_research_spawner.site.site_settings import Hub

BLOCKS = list(blocks())
SHELL = {"sh", "bash", "shell", "console"}
# What programs print: test_docs_output.py compares it.
OUTPUT = {"text", ""}
CHECKED = {"yaml", "python", "json", "html", "dockerfile", *SHELL}


def of(*languages: str) -> list[Any]:
    found = [block for block in BLOCKS if block.language in languages]
    assert found, languages
    return [pytest.param(block, id=block.id) for block in found]


def test_every_block_has_a_language_that_is_checked() -> None:
    assert {block.id: block.language for block in BLOCKS if block.language not in CHECKED | OUTPUT} == {}
    assert len(BLOCKS) > 60


# Settings and values

SETTINGS = set(Site.model_fields)
# Files of other programs, by a key at their top.
OTHER_PROGRAMS = {"scrape_configs": "Prometheus", "jobs": "a workflow of a repository", "accessControl": "YuniKorn"}
VALUES_KEYS = set(chart_defaults()) | {"custom"}


def documents(block: Block) -> list[Any]:
    return [document for document in yaml.safe_load_all(block.text) if document is not None]


def form_of(document: Any) -> str:
    """Return what a YAML document is: `object` of Kubernetes, `values`, `settings` or `other` for other programs."""
    keys = set(document)
    if {"apiVersion", "kind"} <= keys:
        return "object"
    if keys & OTHER_PROGRAMS.keys():
        return "other"
    # `hub` is a key of both.
    if keys <= SETTINGS and set(document.get("hub", ())) <= Hub.model_fields.keys():
        return "settings"
    return "values" if keys <= VALUES_KEYS else f"unknown keys: {sorted(map(str, keys - SETTINGS - VALUES_KEYS))}"


@pytest.mark.parametrize("block", of("yaml"))
def test_yaml_is_of_a_known_form(block: Block) -> None:
    assert {form_of(document) for document in documents(block)} <= {"object", "values", "settings", "other"}


def with_form(form: str) -> list[Any]:
    return [
        pytest.param(document, id=f"{block.id}-{number}")
        for block in BLOCKS
        if block.language == "yaml"
        for number, document in enumerate(documents(block))
        if form_of(document) == form
    ]


@pytest.mark.parametrize("document", with_form("settings"))
def test_settings_are_valid_in_parts(document: Any) -> None:
    schema = values_schema()
    as_json = json.loads(json.dumps(document, default=str))
    jsonschema.Draft202012Validator(schema).validate({"custom": {"research": as_json}})


@pytest.mark.parametrize("document", with_form("values"))
def test_values_pass_lint_with_those_of_helm_values(document: Any) -> None:
    found = merge(*map(read, (BASE, *OTHERS, *STORAGE, *CLASSES)), document)
    assert check_chart(found, samples.NOW, VALUES).problems == []


@pytest.mark.parametrize("document", with_form("object"))
def test_an_object_of_kubernetes_has_a_name(document: Any) -> None:
    assert document["metadata"]["name"]
    may_be_short = ("Namespace", "PriorityClass", "ResourceFlavor", "Role")
    assert "spec" in document or "data" in document or document["kind"] in may_be_short


# Commands

PARSERS: dict[str, Callable[[list[str]], Any]] = {
    "research-spawner": lambda arguments: command_reference.research_spawner().parse_args(arguments),
    # With the words after `--`, which its parser does not see.
    "job": lambda arguments: command._parse(command_reference.job(), arguments),
}
# Files that the reader writes.
OWN_FILES = {
    "site.yaml",
    "values.yaml",
    "hub.yaml",
    "my-chart/values.yaml",
    "campus.yaml",
    "general.yaml",
    "restricted.yaml",
}


def commands_of(block: Block) -> Iterator[list[str]]:
    """Return the simple commands of a block, each as its words, without redirections."""
    text = block.text
    if block.language == "console":
        text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
    words = shlex.shlex(text.replace("\\\n", " ").replace("\n", "\n;\n"), posix=True, punctuation_chars="|;&<>()")
    words.whitespace_split = True
    words.commenters = "#"
    simple: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in ("<", ">", ">>", "2>"):
            skip = True
        elif set(word) <= set("|;&()<>"):
            yield simple
            simple = []
        else:
            simple.append(word)
    yield simple


def ours_in(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Return the name and the arguments of each command of this package."""
    for words in commands_of(block):
        for position, word in enumerate(words):
            name = word.rpartition("/")[2]
            if name == "research-spawner" or (name == "job" and position == 0):
                yield name, words[position + 1 :]
                break


def error_of(name: str, arguments: list[str]) -> str:
    """Return what the command's parser prints about arguments that it refuses, and "" if it accepts them."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            PARSERS[name](arguments)
        except SystemExit as ended:
            return said.getvalue() if ended.code else ""
    return ""


@pytest.mark.parametrize("block", of(*SHELL))
def test_the_shell_can_parse_it(block: Block) -> None:
    if block.language != "console":
        ended = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("block", of(*SHELL))
def test_the_commands_of_this_package_have_these_options(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "has_unread_input", lambda: False)
    for name, arguments in ours_in(block):
        assert error_of(name, arguments) == "", (name, arguments)


def test_commands_of_this_package_are_found() -> None:
    found = [name for block in BLOCKS if block.language in SHELL for name, _ in ours_in(block)]
    assert found.count("research-spawner") > 15
    assert found.count("job") > 10


@pytest.mark.parametrize("block", of(*SHELL))
def test_files_of_values_exist_or_are_the_readers_own(block: Block) -> None:
    for words in commands_of(block):
        if any(word.rpartition("/")[2] in ("research-spawner", "helm") for word in words):
            named = {file for flag, file in pairwise(words) if flag in ("-f", "--values")}
            of_values = sorted(named - OWN_FILES - {"-"})
            assert [file for file in of_values if not any((start / file).is_file() for start in (VALUES, TREE))] == []


@pytest.mark.parametrize("block", of(*SHELL))
def test_a_make_target_exists(block: Block) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (TREE / "Makefile").read_text(), re.MULTILINE))
    for words in commands_of(block):
        if words[:1] == ["make"]:
            assert {word for word in words[1:] if "=" not in word} <= targets


# Other languages


@pytest.mark.parametrize("block", of("python"))
def test_python_compiles_and_names_only_what_exists(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            assert owner != "jupyter_research_spawner" or hasattr(jupyter_research_spawner, node.attr)
            assert owner not in CONFIGURED or node.attr in CONFIGURED[owner].class_trait_names(config=True)


CONFIGURED: dict[str, Any] = {
    "c.JupyterHub": JupyterHub,
    "c.KubeSpawner": jupyter_research_spawner.ResearchSpawner,
    "c.ResearchSpawner": jupyter_research_spawner.ResearchSpawner,
    "c.SiteSpawner": jupyter_research_spawner.ResearchSpawner,
    "c.Spawner": jupyter_research_spawner.ResearchSpawner,
}


@pytest.mark.parametrize("block", of("json"))
def test_json_parses(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", of("html"))
def test_a_template_parses(block: Block) -> None:
    jinja2.Environment(autoescape=True).parse(block.text)


INSTRUCTIONS = {"FROM", "USER", "RUN", "COPY", "ENV", "ARG", "WORKDIR", "ENTRYPOINT", "CMD", "LABEL"}


@pytest.mark.parametrize("block", of("dockerfile"))
def test_a_containerfile_has_a_base_and_known_instructions(block: Block) -> None:
    lines = [line for line in block.text.replace("\\\n", " ").splitlines() if line.strip() and line[0] != "#"]
    assert lines[0].startswith(("FROM ", "ARG "))
    assert {line.split()[0] for line in lines} <= INSTRUCTIONS
