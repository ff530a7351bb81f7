"""Several settings files become one, by helm's rule; and `like:`, which copies a profile within the result."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from .problems import SettingsError

Raw = dict[str, Any]


class _UniqueKeys(yaml.SafeLoader):
    """YAML whose repeated keys are errors: the second would silently win, and with it another permission."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor`; what stands beside it wins, as YAML has it
            continue
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is there twice", key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return dict(loader.construct_mapping(node, deep=True))


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read(path: Path) -> Raw:
    """One settings file (YAML, so JSON too) as plain data.  Raises SettingsError."""
    try:
        content = yaml.load(path.read_text(), _UniqueKeys)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise SettingsError.single(str(path), f"cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError.single(str(path), f"is not YAML: {_what_is_wrong(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError.single(str(path), f"must be a map of settings at the top, not {type(content).__name__}")
    return content


def _what_is_wrong(error: Exception) -> str:
    """Where and what, but not the line itself, as PyYAML would show it: a secret may stand there."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} (line {mark.line + 1}, column {mark.column + 1})"
    return "it has a character that no text has" if isinstance(error, UnicodeDecodeError) else type(error).__name__


def merge(*files: Mapping[str, Any]) -> Raw:
    """Left to right, as helm merges values files: maps deep, scalars and lists replace, null deletes.

    Helm itself deletes only what the chart has a default for and hands other nulls on; here they are gone too.
    """
    merged: Raw = {}
    for file in files:
        for key, value in file.items():
            if value is None:
                merged.pop(key, None)
            elif isinstance(value, Mapping):
                below = merged.get(key)
                merged[key] = merge(below if isinstance(below, Mapping) else {}, value)
            else:
                merged[key] = value
    return merged


def resolve_like(profiles: Mapping[str, Any], where: str, keep: frozenset[str]) -> Raw:
    """Replace each `like: NAME` by NAME's own keys (shallow), but for those in `keep`.  Chains are allowed.

    Raises SettingsError for an unknown name and for a cycle.
    """

    def resolved(name: str, trail: tuple[str, ...]) -> Any:
        profile = profiles[name]
        if not isinstance(profile, Mapping) or "like" not in profile:
            return profile
        parent = profile["like"]
        path = f"{where}.{name}.like"
        if not isinstance(parent, str) or parent not in profiles:
            raise SettingsError.single(path, f"{parent!r} is not one of {', '.join(sorted(map(str, profiles)))}")
        if parent in trail:
            raise SettingsError.single(path, f"is a circle: {' -> '.join((*trail, parent))}")
        own = {key: value for key, value in profile.items() if key != "like"}
        inherited = resolved(parent, (*trail, parent))
        if not isinstance(inherited, Mapping):  # an error of its own
            return own
        return {**{key: value for key, value in inherited.items() if key not in keep}, **own}

    return {name: resolved(name, (name,)) for name in profiles}
