"""Reading and adding to traitlets' configuration without replacing anything: a list there may not exist yet.

`c.Class.trait.append(x)` on a trait that nobody set makes a LazyConfigValue, which is merged into the default later.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from traitlets.config import Config
from traitlets.config.loader import LazyConfigValue

# More specific sections win (traitlets: a class's own section over those of its parents).
SECTIONS = ("ResearchSpawner", "KubeSpawner", "Spawner")


def section_of(c: Config, trait: str) -> str | None:
    """The section whose value the spawner gets, or None when nobody set the trait."""
    for name in SECTIONS:
        if name in c and trait in c[name]:
            return name
    return None


def value_of(c: Config, trait: str) -> Any:
    """What is set for the spawner; a list or map that was only added to as that part alone; None when nothing is."""
    name = section_of(c, trait)
    return plain(c[name][trait]) if name else None


def plain(value: Any) -> Any:
    """A LazyConfigValue as what was added, without settling it (get_value would)."""
    if not isinstance(value, LazyConfigValue):
        return value
    added = value.to_dict()
    if "update" in added:
        return added["update"]
    return [*added.get("prepend", []), *(item for _, item in added.get("inserts", [])), *added.get("extend", [])]


def items(section: Config, trait: str) -> list[Any]:
    """The items of a list that are set so far; what a default adds later is not among them."""
    return list(plain(section[trait])) if trait in section else []


def add_items(section: Config, trait: str, more: Iterable[Any]) -> None:
    """Append to a list, whatever it is so far; what is in it already is not added again."""
    present = items(section, trait)
    for item in more:
        if item not in present:
            section[trait].append(item)


def is_bound(value: Any) -> bool:
    """Whether traitlets would copy an object along with this callable, once for each server."""
    return inspect.ismethod(value) and not inspect.isclass(value.__self__)
