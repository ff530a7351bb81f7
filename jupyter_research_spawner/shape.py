"""Describe a workload's kind and pods, find the pod templates in a manifest, and create valid Kubernetes names."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Path = tuple[str, ...]

NOTEBOOK_KIND = "notebook"
# Prefix of the labels and annotations that only this project writes.
OUR_PREFIX = "research-spawner/"


@dataclass(frozen=True)
class Shape:
    """The kind, object name and number of pods of one workload, such as a notebook or a job.

    `replicas` is the number of pods.  `gang` is the number of pods that must start together.
    """

    kind: str
    name: str
    replicas: int = 1
    gang: int = 1


# In the path of a template, a wildcard for all values of a map or all items of a list.
EACH = "*"


class TemplateMissing(Exception):
    """A manifest has `value` instead of a pod template at `path`."""

    def __init__(self, path: str, value: object) -> None:
        super().__init__(path)
        self.path = path
        self.value = value


@dataclass(frozen=True)
class Template:
    """The path of a pod template in a manifest, and the name of its main container.

    `path` is a sequence of keys, where EACH is a wildcard.  An empty path means that the manifest is itself a pod.
    """

    path: Path
    main: str

    @property
    def is_object(self) -> bool:
        """Return whether the manifest is itself a pod."""
        return not self.path

    def find(self, manifest: Json) -> list[Json]:
        """Return all pods or pod templates at this path.  Raises TemplateMissing if there is none."""
        found: list[tuple[str, Any]] = [("", manifest)]
        for key in self.path:
            found = [below for path, value in found for below in _children(path, value, key)]
        for path, value in found:
            if not isinstance(value, dict):
                raise TemplateMissing(path, value)
        return [value for _, value in found]


def _children(path: str, value: Any, key: str) -> list[tuple[str, Any]]:
    if key == EACH and isinstance(value, list) and value:
        return [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    if not isinstance(value, dict) or (key == EACH and not value):
        raise TemplateMissing(path, value)
    keys = value if key == EACH else (key,)
    return [(f"{path}.{name}".lstrip("."), value.get(name)) for name in keys]


@dataclass(frozen=True)
class Slots:
    """The pod templates in a manifest of one kind.

    If `interactive`, users work in the pods, so the command `job` is mounted there.
    """

    templates: tuple[Template, ...]
    interactive: bool = False

    @property
    def is_pod(self) -> bool:
        """Return whether the manifest is itself a pod."""
        return any(template.is_object for template in self.templates)

    @property
    def main(self) -> str:
        """Return the name of the first template's main container."""
        return self.templates[0].main

    def pods(self, manifest: Json) -> list[tuple[Template, Json]]:
        """Return each pod or pod template in `manifest` with its Template.  Raises TemplateMissing."""
        return [(template, pod) for template in self.templates for pod in template.find(manifest)]


_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")


def label_value(text: str) -> str:
    """Return `text` if it is a valid label value, else a readable slug with a hash, so that slugs do not collide.

    Source: Kubernetes, Labels and Selectors.  As in KubeSpawner, slugs contain `---`, so text with `---` gets a slug.
    """
    return text if _LABEL_VALUE.fullmatch(text) and "---" not in text else _slug(text)


def dns_label(text: str) -> str:
    """Return `text` if it is an RFC 1123 label (at most 63 of a-z, 0-9 and -), else a readable slug with a hash."""
    return text if _DNS_LABEL.fullmatch(text) and "---" not in text else _slug(text)


def _slug(text: str) -> str:
    readable = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].rstrip("-") or "x"
    return f"{readable}---{hashlib.sha256(text.encode()).hexdigest()[:8]}"
