"""What a pod may use: CPU, memory, GPU, one NUMA node.  Quantities follow Kubernetes' resource.Quantity."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from pydantic import Field, StrictInt, model_validator

from .settings import Bytes, Cores, Settings
from .settings.units import format_bytes, format_cores
from .shape import Json

GpuKind = Literal["whole", "mig", "shared"]
Numa = Literal["single-node"]

# The device plugin's own names (NVIDIA k8s-device-plugin: README, renameByDefault).
_DEFAULT_RESOURCE = {"whole": "nvidia.com/gpu", "shared": "nvidia.com/gpu.shared"}
_QUALIFIED = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"


class Gpu(Settings):
    """GPUs of one kind.  Exactly one kind per profile."""

    kind: GpuKind = Field(
        title="How GPUs are given out",
        description="whole: a device; mig: a slice made by the administrator; shared: time slices of one device.",
        examples=["whole"],
    )
    count: StrictInt = Field(1, title="How many", ge=1, le=64)
    resource: str | None = Field(
        None,
        title="Extended resource that is asked for",
        description="By default nvidia.com/gpu (whole) or nvidia.com/gpu.shared (shared). A MIG slice has to be named.",
        examples=["nvidia.com/mig-1g.10gb"],
        pattern=_QUALIFIED,
    )

    @model_validator(mode="after")
    def _closed(self) -> Gpu:
        if self.kind == "mig" and self.resource is None:
            raise ValueError("kind mig needs the name of the slice: resource: nvidia.com/mig-1g.10gb")
        if self.kind == "shared" and self.count != 1:
            raise ValueError("kind shared gives a share of one device: count must be 1, more would be no more of it")
        return self

    @property
    def resource_name(self) -> str:
        return self.resource or _DEFAULT_RESOURCE[self.kind]


@dataclass(frozen=True)
class Resources:
    """Decided amounts: CPUs, bytes of memory, GPUs, and whether all of it lies on one NUMA node."""

    cpu: Decimal
    memory: int
    gpu: Gpu | None = None
    numa: Numa | None = None

    def as_requirements(self) -> Json:
        """Kubernetes' ResourceRequirements.  Requests equal limits: what one person was promised nobody else has."""
        amounts = {"cpu": format_cores(self.cpu), "memory": format_bytes(self.memory)}
        if self.gpu is not None:
            amounts[self.gpu.resource_name] = str(self.gpu.count)
        return {"requests": dict(amounts), "limits": dict(amounts)}

    def __str__(self) -> str:
        parts = [f"{self.cpu.normalize():f} CPU", format_bytes(self.memory)]
        if self.gpu is not None:
            parts.append(f"{self.gpu.count} GPU ({self.gpu.resource_name})")
        if self.numa is not None:
            parts.append("on one NUMA node")
        return ", ".join(parts)


class Sized(Settings):
    """The part of a profile that says how large a pod is."""

    cpu: Cores = Field(title="CPUs", description="Requested and limit, so nobody else has them.", examples=[2, "500m"])
    memory: Bytes = Field(title="Memory", description="Requested and limit.", examples=["4Gi"])
    gpu: Gpu | None = Field(None, title="GPUs", examples=[{"kind": "whole", "count": 1}])
    numa: Numa | None = Field(
        None,
        title="NUMA placement",
        description="single-node: CPUs, memory and devices on one NUMA node. Needs whole CPUs and kubelets with the "
        "static CPU manager and topologyManagerPolicy single-numa-node.",
    )

    @model_validator(mode="after")
    def _whole_cpus(self) -> Sized:
        if self.numa is not None and self.cpu != int(self.cpu):
            raise ValueError(
                f"numa: {self.numa} needs whole CPUs, but cpu is {format_cores(self.cpu)}: the kubelet pins only pods "
                f"with whole CPUs. Write cpu: {int(self.cpu) + 1}, or leave numa out"
            )
        return self

    def resources(self) -> Resources:
        return Resources(self.cpu, self.memory, self.gpu, self.numa)
