"""Format Kubernetes objects as readable YAML."""

from __future__ import annotations

from typing import Any

import yaml

WIDTH = 80


class Readable(yaml.SafeDumper):
    """A YAML dumper that writes text of several lines as a block, and repeats equal values instead of using anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Readable, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Readable.add_representer(str, _text)

# The order of keys in the documentation of Kubernetes.  Other keys follow in alphabetical order.
_FIRST = ("apiVersion", "kind", "metadata", "name", "namespace")


def as_text(manifest: Any) -> str:
    """Return an object as YAML without a newline at the end."""
    return yaml.dump(_sorted(manifest), Dumper=Readable, sort_keys=False, allow_unicode=True, width=WIDTH).rstrip("\n")


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        rank = {key: index for index, key in enumerate(_FIRST)}
        return {key: _sorted(value[key]) for key in sorted(value, key=lambda key: (rank.get(key, len(rank)), key))}
    if isinstance(value, (list, tuple)):
        return [_sorted(below) for below in value]
    return value
