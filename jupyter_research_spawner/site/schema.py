"""Create the JSON schema of the settings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from ..settings import format_duration
from .site_settings import Site


class _AsWritten(GenerateJsonSchema):
    """Writes default durations as in settings (`21d`), not in ISO 8601 as pydantic does."""

    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of merged settings, for editors and for helm charts."""
    schema = Site.model_json_schema(by_alias=True, schema_generator=_AsWritten)
    profile = schema["$defs"]["Profile"]
    # A profile with `like` gets its required settings from the other profile.
    profile["properties"]["like"] = {
        "type": "string",
        "title": "Profile whose settings are copied, except title and order",
    }
    profile["anyOf"] = [{"required": ["like", "title"]}, {"required": profile.pop("required")}]
    course = schema["$defs"]["CourseClass"]
    course["properties"]["like"] = {
        "type": "string",
        "title": "Profile whose settings are copied for the class's own profile",
    }
    choices = (["profile"], ["like"], ["cpu", "memory", "wall_time"])
    course["allOf"] = [{"anyOf": [{"required": choice} for choice in choices]}]
    for model in _maps_by_name(schema):
        model["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "jupyter-research-spawner", **schema}


def values_schema() -> dict[str, Any]:
    """Return the JSON schema of a file of helm values, which can have any part of the settings, for editors.

    The chart's own keys are not in it, because the chart has a schema for them.
    """
    whole = json_schema()
    definitions = {name: _in_parts(found) for name, found in whole.pop("$defs").items()}
    dialect = whole.pop("$schema")
    research = {**_in_parts(whole), "title": "Settings of jupyter-research-spawner"}
    custom = {"type": "object", "properties": {"research": research}}
    return {"$schema": dialect, "type": "object", "properties": {"custom": custom}, "$defs": definitions}


def _in_parts(schema: Any) -> Any:
    """Return a schema in which no setting is required, and in which null deletes a setting, as helm does it."""
    if isinstance(schema, list):
        return [_in_parts(below) for below in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, below in schema.items():
        if key in ("properties", "patternProperties") and isinstance(below, dict):
            found[key] = {name: {"anyOf": [_in_parts(one), {"type": "null"}]} for name, one in below.items()}
        elif key != "required" or not isinstance(below, list):
            found[key] = _in_parts(below)
    return found


def _maps_by_name(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the schemas of maps by name, in which pydantic allows keys that match none of the patternProperties."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            yield schema
        for below in schema.values():
            yield from _maps_by_name(below)
    elif isinstance(schema, list):
        for below in schema:
            yield from _maps_by_name(below)
