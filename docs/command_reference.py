"""Write the reference of a command as MyST Markdown, from its argparse parser."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

from jupyter_research_spawner.cli.main import _parser as research_spawner
from jupyter_research_spawner.client.research_jobs.command import _parser as job


def markdown(parser: argparse.ArgumentParser, level: int = 2) -> str:
    """Return usage, description and every option of a command and of its subcommands."""
    # argparse wraps its usage to the terminal and colours it; the page has neither.
    os.environ.update(COLUMNS="80", NO_COLOR="1")
    return "\n".join(_command(parser, level, is_top=True))


def research_spawner_markdown() -> str:
    """Return the reference of `research-spawner`."""
    return markdown(research_spawner())


def job_markdown() -> str:
    """Return the reference of `job`."""
    return markdown(job())


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Return the parsers of a command's subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Return a parser's options and arguments, without --help and the choice of a subcommand."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
            yield action


def _command(parser: argparse.ArgumentParser, level: int, *, is_top: bool) -> Iterator[str]:
    if not is_top:
        yield f"{'#' * level} `{parser.prog}`\n"
    if parser.description:
        yield f"{parser.description.strip()}\n"
    yield f"```text\n{parser.format_usage().strip()}\n```\n"
    yield f"```{{program}} {parser.prog}\n```\n"
    formatter = parser._get_formatter()
    for action in options(parser):
        yield f"```{{option}} {_written(action)}\n{formatter._expand_help(action) if action.help else ''}\n```\n"
    for below in commands(parser):
        yield from _command(below, level, is_top=False)
    if parser.epilog:
        yield f"```text\n{parser.epilog.strip()}\n```\n"


def _written(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar or action.dest)
    metavar = " ".join(action.metavar) if isinstance(action.metavar, tuple) else action.metavar
    value = "" if action.nargs == 0 else f" {metavar or '{' + ','.join(map(str, action.choices or ())) + '}'}"
    return ", ".join(f"{option}{value}" for option in action.option_strings)
