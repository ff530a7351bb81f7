"""Reads values in traitlets' configuration, and adds items to its lists.

`c.Class.trait.append(x)` on an unset trait creates a LazyConfigValue, which traitlets later merges into the default.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from traitlets.config import Config
from traitlets.config.loader import LazyConfigValue

# The sections of ResearchSpawner itself, in the order of precedence: in traitlets the section of a class replaces the
# sections of its parent classes.  `sections_of` returns those of a subclass.
SECTIONS = ("ResearchSpawner", "KubeSpawner", "Spawner")


def section_of(c: Config, trait: str, sections: Sequence[str] = SECTIONS) -> str | None:
    """Return the section from which the spawner gets the trait, or None if no section sets it."""
    return next((name for name in sections if name in c and trait in c[name]), None)


def value_of(c: Config, trait: str, sections: Sequence[str] = SECTIONS) -> Any:
    """Return the value that is set for the spawner, or None.

    If the configuration extends the default list or map, return only the added items.
    """
    name = section_of(c, trait, sections)
    return plain(c[name][trait]) if name else None


def plain(value: Any) -> Any:
    """Return the items that were added to a LazyConfigValue; return any other value unchanged.

    LazyConfigValue.get_value is not called, because it would also merge the items into a default.
    """
    if not isinstance(value, LazyConfigValue):
        return value
    added = value.to_dict()
    if "update" in added:
        return added["update"]
    return [*added.get("prepend", []), *(item for _, item in added.get("inserts", [])), *added.get("extend", [])]


def items(section: Config, trait: str) -> list[Any]:
    """Return the items that are set so far in a list trait, without the items of its default."""
    return list(plain(section[trait])) if trait in section else []


def add_items(section: Config, trait: str, more: Iterable[Any]) -> None:
    """Append the items that the list trait does not contain yet."""
    present = items(section, trait)
    for item in more:
        if item not in present:
            section[trait].append(item)


def is_bound(value: Any) -> bool:
    """Return whether `value` is a method of an instance, which traitlets would copy for each server."""
    return inspect.ismethod(value) and not inspect.isclass(value.__self__)
