"""`lint --config`: every profile tried with KubeSpawner's own settings and hooks, by the calls that a start makes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ..refusal import Refusal
from ..settings import SettingsError, ordered
from ..settings.errors import Problem
from ..site import Site
from ..spawner import render
from .files import read_config
from .lint import queues_of, somebody


def tried(site: Site, config: Path, base: Path) -> None:
    """A sidecar without limits, another uid: whatever keeps a profile's notebooks from starting.

    Raises SettingsError with all of it.
    """
    problems = []
    for name, _ in ordered(site.profiles):
        for queue in queues_of(site, site.profiles[name])[:1]:
            who, wishes = somebody(site, name, queue), {"profile": name, "queue": queue}
            try:
                # Read anew each time: KubeSpawner's hooks may change what they are given.
                asyncio.run(render(site, who.name, wishes, read_config(config), base=base, identity=who))
            except Refusal as refusal:
                problems.append(Problem(f"profiles.{name}", f"cannot start with {config}: {refusal}"))
    if problems:
        raise SettingsError(problems)
