"""Compare manifests with the objects of a cluster.

As `kubectl diff` does, but with the right to read only: fields that only the API server, a controller or another
administrator sets do not count, and a field that an earlier `kubectl apply` set and the manifest no longer has does.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any

from ..pod.yaml_text import as_text
from ..prerequisite import Prerequisite
from ..shape import Json

# kubectl apply keeps here what it has sent.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def place_of(manifest: Json) -> Prerequisite:
    """Return kind, name, namespace and path of the object that the manifest describes."""
    metadata = manifest["metadata"]
    return Prerequisite(manifest["apiVersion"], manifest["kind"], metadata["name"], metadata.get("namespace"))


def difference(manifest: Json, found: Json | None) -> str:
    """Return a unified diff from the object of the cluster to the manifest; "" if they do not differ.

    found: the object in the cluster; None if it does not exist.
    """
    wanted = _without_empty(manifest)
    if found is None:
        there, name = [], "missing"
    else:
        there, name = _lines(_without_empty(_as_set(found, manifest, _last_applied(found)))), "cluster"
    where = place_of(manifest)
    lines = difflib.unified_diff(there, _lines(wanted), f"{name}: {where}", f"manifest: {where}", lineterm="")
    return "\n".join(lines)


def _lines(value: Any) -> list[str]:
    return as_text(value).splitlines()


def _last_applied(found: Json) -> Any:
    annotations = (found.get("metadata") or {}).get("annotations") or {}
    try:
        return json.loads(annotations.get(_LAST_APPLIED, "{}"))
    except ValueError:  # anyone may write the annotation
        return {}


def _as_set(found: Any, manifest: Any, applied: Any) -> Any:
    """Return of `found` what the manifest sets, and what an earlier manifest has set."""
    if isinstance(found, dict) and isinstance(manifest, dict):
        before = applied if isinstance(applied, dict) else {}
        return {
            key: _as_set(value, manifest.get(key, {}), before.get(key))
            for key, value in found.items()
            if key in manifest or key in before
        }
    if isinstance(found, list) and isinstance(manifest, list):
        earlier = applied if isinstance(applied, list) else []
        return [
            _as_set(item, _partner(item, index, manifest), _partner(item, index, earlier))
            for index, item in enumerate(found)
        ]
    return found


def _partner(item: Any, index: int, others: Sequence[Any]) -> Any:
    """Return the item of the other list with the same name or, if items have no names, at the same index.

    None if there is no such item, so that all fields of `item` count.
    """
    if isinstance(item, dict) and "name" in item:
        return next((one for one in others if isinstance(one, dict) and one.get("name") == item["name"]), None)
    return others[index] if index < len(others) else None


def _without_empty(value: Any) -> Any:
    """Return a value without empty fields, which the API server leaves out.  Items of lists stay."""
    if isinstance(value, dict):
        kept = {key: _without_empty(below) for key, below in value.items()}
        return {key: below for key, below in kept.items() if below not in (None, "", [], {})}
    return [_without_empty(item) for item in value] if isinstance(value, list) else value
