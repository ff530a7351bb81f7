"""The fields of Kubernetes' kinds, as an API server publishes them: what the embedded one's fields.json is made of.

Contract: GET /openapi/v3/..., seen with 1.36.3.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from jupyter_research_spawner.embedded.apimachinery.api_resources import BUILT_IN, CRD, Kind

Json = dict[str, Any]
Fields = dict[str, dict[str, str]]
_REFERENCE = "#/components/schemas/"
_SCALARS = {"date-time": "Time", "byte": "bytes", "int-or-string": "IntOrString"}


def published(get: Callable[[str], Json], kinds: Iterable[Kind] = BUILT_IN) -> Fields:
    """Kind or part -> field -> type.  `get` answers a path of the API server with its JSON.

    CustomResourceDefinitions are left out: two of their parts are called as parts of admission webhooks are.
    """
    wanted = [kind for kind in kinds if kind != CRD]
    schemas: Json = {}
    for path in sorted({f"apis/{kind.api_version}" if kind.group else "api/v1" for kind in wanted}):
        schemas |= get(f"/openapi/v3/{path}")["components"]["schemas"]
    walk = _Walk(schemas)
    for kind in wanted:
        walk.part(_name_of(schemas, kind))
    return walk.found


def written(fields: Fields) -> str:
    """JSON with a line for each part, so that a new version's diff can be read."""
    lines = (f"{json.dumps(part)}: {json.dumps(fields[part], sort_keys=True)}" for part in sorted(fields))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _name_of(schemas: Json, kind: Kind) -> str:
    wanted = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    return next(name for name, schema in schemas.items() if wanted in schema.get("x-kubernetes-group-version-kind", []))


class _Walk:
    def __init__(self, schemas: Json) -> None:
        self.schemas = schemas
        self.found: Fields = {}
        self._names: dict[str, str] = {}

    def part(self, name: str) -> str:
        """The type that a schema of this name is, walked once."""
        schema, short = self.schemas[name], name.rpartition(".")[2]
        if "properties" not in schema:
            known = short if short == "Quantity" else schema.get("format", schema.get("type", "any"))
            return _SCALARS.get(known, "any" if known == "object" else known)
        if self._names.setdefault(short, name) != name:
            raise ValueError(f"{name} and {self._names[short]} are both called {short}")
        if short not in self.found:
            fields = self.found[short] = {}
            required = set(schema.get("required", []))
            for field, found in schema["properties"].items():
                type_ = self.type_of(found)
                fields[field] = f"{type_}!" if field in required and type_.startswith(("[]", "map ")) else type_
        return short

    def type_of(self, schema: Json) -> str:
        reference = schema.get("$ref") or next((part["$ref"] for part in schema.get("allOf", [])), "")
        if reference:
            return self.part(reference.removeprefix(_REFERENCE))
        if schema.get("type") == "array":
            return f"[]{self.type_of(schema['items'])}"
        if "additionalProperties" in schema:
            return f"map {self.type_of(schema['additionalProperties'])}"
        known = schema.get("format") or schema.get("type") or "any"
        return _SCALARS.get(known, "any" if known == "object" else known)
