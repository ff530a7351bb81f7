"""What kind of thing is made, and where in its manifest pods are described."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Path = tuple[str, ...]

NOTEBOOK_KIND = "notebook"
# Labels and annotations that only this project writes.
OUR_PREFIX = "research-spawner/"


@dataclass(frozen=True)
class Shape:
    """Kind, object name and size of one thing that is made.

    `gang` is the number of pods that must start together; 1 means none waits for another.
    """

    kind: str
    name: str
    replicas: int = 1
    gang: int = 1


@dataclass(frozen=True)
class Template:
    """Where one pod template lies in a manifest (keys; none: the manifest is the pod), and its main container."""

    path: Path
    main: str


@dataclass(frozen=True)
class Slots:
    """Where compose and check find things in a manifest of one kind.

    `interactive` pods get the client's command (`job`), since a person works in them.
    """

    templates: tuple[Template, ...]
    interactive: bool = False

    def pods(self, manifest: Json) -> list[tuple[Template, Json]]:
        """Each template of `manifest`, with the object that has its `metadata` and `spec`."""
        found = []
        for template in self.templates:
            at = manifest
            for key in template.path:
                at = at[key]
            found.append((template, at))
        return found


_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")


def label_value(text: str) -> str:
    """`text` if it is a valid label value, else a readable slug with a hash, so that two texts never meet.

    Source: Kubernetes, Labels and Selectors, syntax; the `---` keeps slugs apart from plain names, as KubeSpawner does.
    """
    return text if _LABEL_VALUE.fullmatch(text) and "---" not in text else _slug(text)


def dns_label(text: str) -> str:
    """`text` as an RFC 1123 label (at most 63 of a-z, 0-9 and -), with a hash where it had to be changed."""
    return text if _DNS_LABEL.fullmatch(text) and "---" not in text else _slug(text)


def _slug(text: str) -> str:
    readable = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].rstrip("-") or "x"
    return f"{readable}---{hashlib.sha256(text.encode()).hexdigest()[:8]}"
