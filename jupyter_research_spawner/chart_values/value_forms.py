"""Find values of the chart that have another form than its schema asks for: text instead of a map, and the like.

Written for the schema of the chart 4.4, as far as its hub reads the values.  Helm refuses such values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..wording import format_list

Path = tuple[str | int, ...]

_KINDS: dict[str, Any] = {"map": dict, "list": list, "text": str, "list or a map": (list, dict)}
_KINDS["single value or a map"] = (str, int, float, dict)
_KINDS["number"] = (int, float)
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
    "singleuser.extraAnnotations": ("text", ()),
    "singleuser.extraEnv": ("single value or a map", ()),
    "singleuser.extraFiles": ("map", ("mountPath",)),
    "singleuser.extraLabels": ("text", ()),
    "singleuser.extraTolerations": ("map", ()),
    "singleuser.initContainers": ("map", ("name",)),
    "singleuser.lifecycleHooks": ("map", ()),
    "singleuser.nodeSelector": ("text", ()),
    "singleuser.profileList": ("map", ()),
    "singleuser.storage.extraVolumeMounts": ("map", ("name", "mountPath")),
    "singleuser.storage.extraVolumes": ("map", ("name",)),
}
_WORDS = {
    "singleuser.storage.type": ("dynamic", "static", "none"),
    "scheduling.userPods.nodeAffinity.matchNodePurpose": ("ignore", "prefer", "require"),
}
# Maps whose values the hub reads.  For a null, Helm deletes a key only if the chart has a default for it. Another null
# reaches the hub, which ends with an error.  The value that does nothing instead, or "" where there is none.
_READ_BY_HUB = {"hub.config": "{}", "hub.extraConfig": '""', "hub.loadRoles": "", "hub.services": ""}
# The same for fields of Kubernetes in these items.  Of a volume, each field but its name is a map.
_CONTAINER = {
    **dict.fromkeys(("lifecycle", "resources", "securityContext"), "map"),
    **dict.fromkeys(("args", "command", "env", "envFrom", "ports", "volumeMounts"), "list"),
}
_RESOURCES = {"limits": "map", "requests": "map"}
# The values of fields of a toleration (core/v1), and the fields of a file, of which it has exactly one.
_TOLERATION = {
    "effect": ("NoSchedule", "PreferNoSchedule", "NoExecute"),
    "operator": ("Equal", "Exists"),
}
_CONTENTS = ("binaryData", "data", "stringData")
_TOLERATIONS = ("scheduling.userPods.tolerations", "singleuser.extraTolerations")
_FILES = ("hub.extraFiles", "singleuser.extraFiles")
_CONTAINERS = ("singleuser.initContainers", "singleuser.extraContainers")


def wrong_forms(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield (path, what is wrong) for each value of another form, without what is below it."""
    yield from _below(values, defaults, ())
    yield from _same_names(values)


def _same_names(values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield containers that have the name of another one, which Kubernetes refuses."""
    singleuser = values.get("singleuser")
    seen = {"notebook": "the notebook's own container"}
    for key in ("initContainers", "extraContainers"):
        containers = singleuser.get(key) if isinstance(singleuser, dict) else None
        for index, container in enumerate(containers if isinstance(containers, list) else ()):
            name = container.get("name") if isinstance(container, dict) else None
            own = f"singleuser.{key}[{index}]"
            if isinstance(name, str) and (other := seen.setdefault(name, own)) != own:
                yield ("singleuser", key, index), f"has the name {name!r}, which {other} has too"


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
        elif name in _WORDS and value not in _WORDS[name]:
            yield at, f"must be {format_list(_WORDS[name], 'or')}"
        elif not form and isinstance(value, (dict, list)) and not (key == "cmd" and isinstance(value, list)):
            yield at, f"must be a single value, not {_kind(value)}"
        elif name in _ITEMS:
            yield from _nulls(value, default, at)
            yield from _items(value, name, at)
        elif isinstance(value, dict) and isinstance(default, dict) and default:
            yield from _below(value, default, at)


def _nulls(values: Any, defaults: Any, path: Path) -> Iterator[tuple[Path, str]]:
    nothing = _READ_BY_HUB.get(".".join(map(str, path)))
    if nothing is not None and isinstance(values, dict):
        for key in values.keys() - _map(defaults).keys():
            if values[key] is None:
                instead = f"Write {nothing} instead, or take the key out" if nothing else "Take the key out"
                yield (
                    (*path, key),
                    f"must not be null, because the chart has no default that Helm could delete. {instead}",
                )


def _items(values: Any, name: str, path: Path) -> Iterator[tuple[Path, str]]:
    form, fields = _ITEMS[name]
    wrong = dict(_each(form, fields, values, path))
    yield from wrong.items()
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        if value is None or (*path, key) in wrong:
            continue
        if name == "singleuser.lifecycleHooks":
            yield from _fields(_map(value.get("exec")), {"command": "list"}, (*path, key, "exec"))
        elif name in _CONTAINERS:
            yield from _fields(value, _CONTAINER, (*path, key))
            resources = value.get("resources")
            yield from _fields(_map(resources), _RESOURCES, (*path, key, "resources"))
            for field, needed in (("env", ("name",)), ("volumeMounts", ("name", "mountPath"))):
                parts = value.get(field)
                yield from _each("map", needed, parts if isinstance(parts, list) else [], (*path, key, field))
        elif name in _TOLERATIONS:
            for field, words in _TOLERATION.items():
                if value.get(field) not in (None, "", *words):
                    yield (*path, key, field), f"must be {format_list(words, 'or')}"
        elif name in _FILES:
            yield from _fields(value, {"mode": "number"}, (*path, key))
            if sum(value.get(field) is not None for field in _CONTENTS) != 1:
                yield (*path, key), f"must have exactly one of {format_list(_CONTENTS)}"
        elif name == "singleuser.storage.extraVolumes":
            yield from _fields(value, dict.fromkeys(set(value) - {"name"}, "map"), (*path, key))


def _each(form: str, fields: tuple[str, ...], values: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the items that have another form, or not these fields."""
    items: Iterable[tuple[Any, Any]] = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        if value is None and isinstance(values, dict):
            continue
        if not isinstance(value, _KINDS[form]):
            yield (*path, key), _must_be(form, value)
        elif form == "map" and (missing := [field for field in fields if not isinstance(value.get(field), str)]):
            yield (*path, key), f"must have {' and '.join(missing)}, which must be text"


def _fields(item: Mapping[str, Any], forms: Mapping[str, str], path: Path) -> Iterator[tuple[Path, str]]:
    for field, form in sorted(forms.items()):
        if item.get(field) is not None and not isinstance(item[field], _KINDS[form]):
            yield (*path, field), _must_be(form, item[field])


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _must_be(form: str, value: Any) -> str:
    quote = ". Quote it" if form == "text" and not isinstance(value, (dict, list)) and value is not None else ""
    return f"must be {'' if form == 'text' else 'a '}{form}, not {_kind(value)}{quote}"


def _kind(value: Any) -> str:
    kinds = {dict: "a map", list: "a list", str: "text", bool: "a boolean", type(None): "empty"}
    return kinds.get(type(value), "a number")
