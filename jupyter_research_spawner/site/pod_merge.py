"""Merge fields of a PodSpec from two places, so that the constraints of both places hold.

How a field is merged depends on its meaning in Kubernetes' API reference (core/v1, PodSpec).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

from ..wording import quote

Json = dict[str, Any]
# Takes the path of the field, the value that is there, and the value that is added.
Merge = Callable[[str, Any, Any], Any]
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


class Contradiction(ValueError):
    """Two values of a field of a PodSpec cannot both hold.  `path` is the field, and the message says why."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path} {message}")
        self.path = path
        self.message = message


def merge_field(field: str, present: Any, added: Any) -> Any:
    """Merge two values of a list or map field of a PodSpec, so that the constraints of both hold.

    Merging the same value twice changes nothing.  Raises Contradiction.
    """
    if type(present) is not type(added):
        raise Contradiction(field, f"is {quote(present, 512)}, but it must be {quote(added, 512)}")
    try:
        return _MERGED.get(field, _merge_values)(field, present, added)
    except (AttributeError, KeyError, TypeError):
        raise Contradiction(
            field, f"does not have the type of Kubernetes' API: {quote(added, 512)}, {quote(present, 512)}"
        ) from None


def _merge_values(path: str, present: Any, added: Any) -> Any:
    """Return the items of both lists, or the keys of both maps with their values merged."""
    if isinstance(present, list) and isinstance(added, list):
        return [*present, *(item for item in added if item not in present)]
    if isinstance(present, dict) and isinstance(added, dict):
        merged = dict(present)
        for key, value in added.items():
            merged[key] = _merge_values(f"{path}.{key}", present[key], value) if key in present else value
        return merged
    if type(present) is not type(added) or present != added:
        raise Contradiction(path, f"is {quote(present, 512)}, but it must be {quote(added, 512)}")
    return present


def _merge_affinity(path: str, present: Json, added: Json) -> Json:
    """Merge affinity.  Terms of required node affinity are alternatives; the entries of other lists must all hold."""
    merged = dict(present)
    for kind, value in added.items():
        merge = _merge_node_affinity if kind == "nodeAffinity" else _merge_values
        merged[kind] = merge(f"{path}.{kind}", present.get(kind, {}), value)
    return merged


def _merge_node_affinity(path: str, present: Json, added: Json) -> Json:
    merged: Json = _merge_values(path, _without(_REQUIRED, present), _without(_REQUIRED, added))
    required = [found[_REQUIRED]["nodeSelectorTerms"] for found in (present, added) if _REQUIRED in found]
    if required:
        terms = required[0] if len(required) == 1 else _both(*required)
        merged[_REQUIRED] = {"nodeSelectorTerms": terms}
    return merged


def _without(key: str, found: Json) -> Json:
    return {name: value for name, value in found.items() if name != key}


def _both(present: list[Json], added: list[Json]) -> list[Json]:
    """Combine two lists of terms: a node matches the result if and only if it matches a term of each list.

    A node must match one term, and all expressions of that term.  A term without expressions matches no node.
    """
    if all(any(_contains(term, wanted) for wanted in added) for term in present):
        return present
    alternatives: list[Json] = [
        {part: joined for part in ("matchExpressions", "matchFields") if (joined := _joined(one, other, part))}
        for one, other in product(filter(_is_not_empty, present), filter(_is_not_empty, added))
    ]
    return alternatives or [{}]


def _joined(one: Json, other: Json, part: str) -> list[Json]:
    joined: list[Json] = _merge_values(part, one.get(part, []), other.get(part, []))
    return joined


def _contains(term: Json, wanted: Json) -> bool:
    parts = ("matchExpressions", "matchFields")
    return _is_not_empty(wanted) and all(item in term.get(part, []) for part in parts for item in wanted.get(part, []))


def _is_not_empty(term: Json) -> bool:
    return bool(term.get("matchExpressions") or term.get("matchFields"))


def _keyed(*keys: str, merge: Merge | None = None) -> Merge:
    """Return a function that merges lists whose items are identified by these keys, as in a strategic merge patch."""

    def key_of(item: Json) -> tuple[Any, ...]:
        return tuple(item.get(key) for key in keys)

    def merged(path: str, present: list[Json], added: list[Json]) -> list[Json]:
        found = {key_of(item): item for item in present}
        for item in added:
            known = found.get(key_of(item), item)
            if known != item and merge is None:
                raise Contradiction(
                    path, f"has {quote(known, 512)} and {quote(item, 512)}, which have the same {' and '.join(keys)}"
                )
            found[key_of(item)] = merge(path, known, item) if merge else item
        return list(found.values())

    return merged


def _merge_dns(path: str, present: Json, added: Json) -> Json:
    merged: Json = _merge_values(path, _without("options", present), _without("options", added))
    options = _keyed("name")(f"{path}.options", present.get("options", []), added.get("options", []))
    return {**merged, "options": options} if options else merged


_MERGED: Mapping[str, Merge] = {
    "affinity": _merge_affinity,
    "dnsConfig": _merge_dns,
    "hostAliases": _keyed("ip", merge=_merge_values),
    "imagePullSecrets": _keyed("name"),
    "topologySpreadConstraints": _keyed("topologyKey", "whenUnsatisfiable"),
}
