"""The JSON schema of a Site, for editors and for charts that pass settings through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .site_settings import Site


def json_schema() -> dict[str, Any]:
    """The JSON schema of a whole Site after merging: for editors, and for charts that pass settings through."""
    schema = Site.model_json_schema(by_alias=True)
    profile = schema["$defs"]["Profile"]
    # A profile that is `like` another has its required settings from there.
    profile["properties"]["like"] = {
        "type": "string",
        "title": "Another profile whose settings are taken, but for title and order",
    }
    profile["anyOf"] = [{"required": ["like", "title"]}, {"required": profile.pop("required")}]
    for model in _maps_by_name(schema):
        model["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "jupyter-research-spawner", **schema}


def _maps_by_name(schema: Any) -> Iterator[dict[str, Any]]:
    """pydantic writes the names that a map may have as patternProperties, and lets others pass."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            yield schema
        for below in schema.values():
            yield from _maps_by_name(below)
    elif isinstance(schema, list):
        for below in schema:
            yield from _maps_by_name(below)
