"""The command research-spawner.  It exits with 1 for a refusal or invalid settings, and with 2 for wrong usage."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn, TypeAlias

from ..chart_values import has_hub, missing_package
from ..jobs import KINDS
from ..refusal import Refusal
from ..settings import Document, SettingsError
from ..settings.problems import Problem, located
from ..site import json_schema, values_schema
from . import manifests_command, try_command
from .accept_uid import accept_uid, parse_uid
from .files import SettingsFile, SettingsFiles, base_of, merge_documents, merged_values, read_documents
from .init_command import first_site
from .lint import as_json, checked, report
from .output import Differs, wrapped

REFUSED, USAGE = 1, 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, wrapped(f"{self.prog}: {message}.\nSee {self.prog} --help.") + "\n")


class _CommandsFormatter(argparse.HelpFormatter):
    """Puts each command's help beside its name.  argparse forgets that commands are indented further than options."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            names = [f"{'':{self._current_indent + self._indent_increment}}{name}" for name in action.choices]
            self._action_max_length = max(self._action_max_length, *map(len, names))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the console script and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Words after `--` belong to the job's command, even if they look like options.
    at = arguments.index("--") if "--" in arguments else len(arguments)
    parser = _parser()
    options = parser.parse_args(arguments[:at])
    options.command = arguments[at + 1 :]
    if options.command and not getattr(options, "job", None):
        parser.error("a command after -- is only possible with `render --job`")
    try:
        result = options.run(options)
        if isinstance(result, int):  # the command has printed its own output
            return result
        print(result)
        sys.stdout.flush()
    except SettingsError as error:
        if getattr(options, "format", "text") == "json":
            print(as_json(error.problems))
        else:
            print(error, file=sys.stderr)
        return REFUSED
    except Differs as differing:
        print(differing)
        return REFUSED
    except Refusal as refusal:
        print(wrapped(str(refusal)), file=sys.stderr)
        return REFUSED
    except BrokenPipeError:
        # The reader has closed the pipe (`| head`).  Without this, Python would report the error again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="research-spawner",
        description="Checks and explains a site's settings.",
        formatter_class=_CommandsFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('jupyter-research-spawner')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _render(commands)
    _lint(commands)
    _manifests(commands)
    _accept_uid(commands)
    _try(commands)
    _schema(commands)
    _init(commands)
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


def _render(commands: Commands) -> None:
    parser = commands.add_parser(
        "render",
        help="print the pod or job that would be created for a user, and why",
        description="Prints the pod that the hub would create for a notebook, or the object of a batch job (--job).",
    )
    _site(parser)
    parser.add_argument("--user", required=True, metavar="NAME", help="the user's name in the hub")
    for name, what in (
        ("profile", "requested profile"),
        ("queue", "requested queue"),
        ("class", "requested class (notebooks only)"),
        ("wall-time", "requested wall time, for example 8h"),
        ("image", "requested image"),
        ("server", "name of a named server (notebooks only)"),
    ):
        parser.add_argument(f"--{name}", metavar=name.upper(), help=what)
    parser.add_argument(
        "--job",
        nargs="?",
        const="job",
        choices=sorted(KINDS),
        metavar="KIND",
        help=f"render a batch job of this kind ({', '.join(sorted(KINDS))}; default: job); the command follows --",
    )
    parser.add_argument(
        "--field",
        action="append",
        type=_field,
        default=[],
        metavar="NAME=VALUE",
        help="a field of this kind of job, for example array=0-9%%3; a value that is not a string is JSON",
    )
    parser.add_argument(
        "--why", action="store_true", help="print the reason for each part of the plan as comments before the manifest"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="jupyterhub_config.py with KubeSpawner's settings and hooks; render executes this file and runs its hooks",
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("yaml", "json", "diff"),
        default="yaml",
        help="diff: compare the pod with that of the user in the cluster, which KUBECONFIG names, and exit with 1 if "
        "they differ (default: yaml)",
    )
    parser.set_defaults(run=lambda options: _rendered(parser, options))


def _rendered(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    # The import of KubeSpawner and the hub takes two seconds, and the other commands do not need them.
    from .render_command import rendered  # noqa: PLC0415

    return rendered(parser, options)


def _lint(commands: Commands) -> None:
    parser = commands.add_parser(
        "lint",
        help="check settings; print all mistakes, or a summary and advice if there are none",
        description="Prints all mistakes and exits with 1. If there are none, prints a summary with advice. Helm "
        "values with hub or singleuser are checked as the hub reads them: lint executes the programs in "
        "hub.extraConfig, and composes a notebook of every profile.",
    )
    _site(parser)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="jupyterhub_config.py with KubeSpawner's settings and hooks; lint executes this file and runs its "
        "hooks, to compose a notebook of every profile",
    )
    parser.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="json: an object with valid, problems and advice, each with path, message, file and line (default: text)",
    )
    parser.set_defaults(run=_linted)


def _linted(options: argparse.Namespace) -> str:
    now = datetime.now(timezone.utc)
    files, advice, problems = checked_files(options, now, uses_image=True)
    try:
        with files.locating():
            advice = checked(files.site, now, files.base, advice, files.places)
    except SettingsError as error:
        raise SettingsError([*error.problems, *problems]) from None
    if problems:
        raise SettingsError(problems)
    if options.format == "json":
        return as_json(replace(one, is_advice=True) for one in advice)
    return report(files.site, advice)


def checked_files(
    options: argparse.Namespace, now: datetime, *, uses_image: bool
) -> tuple[SettingsFiles, list[Problem], list[Problem]]:
    """Return the settings, with advice and problems of the hub's configuration beside them.

    uses_image: whether the hub runs in the image that the values name.
    Raises SettingsError with all problems if the settings are not valid.
    """
    documents = read_documents(options.files)
    of_image = _problems_of_image(options, documents) if uses_image else []
    try:
        files = merge_documents(options.files, documents)
    except SettingsError as error:
        beside = _problems_beside_settings(options, documents, now)
        raise SettingsError([*error.problems, *of_image, *beside]) from None
    advice: list[Problem] = []
    problems: list[Problem] = []
    try:
        if options.config is not None:
            from .render_command import try_profiles  # noqa: PLC0415 - as for `render`

            with files.locating():
                advice = try_profiles(files.site, options.config, files.base)
            if has_hub(files.values):
                why = (
                    f"hub and singleuser in the values are not checked, because --config {options.config} replaces them"
                )
                advice = [*advice, Problem("", why)]
        elif has_hub(files.values):
            from .chart_lint import try_chart  # noqa: PLC0415 - as for `render`

            with located(files.places_of_values):
                advice = [one.located(files.places_of_values) for one in try_chart(files.values, now, files.base)]
    except SettingsError as error:
        problems = error.problems
    return files, advice, [*of_image, *problems]


def _try(commands: Commands) -> None:
    parser = commands.add_parser(
        "try",
        help="run a hub with these settings on this machine, or check that each offer starts",
        description="Runs JupyterHub with your own settings on an embedded cluster of this machine, on 127.0.0.1 only "
        "and in a temporary directory. Notebooks are processes of this machine. Choose a user in the browser instead "
        "of a login. Ctrl-C stops everything and removes the directory. Executes the programs in the values, as lint.",
    )
    _site(parser)
    try_command.add_options(parser)
    parser.set_defaults(run=lambda options: _tried(parser, options))


def _tried(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    try_command.check_requirements()
    files, _, problems = checked_files(options, datetime.now(timezone.utc), uses_image=False)
    if problems:
        raise SettingsError(problems)
    return try_command.run(parser, options, files)


def _problems_beside_settings(
    options: argparse.Namespace, documents: Sequence[Document], now: datetime
) -> list[Problem]:
    """Return the problems of helm values whose settings are not valid, other than those of the settings."""
    values, places = merged_values(documents)
    if options.config is not None or not has_hub(values):
        return []
    from .chart_lint import try_chart, with_valid_settings  # noqa: PLC0415 - as for `render`

    try:
        try_chart(with_valid_settings(values), now, base_of(options.files))
    except SettingsError as error:
        return error.located(places).problems
    return []


def _problems_of_image(options: argparse.Namespace, documents: Sequence[Document]) -> list[Problem]:
    """Return the problem that the image of the hub does not contain this package, if that is known."""
    values, places = merged_values(documents)
    problem = missing_package(values) if options.config is None and has_hub(values) else None
    return [] if problem is None else [problem.located(places)]


def _schema(commands: Commands) -> None:
    parser = commands.add_parser(
        "schema",
        help="print the JSON schema of the settings, for editors",
        description="Prints the JSON schema of complete settings. An editor with the YAML language server reads its "
        "file name from the first line of a file: # yaml-language-server: $schema=FILE",
    )
    parser.add_argument(
        "--values", action="store_true", help="for files of helm values, each of which can have a part of the settings"
    )
    parser.set_defaults(run=lambda options: json.dumps(values_schema() if options.values else json_schema(), indent=2))


def _init(commands: Commands) -> None:
    parser = commands.add_parser(
        "init",
        help="write a first site.yaml with comments, which lint accepts",
        description="Prints a first site.yaml with comments, or writes it to FILE if there is no such file.",
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the file to write (default: print it)")
    parser.set_defaults(run=first_site)


def _manifests(commands: Commands) -> None:
    parser = commands.add_parser(
        "manifests",
        help="print the objects that the cluster needs, for kubectl apply",
        description="Prints PriorityClasses, queues, ResourceClaimTemplates, the ConfigMaps that notebooks mount, RBAC "
        "rules, network policies and the batch service. With --diff it compares them with the cluster.",
    )
    _site(parser)
    manifests_command.add_options(parser)
    _output(parser)
    parser.set_defaults(run=lambda options: manifests_command.printed(parser, options))


def _accept_uid(commands: Commands) -> None:
    parser = commands.add_parser(
        "accept-uid",
        help="accept a planned change of a user's uid, or the uid of a renamed user",
        description="Lets a user in whose uid has changed (uid-changed), or whose uid belonged to another hub user "
        "(uid-taken). Run it after the change in the directory. It writes to the ConfigMap research-accepted-uids in "
        "the namespace of the pods, with your own rights there: KUBECONFIG says where the cluster is.",
    )
    _site(parser)
    parser.add_argument("--user", required=True, metavar="NAME", help="the user's name in the hub, the new one")
    parser.add_argument("--uid", required=True, type=parse_uid, metavar="UID", help="the uid that the user has now")
    parser.set_defaults(run=accept_uid)


def _site(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the settings."""
    files = parser.add_mutually_exclusive_group(required=True)
    files.add_argument(
        "--site",
        dest="files",
        action="append",
        type=SettingsFile.of_settings,
        metavar="FILE",
        help="settings, or helm values with settings under custom.research; a later file overrides earlier files. "
        "Relative paths in the settings are relative to the directory of the first file",
    )
    files.add_argument(
        "-f",
        "--values",
        dest="files",
        action="append",
        type=SettingsFile.of_values,
        metavar="FILE",
        help="helm values, as for helm, with settings under custom.research in at least one of the files; a later file "
        "overrides earlier files, and null deletes a key. - is the standard input",
    )


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", choices=("yaml", "json"), default="yaml", help="default: yaml")


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value
