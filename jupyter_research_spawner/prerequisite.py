"""Cluster objects that must exist before a pod is created."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, order=True)
class Prerequisite:
    """A cluster object without which a pod would wait or be rejected, and no event would tell the user why.

    `namespace` is None for a cluster-scoped object.  `shut` lists the values of `status.state` in which the object
    accepts no new pods; no event reports this state.  `selected_by` is the field of a request that selects the object.
    The options form shows an error about the object at this field.  `is_reported` says that the kubelet reports the
    absence of the object, so that a right to read it is useful but not needed.
    """

    api_version: str
    kind: str
    name: str
    namespace: str | None = None
    shut: tuple[str, ...] = ()
    selected_by: str = field(default="queue", compare=False)
    is_reported: bool = field(default=False, compare=False)

    @property
    def group(self) -> str:
        """Return the object's API group; "" for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """Return the plural, lower-case name of the kind, as in API URLs and RBAC rules.

        It is formed as Kubernetes guesses it (apimachinery, UnsafeGuessKindToResource).
        """
        name = self.kind.lower()
        if name.endswith("y"):
            return name[:-1] + "ies"
        return name + ("es" if name.endswith("s") else "s")

    @property
    def path(self) -> str:
        """Return the path of the object in the API."""
        root = "/api" if "/" not in self.api_version else "/apis"
        namespace = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{root}/{self.api_version}{namespace}/{self.resource}/{self.name}"

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" + (f" in namespace {self.namespace!r}" if self.namespace else "")


def claim_prerequisites(claims: Iterable[str], namespace: str) -> tuple[Prerequisite, ...]:
    """Return one Prerequisite for each distinct PersistentVolumeClaim name, sorted by name."""
    return tuple(
        Prerequisite("v1", "PersistentVolumeClaim", claim, namespace, selected_by="mounts")
        for claim in sorted(set(claims))
    )
