"""The nodes of a trial: as `--nodes` describes them, or large enough for every profile of the settings."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from ..api_object import parse_quantity
from ..embedded import NodeSpec
from ..site import Site

GPU = "nvidia.com/gpu"
EXAMPLE = "cpu=64,memory=512Gi,gpu=4,count=3"
_LONGEST_COUNT = 50


def parse_nodes(text: str) -> list[NodeSpec]:
    """Return the nodes that a value of `--nodes` describes.  Raises ArgumentTypeError with a sentence."""
    amounts = {"cpu": "16", "memory": "64Gi", "count": "1"}
    labels: dict[str, str] = {}
    resources: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise argparse.ArgumentTypeError(f"{part!r} is not KEY=VALUE, as in {EXAMPLE}")
        kind, colon, name = key.partition(":")
        if key in amounts:
            amounts[key] = value
        elif key == "gpu":
            resources[GPU] = value
        elif kind in ("label", "resource") and colon and name:
            (labels if kind == "label" else resources)[name] = value
        else:
            known = f"{', '.join(amounts)}, gpu, label:NAME, resource:NAME"
            raise argparse.ArgumentTypeError(f"{key!r} is not one of {known}")
    for name, amount in {"cpu": amounts["cpu"], "memory": amounts["memory"], **resources}.items():
        if not _is_quantity(amount):
            raise argparse.ArgumentTypeError(f"{name}={amount} is not a quantity such as 4 or 512Gi")
    if not amounts["count"].isdecimal() or not 1 <= int(amounts["count"]) <= _LONGEST_COUNT:
        raise argparse.ArgumentTypeError(f"count={amounts['count']} is not a number from 1 to {_LONGEST_COUNT}")
    return [NodeSpec("", amounts["cpu"], amounts["memory"], labels, resources) for _ in range(int(amounts["count"]))]


def _is_quantity(text: str) -> bool:
    try:
        return parse_quantity(text) > 0
    except ValueError:
        return False


def numbered(nodes: Iterable[NodeSpec]) -> list[NodeSpec]:
    """Return the nodes with the names node-1, node-2, ..."""
    return [
        NodeSpec(f"node-{number}", node.cpu, node.memory, node.labels, node.resources)
        for number, node in enumerate(nodes, 1)
    ]


def nodes_for(site: Site) -> list[NodeSpec]:
    """Return one node for each node selector of the profiles, on which each of these profiles fits."""
    sizes: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for name, profile in site.profiles.items():
        selector = tuple(sorted(site.pod_fields[name].nodeSelector.items()))
        size = sizes.setdefault(selector, {"cpu": 16, "memory": float(parse_quantity("64Gi"))})
        for resource, amount in profile.resources().as_requirements()["requests"].items():
            size[resource] = max(size.get(resource, 0), float(parse_quantity(amount)))
    return [
        NodeSpec(
            "",
            str(int(-(-size["cpu"] // 1))),
            f"{int(-(-size['memory'] // 2**30))}Gi",
            dict(selector),
            {name: str(int(amount)) for name, amount in size.items() if "/" in name},
        )
        for selector, size in sorted(sizes.items())
    ]


def described(nodes: Iterable[NodeSpec]) -> list[str]:
    """Return a sentence for each size of nodes, such as `3 nodes of 64 CPUs, 512Gi, 4 nvidia.com/gpu`."""
    counts: dict[str, int] = {}
    for node in nodes:
        parts = [f"{node.cpu} CPUs", node.memory, *(f"{count} {name}" for name, count in node.resources.items())]
        parts += [f"label {name}={value}" for name, value in node.labels.items()]
        text = ", ".join(parts)
        counts[text] = counts.get(text, 0) + 1
    return [f"{count} node{'s' if count > 1 else ''} of {text}" for text, count in counts.items()]
