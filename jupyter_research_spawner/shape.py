"""Kinds of workloads, where pod templates are in their manifests, and Kubernetes names and label values."""

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

    `replicas` is the number of pods.  `gang` is the number of pods that must start together; 1 means that each pod
    starts alone.
    """

    kind: str
    name: str
    replicas: int = 1
    gang: int = 1


# In the path of a template: each value of a map, or each item of a list.
EACH = "*"


class TemplateMissing(Exception):
    """A manifest has no pod template where its kind says that there is one: `path` has `value` instead."""

    def __init__(self, path: str, value: object) -> None:
        super().__init__(path)
        self.path = path
        self.value = value


@dataclass(frozen=True)
class Template:
    """Where a manifest has a pod template, and the name of its main container.

    `path` has the keys on the way, with EACH for all values of a map or items of a list; an empty path means that the
    manifest is itself the pod.
    """

    path: Path
    main: str

    @property
    def is_object(self) -> bool:
        """Return whether the created object is itself the pod."""
        return not self.path

    def find(self, manifest: Json) -> list[Json]:
        """Return the objects with `metadata` and `spec` of a pod.  Raises TemplateMissing where there is none."""
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
    """Where compose and check find the pods in a manifest of one kind.

    `interactive` pods get the command `job`, because users work in them.
    """

    templates: tuple[Template, ...]
    interactive: bool = False

    @property
    def main(self) -> str:
        """Return the name of the first template's main container."""
        return self.templates[0].main

    def pods(self, manifest: Json) -> list[tuple[Template, Json]]:
        """Return each pod of `manifest` with its template.  Raises TemplateMissing."""
        return [(template, pod) for template in self.templates for pod in template.find(manifest)]


_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")


def label_value(text: str) -> str:
    """Return `text` if it is a valid label value, else a readable slug with a hash, so that two texts never collide.

    Source: Kubernetes, Labels and Selectors, syntax.  The separator `---` distinguishes slugs from unchanged names, as
    in KubeSpawner.
    """
    return text if _LABEL_VALUE.fullmatch(text) and "---" not in text else _slug(text)


def dns_label(text: str) -> str:
    """Return `text` if it is an RFC 1123 label (at most 63 of a-z, 0-9 and -), else a readable slug with a hash."""
    return text if _DNS_LABEL.fullmatch(text) and "---" not in text else _slug(text)


def _slug(text: str) -> str:
    readable = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].rstrip("-") or "x"
    return f"{readable}---{hashlib.sha256(text.encode()).hexdigest()[:8]}"
