"""Reads settings files, merges them as helm merges values files, and resolves `like`, which copies a profile."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from .problems import SettingsError

Raw = dict[str, Any]


class _UniqueKeys(yaml.SafeLoader):
    """A YAML loader that rejects repeated keys.  PyYAML itself silently uses the last value of a repeated key."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if (
            key_node.tag == "tag:yaml.org,2002:merge"
        ):  # `<<: *anchor`; keys of the map itself take precedence, as YAML defines
            continue
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} occurs twice", key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return dict(loader.construct_mapping(node, deep=True))


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read(path: Path) -> Raw:
    """Return the content of a settings file (YAML or JSON) as plain data.  Raises SettingsError."""
    try:
        content = yaml.load(path.read_text(), _UniqueKeys)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise SettingsError.single(str(path), f"cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError.single(str(path), f"is not valid YAML: {_what_is_wrong(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError.single(str(path), f"must contain a map at the top level, not {type(content).__name__}")
    return content


def _what_is_wrong(error: Exception) -> str:
    """Return the error and its position, without the text of the line, which may contain a secret."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} (line {mark.line + 1}, column {mark.column + 1})"
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else type(error).__name__


def merge(*files: Mapping[str, Any]) -> Raw:
    """Merge settings from left to right, as helm merges values files.

    Maps are merged, scalars and lists are replaced, and null deletes a key.  Helm keeps a null if the chart
    has no default for the key; this function always deletes the key.
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
    """Replace each `like: NAME` with the top-level keys of profile NAME, except the keys in `keep`.

    Profile NAME can have a `like` too.  Raises SettingsError for an unknown name and for a cycle.
    """

    def resolved(name: str, trail: tuple[str, ...]) -> Any:
        profile = profiles[name]
        if not isinstance(profile, Mapping) or "like" not in profile:
            return profile
        parent = profile["like"]
        path = f"{where}.{name}.like"
        if not isinstance(parent, str) or parent not in profiles:
            raise SettingsError.single(
                path, f"{parent!r} does not exist. Existing names: {', '.join(sorted(map(str, profiles)))}"
            )
        if parent in trail:
            raise SettingsError.single(path, f"is a cycle: {' -> '.join((*trail, parent))}")
        own = {key: value for key, value in profile.items() if key != "like"}
        inherited = resolved(parent, (*trail, parent))
        if not isinstance(inherited, Mapping):  # validation reports this as an error of the other profile
            return own
        return {**{key: value for key, value in inherited.items() if key not in keep}, **own}

    return {name: resolved(name, (name,)) for name in profiles}
