"""Find values of the chart that have another form than its schema asks for: text instead of a map, and the like.

Written for the schema of the chart 4.4, as far as its hub reads the values.  Helm refuses such values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Path = tuple[str | int, ...]

_KINDS: dict[str, Any] = {"map": dict, "list": list, "text": str, "list or a map": (list, dict)}
# Keys whose default does not tell their form.
_FORMS = {
    "singleuser.extraEnv": "list or a map",
    "singleuser.storage.extraVolumes": "list or a map",
    "singleuser.storage.extraVolumeMounts": "list or a map",
    "hub.extraEnv": "list or a map",
}
# The form of each item of a list or a map, and the fields that a map there must have.
_ITEMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "hub.config": ("map", ()),
    "hub.extraConfig": ("text", ()),
    "hub.extraFiles": ("map", ("mountPath",)),
    "hub.loadRoles": ("map", ()),
    "hub.services": ("map", ()),
    "scheduling.userPods.tolerations": ("map", ()),
    "singleuser.extraContainers": ("map", ("name",)),
    "singleuser.extraFiles": ("map", ("mountPath",)),
    "singleuser.extraTolerations": ("map", ()),
    "singleuser.initContainers": ("map", ("name",)),
    "singleuser.profileList": ("map", ()),
    "singleuser.storage.extraVolumeMounts": ("map", ("name", "mountPath")),
    "singleuser.storage.extraVolumes": ("map", ("name",)),
}


def wrong_forms(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield (path, what is wrong) for each value of another form, without what is below it."""
    yield from _below(values, defaults, ())


def _below(values: Mapping[str, Any], defaults: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, str]]:
    for key, value in values.items():
        if key in ("custom", "global") and not path:
            continue
        at, default = (*path, key), defaults.get(key)
        name = ".".join(map(str, at))
        of_default = "map" if isinstance(default, dict) else "list" if isinstance(default, list) else ""
        form = _FORMS.get(name, of_default)
        if value is None or (not form and default is None):
            continue
        if form and not isinstance(value, _KINDS[form]):
            yield at, _must_be(form, value)
        elif not form and isinstance(value, (dict, list)) and not (key == "cmd" and isinstance(value, list)):
            yield at, f"must be a single value, not {_kind(value)}"
        elif name in _ITEMS:
            yield from _items(value, name, at)
        elif isinstance(value, dict) and isinstance(default, dict) and default:
            yield from _below(value, default, at)


def _items(values: Any, name: str, path: Path) -> Iterator[tuple[Path, str]]:
    form, fields = _ITEMS[name]
    items: Iterable[tuple[Any, Any]] = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        if value is None and isinstance(values, dict):
            continue
        if not isinstance(value, _KINDS[form]):
            yield (*path, key), _must_be(form, value)
        elif form == "map" and (missing := [field for field in fields if not isinstance(value.get(field), str)]):
            yield (*path, key), f"must have {' and '.join(missing)}, which must be text"


def _must_be(form: str, value: Any) -> str:
    return f"must be {'' if form == 'text' else 'a '}{form}, not {_kind(value)}"


def _kind(value: Any) -> str:
    kinds = {dict: "a map", list: "a list", str: "text", bool: "a boolean", type(None): "empty"}
    return kinds.get(type(value), "a number")
