"""Find out from values which image the hub runs, and whether it can contain this package.

Written for the chart 4.4.  Its own image has no value that installs a package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from ..settings.problems import Problem
from .hub_config import chart_defaults, complete, look_up
from .hub_programs import programs

_KEY = "hub.image"
# Values with which the hub's container runs something before, or instead of, the chart's own command.
_OTHER_COMMANDS = ("hub.command", "hub.args", "hub.lifecycle")
_INSTALLS = re.compile(r"\bpip\b|\bsys\.path\b|\baddsitedir\b")
_PACKAGES = re.compile(r"/(site|dist)-packages(/|$)")


def own_image(values: Mapping[str, Any]) -> str | None:
    """Return the image that the site has chosen for its hub; None if it is the chart's own or has no tag."""
    name, tag = (look_up(values, f"{_KEY}.{part}") for part in ("name", "tag"))
    return f"{name}:{tag}" if name and tag and name != look_up(chart_defaults(), f"{_KEY}.name") else None


def missing_package(values: Mapping[str, Any]) -> Problem | None:
    """Return the problem that the hub cannot import this package, because its image is the chart's own.

    Returns None if other values can provide the package: a command, a mounted directory, a program that installs it.
    """
    whole = complete(values)
    name, tag = (look_up(whole, f"{_KEY}.{part}") for part in ("name", "tag"))
    if name != look_up(chart_defaults(), f"{_KEY}.name") or any(_providers(whole)):
        return None
    is_chosen = look_up(values, f"{_KEY}.name") is not None
    return Problem(
        _KEY,
        f"{'is' if is_chosen else 'has no name, so the hub runs'} {name}:{tag}, the chart's own image, which does not "
        "contain this package. The hub would end with ModuleNotFoundError. Build an image with this package "
        f"(containers/hub.Containerfile), and set {_KEY}: {{name: YOUR-REGISTRY/research-hub, "
        f'tag: "{version("jupyter-research-spawner")}"}}',
    )


def _providers(values: Mapping[str, Any]) -> Iterator[bool]:
    """Yield for each way to add a package to the chart's image whether the values can use it."""
    yield from (bool(look_up(values, key)) for key in _OTHER_COMMANDS)
    variables, mounts, files = (
        look_up(values, f"hub.{key}") for key in ("extraEnv", "extraVolumeMounts", "extraFiles")
    )
    yield isinstance(variables, dict) and "PYTHONPATH" in variables
    yield any(variable.get("name") == "PYTHONPATH" for variable in _maps(variables))
    for mount in (*_maps(mounts), *_maps(list(files.values()) if isinstance(files, dict) else None)):
        yield bool(_PACKAGES.search(str(mount.get("mountPath"))))
    yield isinstance(values.get("hub"), dict) and any(_INSTALLS.search(source) for _, source in programs(values))


def _maps(value: Any) -> list[dict[str, Any]]:
    """Return the maps in a list, and nothing for a value of another form."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
