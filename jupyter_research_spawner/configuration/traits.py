"""Reading traitlets' configuration and adding to it, without replacing a value.

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
    """Return the section whose value the spawner gets, or None if the trait is not set."""
    for name in SECTIONS:
        if name in c and trait in c[name]:
            return name
    return None


def value_of(c: Config, trait: str) -> Any:
    """Return the value that is set for the spawner, or None.  Of an extended list or map, return the added part."""
    name = section_of(c, trait)
    return plain(c[name][trait]) if name else None


def plain(value: Any) -> Any:
    """Return what was added to a LazyConfigValue, without resolving it as get_value would."""
    if not isinstance(value, LazyConfigValue):
        return value
    added = value.to_dict()
    if "update" in added:
        return added["update"]
    return [*added.get("prepend", []), *(item for _, item in added.get("inserts", [])), *added.get("extend", [])]


def items(section: Config, trait: str) -> list[Any]:
    """Return the items of a list that are set so far, without those of its default."""
    return list(plain(section[trait])) if trait in section else []


def add_items(section: Config, trait: str, more: Iterable[Any]) -> None:
    """Append those items that the list trait does not contain yet."""
    present = items(section, trait)
    for item in more:
        if item not in present:
            section[trait].append(item)


def is_bound(value: Any) -> bool:
    """Return whether this is a method of an instance; traitlets would copy that instance for each server."""
    return inspect.ismethod(value) and not inspect.isclass(value.__self__)
