"""Decide whether a pod's node selector, required node affinity and tolerations allow a node.

Source: Kubernetes, Assigning Pods to Nodes, and Taints and Tolerations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .shape import Json

_EFFECTS = ("NoSchedule", "NoExecute")


@dataclass(frozen=True)
class NodeSelection:
    """What a pod requires of its node.

    `required` are the lists of node selector terms of required node affinities.  One term of each list must match.
    """

    selector: Mapping[str, str]
    required: tuple[tuple[Json, ...], ...]
    tolerations: tuple[Json, ...]

    def matches(self, labels: Mapping[str, str], name: str = "", keys: Collection[str] | None = None) -> bool:
        """Return whether a node with these labels and this name matches the node selector and the node affinity.

        keys: the labels that are considered; None considers all labels and the name.
        """
        selected = all(labels.get(key) == value for key, value in self.selector.items() if keys is None or key in keys)
        return selected and all(_matches_one(terms, labels, name, keys) for terms in self.required)

    def tolerates(self, taints: Iterable[Json]) -> bool:
        """Return whether the pod tolerates all taints that keep pods from a node."""
        return all(
            any(_tolerates(toleration, taint) for toleration in self.tolerations)
            for taint in taints
            if taint.get("effect") in _EFFECTS
        )


def node_selection(*specs: Json) -> NodeSelection:
    """Return what several parts of a PodSpec require of the node together."""
    required = (
        ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
        for spec in specs
    )
    return NodeSelection(
        selector={key: value for spec in specs for key, value in (spec.get("nodeSelector") or {}).items()},
        required=tuple(tuple(found.get("nodeSelectorTerms") or ()) for found in required if found),
        tolerations=tuple(toleration for spec in specs for toleration in spec.get("tolerations") or ()),
    )


def _matches_one(terms: tuple[Json, ...], labels: Mapping[str, str], name: str, keys: Collection[str] | None) -> bool:
    for term in terms:
        expressions = term.get("matchExpressions") or []
        fields = term.get("matchFields") or []
        if keys is not None:
            expressions, fields = [one for one in expressions if one.get("key") in keys], []
            if not expressions:  # the other labels decide
                return True
        of_name = {"metadata.name": name}
        if (expressions or fields) and (
            all(_holds(one, labels) for one in expressions) and all(_holds(one, of_name) for one in fields)
        ):
            return True
    return False


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator, values = expression.get("key", ""), expression.get("operator"), expression.get("values") or []
    if operator in ("In", "NotIn"):
        return (labels.get(key) in values) is (operator == "In")
    if operator in ("Exists", "DoesNotExist"):
        return (key in labels) is (operator == "Exists")
    if operator in ("Gt", "Lt"):
        try:
            number, limit = int(labels[key]), int(values[0])
        except (KeyError, IndexError, ValueError):
            return False
        return number > limit if operator == "Gt" else number < limit
    return False


def _tolerates(toleration: Json, taint: Json) -> bool:
    key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if not key:
        return operator == "Exists"
    if key != taint.get("key"):
        return False
    return operator == "Exists" or (toleration.get("value") or "") == (taint.get("value") or "")
