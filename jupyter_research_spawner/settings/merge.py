"""Reads settings files, merges them as helm merges values files, and resolves `like`, which copies a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..wording import quote
from .problems import Problem
from .yaml_file import Raw, read_document


def read(path: Path) -> Raw:
    """Return the content of a settings file (YAML or JSON) as plain data.  Raises SettingsError."""
    return read_document(path).data


def merge_values(*files: Mapping[str, Any]) -> Raw:
    """Merge settings from left to right, and keep each null that is the last value of its key.

    Maps are merged, other values are replaced.  So helm merges values files (`MergeValues` in pkg/cli/values), and
    a null of a values file reaches the hub unless the chart has a default for its key.
    """
    merged: Raw = {}
    for file in files:
        for key, value in file.items():
            below = merged.get(key)
            if isinstance(value, Mapping):
                merged[key] = merge_values(below if isinstance(below, Mapping) else {}, value)
            else:
                merged[key] = value
    return merged


def merge(*files: Mapping[str, Any]) -> Raw:
    """Merge settings from left to right, as `merge_values` does, and then delete each key whose value is null."""
    return without_nulls(merge_values(*files))


def without_nulls(settings: Mapping[str, Any]) -> Raw:
    """Return a copy of the map without keys whose value is null, recursively.  Lists stay unchanged."""
    return {
        key: without_nulls(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if value is not None
    }


# The maximum number of profiles that are each `like` the next.
LONGEST_CHAIN = 32


@dataclass
class Resolved:
    """Profiles without `like`.

    copied: the path of each copied key, with the path of its origin.
    problems: unknown names and cycles.
    incomplete: the names of the profiles that should have more keys, because of these problems.
    """

    profiles: Raw = field(default_factory=dict)
    copied: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    incomplete: set[str] = field(default_factory=set)


def resolve_like(profiles: Mapping[str, Any], where: str, keep: frozenset[str]) -> Resolved:
    """Replace each `like: NAME` with the top-level keys of profile NAME, except the keys in `keep`.

    Profile NAME can have a `like` too.  A null stands for a key that is deleted: no copied value replaces it.
    """
    existing = {name: profile for name, profile in profiles.items() if profile is not None}
    found = Resolved()
    cycles: set[frozenset[str]] = set()

    def resolved(name: str, trail: tuple[str, ...]) -> Any:
        profile = existing[name]
        if not isinstance(profile, Mapping) or "like" not in profile:
            return profile
        own = {key: value for key, value in profile.items() if key != "like"}
        parent = profile["like"]
        if parent is None:
            return own
        if not isinstance(parent, str) or parent not in existing:
            if len(trail) == 1:  # once, and not again for each profile that is like this one
                found.problems.append(Problem(f"{where}.{name}.like", unknown_name(parent, existing)))
            found.incomplete.update(trail)
            return own
        if parent in trail:
            cycle = trail[trail.index(parent) :]
            if frozenset(cycle) not in cycles:
                message = f"is a cycle: {' -> '.join((*cycle, parent))}"
                found.problems.append(Problem(f"{where}.{name}.like", message))
            cycles.add(frozenset(cycle))
            found.incomplete.update(trail)
            return own
        if len(trail) == LONGEST_CHAIN:
            message = f"is a chain of more than {LONGEST_CHAIN} profiles, from {trail[0]} on"
            if not any(problem.message.startswith("is a chain") for problem in found.problems):
                found.problems.append(Problem(f"{where}.{name}.like", message))
            found.incomplete.update(trail)
            return own
        inherited = resolved(parent, (*trail, parent))
        if any(name in cycle for cycle in cycles):
            return own
        if not isinstance(inherited, Mapping):  # validation reports this as an error of the other profile
            return own
        given = {key: value for key, value in inherited.items() if key not in keep and key not in own}
        found.copied.update({f"{where}.{name}.{key}": f"{where}.{parent}.{key}" for key in given})
        return {**given, **own}

    found.profiles = {name: resolved(name, (name,)) for name in existing}
    return found


def unknown_name(name: Any, existing: Mapping[str, Any]) -> str:
    """Return the message for a `like` that does not name one of the existing profiles."""
    return f"{quote(name)} does not exist. Existing names: {', '.join(sorted(map(str, existing)))}"
