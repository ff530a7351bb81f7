"""Predict whether the kubelet pins the CPUs of a container.

Written for the static CPU manager of Kubernetes 1.36.3 (source).  If requests and limits differ in one container, the
whole pod is Burstable, and the kubelet silently pins no CPUs.  In a Guaranteed pod, a container with half a CPU runs in
the shared pool, and the CPUs of the other containers are still pinned.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..api_object import parse_quantity
from ..shape import Json

_AMOUNTS = ("cpu", "memory")


def equalize_requests_and_limits(pod: Json) -> None:
    """Copy each container's limits to missing requests, and its requests to missing limits."""
    for _, container in _containers(pod):
        resources = container.setdefault("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        resources["limits"] = {**requests, **limits}
        resources["requests"] = {**limits, **requests}


def why_not_pinned(pod: Json, main: str) -> list[tuple[str, str]]:
    """Return (path, reason with a remedy) for each reason why the kubelet would not pin the CPUs of container `main`.

    Only the pod's `spec` is read.  Ephemeral containers do not affect the QoS class (Kubernetes 1.36.3).
    """
    return list(_reasons(pod, main))


def _reasons(pod: Json, main: str) -> Iterator[tuple[str, str]]:
    if pod["spec"].get("resources"):
        yield (
            "spec.resources",
            "sets resources of the whole pod, so the kubelet would pin no CPUs. Set them on each container instead",
        )
    for where, container in _containers(pod):
        path, name = f"{where}.resources", container["name"]
        if why := _why_not_guaranteed(container):
            yield (
                path,
                f"(container {name!r}) {why}: the kubelet would pin no CPUs of the pod. Set limits for cpu "
                "and memory, and set no requests or the same requests",
            )
        elif name == main and parse_quantity(cpus := container["resources"]["limits"]["cpu"]) % 1:
            yield (
                path,
                f"(container {name!r}) has {cpus} CPUs, but the kubelet pins only whole CPUs. Set a whole number",
            )


def _containers(pod: Json) -> Iterator[tuple[str, Json]]:
    for sort in ("initContainers", "containers"):
        for index, container in enumerate(pod["spec"].get(sort) or []):
            yield f"spec.{sort}[{index}]", container


def _why_not_guaranteed(container: Json) -> str | None:
    """Return why the pod of this container would not get the QoS class Guaranteed; None if it can."""
    resources = container.get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    # The kubelet treats a limit of 0 as no limit (Kubernetes, ComputePodQOS).
    missing = [name for name in _AMOUNTS if not parse_quantity(limits.get(name))]
    if missing:
        return f"has no limit for {' and '.join(missing)}"
    for name in _AMOUNTS:
        # The API server sets a missing request to the limit.
        request = requests.get(name, limits[name])
        if parse_quantity(request) != parse_quantity(limits[name]):
            return f"requests {name} {request}, but its limit is {limits[name]}"
    return None
