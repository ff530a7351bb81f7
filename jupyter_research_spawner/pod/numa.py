"""Whether the kubelet pins a pod's CPUs.  Contract: the static CPU manager, as read of Kubernetes 1.36.3.

One container that is not guaranteed makes the whole pod Burstable, and then no CPU of any container is pinned, without
a word.  A container with half a CPU, requests equal to limits, runs in the shared pool and unpins nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from ..shape import Json

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE][+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i)?)")
_FACTORS = {
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in zip((-3, -2, -1), "num", strict=True)},
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}
_AMOUNTS = ("cpu", "memory")


def guarantee(pod: Json) -> None:
    """Limits become requests and requests limits, where a container says only one of them."""
    for _, container in _containers(pod):
        resources = container.setdefault("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        resources["limits"] = {**requests, **limits}
        resources["requests"] = {**limits, **requests}


def why_not_pinned(pod: Json, main: str) -> list[tuple[str, str]]:
    """(path, sentence with a remedy) for all that keeps the kubelet from pinning the CPUs of the container `main`.

    Reads `spec` alone, where containers of every sort count but those added for debugging (QoS of pods, 1.36.3).
    """
    return list(_found(pod, main))


def _found(pod: Json, main: str) -> Iterator[tuple[str, str]]:
    if pod["spec"].get("resources"):
        yield (
            "spec.resources",
            "sets amounts for the whole pod, with which no CPU is pinned. Set them on each container instead",
        )
    for where, container in _containers(pod):
        path, name = f"{where}.resources", container["name"]
        if why := _why_not_guaranteed(container):
            yield (
                path,
                f"(container {name!r}) {why}: the kubelet would pin no CPU of the whole pod. Give it limits for cpu "
                "and memory, and requests equal to them or none",
            )
        elif name == main and _amount(cpus := container["resources"]["limits"]["cpu"]) % 1:
            yield path, f"(container {name!r}) has {cpus} CPUs: only whole ones are pinned. Give it whole ones"


def _containers(pod: Json) -> Iterator[tuple[str, Json]]:
    for sort in ("initContainers", "containers"):
        for index, container in enumerate(pod["spec"].get(sort) or []):
            yield f"spec.{sort}[{index}]", container


def _why_not_guaranteed(container: Json) -> str | None:
    resources = container.get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    # A limit of none is no limit (ComputePodQOS).
    missing = [name for name in _AMOUNTS if not _amount(limits.get(name))]
    if missing:
        return f"has no limit for {' and '.join(missing)}"
    for name in _AMOUNTS:
        # The API server fills a missing request in from the limit.
        request = requests.get(name, limits[name])
        if _amount(request) != _amount(limits[name]):
            return f"requests {name} {request}, but its limit is {limits[name]}"
    return None


def _amount(written: object) -> Decimal:
    """Zero for what is no quantity, too: the API server takes none such."""
    matched = _QUANTITY.fullmatch(str(written))
    if matched is None or isinstance(written, bool):
        return Decimal(0)
    return Decimal(matched[1] + (matched[2] or "")) * _FACTORS[matched[3] or ""]
