"""What a plan looks for in the cluster besides its queue: without it a pod waits and nobody says why."""

from __future__ import annotations

from collections.abc import Iterable

from ..resources import DraGpu, Gpu
from ..schedulers import Need

DRA = "resource.k8s.io/v1"


def of_claims(claims: Iterable[str], namespace: str) -> tuple[Need, ...]:
    return tuple(Need("v1", "PersistentVolumeClaim", claim, namespace) for claim in sorted(set(claims)))


def of_gpu(gpu: Gpu | None, namespace: str) -> tuple[Need, ...]:
    if not isinstance(gpu, DraGpu):
        return ()
    return (Need(DRA, "DeviceClass", gpu.device_class), Need(DRA, "ResourceClaimTemplate", gpu.template, namespace))
