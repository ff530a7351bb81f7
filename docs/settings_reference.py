"""Write the settings reference as MyST Markdown, from the JSON schema of the settings model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from jupyter_research_spawner.settings import strict, units
from jupyter_research_spawner.site import json_schema

Schema = dict[str, Any]
KEY = "NAME"  # stands for a key that the site chooses

_PATTERNS = {
    units.DURATION: "duration, such as `30s`, `90m`, `8h` or `21d`",
    units.CPU: "number of CPUs, such as `2`, `0.5` or `500m`",
    units.MEMORY: "amount of memory, such as `4Gi` or `500M`",
    strict.NAME: "name: 1 to 63 lower-case letters, digits and dashes",
}
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}


@dataclass(frozen=True)
class Setting:
    """One node of the settings: a value that a site writes, or a group of settings."""

    path: str
    schema: Schema
    required: bool
    children: tuple[Setting, ...] = ()

    @property
    def anchor(self) -> str:
        """The HTML id of the setting on the page."""
        return "setting-" + "".join(c if c.isalnum() else "-" for c in self.path.lower()).strip("-")


def settings() -> list[Setting]:
    """Return the sections of the settings, each with all settings below it."""
    schema = json_schema()
    definitions = schema["$defs"]

    def resolve(node: Schema) -> Schema:
        # What stands next to a reference (title, examples, default) describes this use of the referenced model.
        if "$ref" in node:
            return {
                **resolve(definitions[node["$ref"].rpartition("/")[2]]),
                **{k: v for k, v in node.items() if k != "$ref"},
            }
        options = [
            option for option in node.get("anyOf", []) if isinstance(option, dict) and option.get("type") != "null"
        ]
        if len(options) == 1:  # an optional value
            return {**resolve(options[0]), **{k: v for k, v in node.items() if k != "anyOf"}}
        maps = [option for option in node.get("oneOf", []) if "$ref" in option]
        if len(maps) == 1:  # text or a map, as the description of the setting says
            return {**resolve(maps[0]), **{k: v for k, v in node.items() if k != "oneOf"}}
        return node

    def below(path: str, node: Schema) -> Iterator[Setting]:
        for option in node.get("oneOf", []):
            if "$ref" in option:
                model = resolve(option)
                kind = model["properties"]["kind"]["const"]
                yield setting(f"{path}[{kind}]", model, required=False)
        required = {key for option in [node, *node.get("anyOf", [])] for key in option.get("required", [])}
        for key, value in node.get("properties", {}).items():
            yield setting(f"{path}.{key}".lstrip("."), value, key in required)
        item = map_item(node)
        if item is not None:
            named = resolve(item)
            yield from below(f"{path}.{KEY}", named)

    def setting(path: str, node: Schema, required: bool) -> Setting:
        resolved = resolve(node)
        return Setting(path, resolved, required, tuple(below(path, resolved)))

    return list(below("", schema))


def map_item(node: Schema) -> Schema | None:
    """Return the schema of the values of a map whose keys the site chooses, or None."""
    for values in node.get("patternProperties", {}).values():
        return values
    values = node.get("additionalProperties")
    return values if isinstance(values, dict) else None


def leaves(found: list[Setting] | tuple[Setting, ...]) -> Iterator[Setting]:
    """Return every setting that has no settings below it."""
    for setting in found:
        if setting.children:
            yield from leaves(setting.children)
        else:
            yield setting


def markdown() -> str:
    """Return the reference of all settings."""
    parts: list[str] = []
    for section in settings():
        parts += _group(section, level=2) if section.children else _entry(section)
    return "\n".join(parts)


def _group(group: Setting, level: int) -> list[str]:
    title = group.schema.get("title", "")
    lines = [f"({group.anchor})=", "#" * min(level, 4) + f" `{group.path}`", ""]
    description = _own_description(group)
    # A model's docstring often begins with the title of the setting that holds it.
    said = [description] if description.lower().startswith(title.lower()) else [_sentence(title), description]
    lines += [" ".join(part for part in said if part), ""]
    if group.path.endswith("]"):
        kind = group.path.rpartition("[")[2][:-1]
        lines += [f"The settings that stand below `{group.path.rpartition('[')[0]}` with `kind: {kind}`.", ""]
    elif "properties" not in group.schema and map_item(group.schema) is not None:
        lines += [f"A map: {KEY} stands for a name that you choose.", ""]
    lines += _example(group)
    for child in group.children:
        if not child.children:
            lines += _entry(child)
    for child in group.children:
        if child.children:
            lines += _group(child, level + 1)
    return lines


def _own_description(setting: Setting) -> str:
    return " ".join(str(setting.schema.get("description", "")).split())


def _entry(setting: Setting) -> list[str]:
    """Return one value: its type, default, title, description and example."""
    schema = setting.schema
    lines = [f"({setting.anchor})=", f"````{{confval}} {setting.path}", f":type: {_type(schema)}"]
    if (default := _default(setting)) is not None:
        lines.append(f":default: {default}")
    lines += ["", _sentence(schema.get("title", "")), ""]
    if description := _own_description(setting):
        lines += [description, ""]
    lines += _example(setting)
    return [*lines, "````", ""]


def _sentence(title: str) -> str:
    return title if not title or title.endswith((".", "?")) else f"{title}."


def _type(schema: Schema) -> str:
    """Return what may be written, in words."""
    if schema.get("pattern") in _PATTERNS:
        return _PATTERNS[schema["pattern"]]
    if "const" in schema:
        return f"always `{schema['const']}`"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        patterns = [_PATTERNS[option["pattern"]] for option in schema["anyOf"] if option.get("pattern") in _PATTERNS]
        return patterns[0] if patterns else " or ".join(_type(option) for option in schema["anyOf"])
    if schema.get("format") == "date":
        return "day, such as `2026-12-20`"
    if schema.get("format") == "path":
        return "path of a file"
    if schema.get("type") == "array":
        return f"list; each item: {_type(schema['items'])}"
    if schema.get("type") == "object":
        item = map_item(schema)
        return f"map; each value: {_type(item)}" if item is not None else "empty map"
    if schema.get("type") in _TYPES:
        return _TYPES[schema["type"]] + _bounds(schema)
    return "any value that Kubernetes takes there"


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f", at least {low}"
    if high is not None:
        return f", at most {high}"
    if "exclusiveMinimum" in schema and "exclusiveMaximum" in schema:
        return f" between {schema['exclusiveMinimum']} and {schema['exclusiveMaximum']}"
    return f", at most {schema['maxLength']} characters" if "maxLength" in schema else ""


def _default(setting: Setting) -> str | None:
    if setting.required or ("const" in setting.schema and "default" not in setting.schema):
        return "none: it must be set"
    default = setting.schema.get("default")
    if default is None:
        return "not set" if setting.schema.get("type") not in ("object", "array") else "empty"
    if isinstance(default, str) and ("\n" in default or not default):
        return "empty" if not default else f"{len(default.splitlines())} lines, from `{default.splitlines()[0]}`"
    return f"`{json.dumps(default) if not isinstance(default, str) else default}`"


def _example(setting: Setting) -> list[str]:
    examples = setting.schema.get("examples")
    if not examples:
        return []
    key = setting.path.rpartition(".")[2]
    text = yaml.safe_dump({key: examples[0]}, sort_keys=False, allow_unicode=True, width=100).strip()
    return ["```yaml", text, "```", ""]
