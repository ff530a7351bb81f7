"""`render` and `lint --config`: they compose manifests with the calls that the hub and the batch service make."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..identity import Resolver
from ..jobs import parse_submission
from ..plan import Plan, plan
from ..pod import check, compose
from ..refusal import Refusal
from ..settings import SettingsError, ordered
from ..settings.problems import Problem
from ..shape import Json
from ..site import Site
from ..spawner import render_notebook
from .files import base_directory, read_config, read_site
from .lint import example_user, queues_of
from .output import as_text
from .why import explained


def rendered(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """Return what `render` prints: the manifest, with the reasons as comments.  Raises SettingsError, Refusal."""
    site, base = read_site(options.site), base_directory(options.site)
    if options.job:
        for name in ("class", "server", "config"):
            if getattr(options, name):
                parser.error(f"--{name} is for notebooks and cannot be combined with --job")
        decided, manifest = asyncio.run(_job(site, base, options))
    else:
        config = read_config(options.config) if options.config else None
        decided, manifest = asyncio.run(
            render_notebook(site, options.user, _wishes(options), config, options.server or "", base=base)
        )
    if not options.why:
        return _written(manifest, options.output)
    why = explained(site, decided, manifest)
    if options.output == "json":  # JSON has no comments
        print("\n".join(why), file=sys.stderr)
        return _written(manifest, "json")
    comments = "\n".join(f"# {line}".rstrip() for line in why)
    return f"{comments}\n{_written(manifest, 'yaml')}"


def _wishes(options: argparse.Namespace) -> dict[str, Any]:
    asked = {name: getattr(options, name) for name in ("profile", "queue", "class", "wall_time", "image")}
    return {name: value for name, value in asked.items() if value is not None}


async def _job(site: Site, base: Path, options: argparse.Namespace) -> tuple[Plan, Json]:
    fields = {"kind": options.job, "command": options.command or ["id"], **dict(options.field), **_wishes(options)}
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


def _written(manifest: Json, output: str) -> str:
    return json.dumps(manifest, indent=2) if output == "json" else as_text(manifest)


def try_profiles(site: Site, config: Path, base: Path) -> None:
    """Compose a notebook of every profile with KubeSpawner's settings and hooks from `config`, as a start does.

    Raises SettingsError that lists every profile whose notebooks cannot start.
    """
    problems = []
    for name, _ in ordered(site.profiles):
        for queue in queues_of(site, site.profiles[name])[:1]:
            who, wishes = example_user(site, name, queue), {"profile": name, "queue": queue}
            try:
                # Read anew each time: KubeSpawner's hooks may change what they are given.
                asyncio.run(render_notebook(site, who.name, wishes, read_config(config), base=base, identity=who))
            except Refusal as refusal:
                problems.append(Problem(f"profiles.{name}", f"cannot start with {config}: {refusal}"))
    if problems:
        raise SettingsError(problems)
