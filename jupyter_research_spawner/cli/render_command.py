"""Compose manifests for `render` and `lint --config`, with the same code as the hub and the batch service."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
import uuid
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from traitlets.config import Config

from ..configuration.whole_check import check_configuration
from ..identity import Resolver, answers
from ..jobs import KINDS, parse_submission
from ..manifests import place_of
from ..plan import Plan, plan
from ..pod import check, compose
from ..pod.adoption import differences
from ..pod.yaml_text import as_text
from ..refusal import Refusal
from ..schedulers import SCHEDULERS
from ..settings import SettingsError
from ..settings.problems import Problem
from ..shape import Json
from ..site import Site
from ..spawner import HookError, render_notebook
from ..watch.api_server import ApiError
from ..wording import quote
from .cluster_connection import api_server
from .files import read_config, read_files
from .output import Differs, stacked
from .why import explained

# Refusals about which the sources of identities say more.
OF_SOURCES = ("unknown-person", "ambiguous-person", "invalid-identity", "source-down")


def rendered(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """Return what `render` prints: the manifest and, with --why, comments that explain the plan.

    Raises SettingsError or Refusal."""
    files = read_files(options.files)
    try:
        return _rendered(parser, options, files.site, files.base)
    except Refusal as refusal:
        if refusal.code not in OF_SOURCES:
            raise
        told = asyncio.run(answers(files.site.identity, files.base, options.user))
        raise replace(refusal, hint="\n".join([refusal.hint, *told])) from refusal.__cause__


def _rendered(parser: argparse.ArgumentParser, options: argparse.Namespace, site: Site, base: Path) -> str:
    if options.job:
        for name in ("class", "server", "config"):
            if getattr(options, name):
                parser.error(f"--{name} is for notebooks and cannot be combined with --job")
        decided, manifest = asyncio.run(_job(site, base, options))
    else:
        config = _config(options.config) if options.config else None
        try:
            decided, manifest = asyncio.run(
                render_notebook(site, options.user, _wishes(options), config, options.server or "", base=base)
            )
        except HookError as error:
            raise SettingsError.single(error.place, str(error)) from None
    if options.output == "diff":
        return asyncio.run(_compared(decided, manifest))
    if not options.why:
        return _written(manifest, options.output)
    why = explained(site, decided, manifest)
    if options.output == "json":  # JSON has no comments
        print("\n".join(why), file=sys.stderr)
        return _written(manifest, "json")
    comments = "\n".join(f"# {line}".rstrip() for line in why)
    return f"{comments}\n{_written(manifest, 'yaml')}"


async def _compared(decided: Plan, manifest: Json) -> str:
    """Return that the pod in the cluster is the rendered one.  Raises Differs, or Refusal if it cannot be read."""
    where = place_of({**manifest, "metadata": {**manifest["metadata"], "namespace": decided.namespace}})
    try:
        async with api_server() as server:
            found = await server.ask("GET", where.path)
    except ApiError as error:
        hint = "The pod has the name that the hub's settings give it: see --config and --server."
        raise Refusal("not-read", f"{where} cannot be read: {error.message}", hint=hint, status=error.status) from None
    differing = differences(manifest, found, SCHEDULERS[decided.scheduler].adds(found), decided.priority_value)
    if not differing:
        return f"{where} is as it would be created now."
    rows = [(path, [difference]) for path, difference in differing]
    raise Differs("\n".join([f"{where} would be created differently now.", "", *stacked(rows)]))


def _config(file: Path) -> Config:
    c, problems = read_config(file)
    if problems:
        raise SettingsError(problems)
    return c


def _wishes(options: argparse.Namespace) -> dict[str, Any]:
    asked = {name: getattr(options, name) for name in ("profile", "queue", "class", "wall_time", "image")}
    return {name: value for name, value in asked.items() if value is not None}


async def _job(site: Site, base: Path, options: argparse.Namespace) -> tuple[Plan, Json]:
    own = {name: _value(options.job, name, text) for name, text in options.field}
    fields = {"kind": options.job, "command": options.command or ["id"], **own, **_wishes(options)}
    submission = parse_submission(fields)
    identity = await Resolver(site.identity, base).resolve(options.user)
    decided = plan(
        site,
        identity,
        submission.plan_request(options.user),
        run_id=uuid.uuid4().hex,
        now=datetime.now(timezone.utc),
    )
    slots = submission.kind.SLOTS
    manifest = compose(decided, submission.manifest(decided, site.batch), slots)
    check(decided, manifest, slots)
    return decided, manifest


def _value(kind: str, name: str, text: str) -> Any:
    """Return the value of a job's field: `text` itself if the field is a string, else `text` parsed as JSON."""
    schema = KINDS[kind].REQUEST.model_json_schema()
    described = schema["properties"].get(name)
    # parse_submission refuses an unknown field.
    if described is None or _takes_text(described, schema.get("$defs", {})):
        return text
    try:
        return json.loads(text)
    except ValueError:
        examples = [shlex.quote(json.dumps(example)) for example in described.get("examples", [])[:1]]
        raise Refusal(
            "invalid",
            f"{name}: {quote(text)} is not valid JSON, and this field is not a string.",
            field=name,
            hint=f"Write it as in --field {name}={examples[0]}." if examples else "Write it as JSON.",
        ) from None


def _takes_text(described: Json, definitions: Json) -> bool:
    if "$ref" in described:
        return _takes_text(definitions[described["$ref"].rpartition("/")[2]], definitions)
    choices = [*described.get("anyOf", []), *described.get("allOf", [])]
    return described.get("type") == "string" or any(_takes_text(choice, definitions) for choice in choices)


def _written(manifest: Json, output: str) -> str:
    return json.dumps(manifest, indent=2) if output == "json" else as_text(manifest)


def try_profiles(site: Site, config: Path, base: Path) -> list[Problem]:
    """Return advice about a hub's configuration.  Raises SettingsError with all its problems.

    The file is executed once, with what it imports.  A notebook of every profile is composed with its hooks.
    """
    c, problems = read_config(config)
    found = check_configuration(c, site, base, runs_hooks=True)
    said = {str(problem) for problem in problems}
    if problems := [*problems, *(problem for problem in found.problems if str(problem) not in said)]:
        raise SettingsError(problems)
    return found.advice
