"""How large a pod is, and whether on one NUMA node.  Quantities follow Kubernetes' resource.Quantity."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from pydantic import Field, model_validator

from ..settings import Bytes, Cores, Settings
from ..settings.units import format_bytes, format_cores
from ..shape import Json
from .gpu import Gpu

Numa = Literal["single-node"]


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
            amounts |= self.gpu.amounts()
        found: Json = {"requests": dict(amounts), "limits": dict(amounts)}
        if claims := self.claims():
            found["claims"] = [{"name": claim["name"]} for claim in claims]
        return found

    def claims(self) -> list[Json]:
        """The pod's `resourceClaims`: devices by dynamic resource allocation."""
        return [] if self.gpu is None else self.gpu.claims()

    def __str__(self) -> str:
        parts = [f"{self.cpu.normalize():f} CPU", format_bytes(self.memory)]
        if self.gpu is not None:
            parts.append(str(self.gpu))
        if self.numa is not None:
            parts.append("on one NUMA node")
        return ", ".join(parts)


class Sized(Settings):
    """The part of a profile that says how large a pod is."""

    cpu: Cores = Field(title="CPUs", description="Requested and limit, so nobody else has them.", examples=[2, "500m"])
    memory: Bytes = Field(title="Memory", description="Requested and limit.", examples=["4Gi"])
    gpu: Gpu | None = Field(
        None,
        title="GPUs, or a part of one",
        description="whole, mig or shared: what a device plugin offers, with any scheduler. kai-fraction: KAI alone. "
        "volcano-vgpu: Volcano alone. hami: kube-scheduler or Kueue, with scheduler.name: hami-scheduler. "
        "dra: all but YuniKorn and slurm-bridge.",
        examples=[{"kind": "whole", "count": 1}, {"kind": "kai-fraction", "fraction": 0.5}],
    )
    numa: Numa | None = Field(
        None,
        title="NUMA placement",
        description="single-node: CPUs, memory and devices on one NUMA node. Needs whole CPUs, cpu and memory limits "
        "on every sidecar and init container, and kubelets with cpuManagerPolicy static, memoryManagerPolicy Static "
        "and topologyManagerPolicy single-numa-node.",
    )

    @model_validator(mode="after")
    def _can_be_aligned(self) -> Sized:
        if self.numa is not None and self.cpu != int(self.cpu):
            raise ValueError(
                f"numa: {self.numa} needs whole CPUs, but cpu is {format_cores(self.cpu)}: the kubelet pins only pods "
                f"with whole CPUs. Write cpu: {int(self.cpu) + 1}, or leave numa out"
            )
        if self.numa is not None and self.gpu is not None and not self.gpu.is_aligned:
            raise ValueError(
                f"numa: {self.numa} cannot hold for a GPU of kind {self.gpu.kind}: the kubelet aligns only what device "
                "plugins give. Leave numa out, or take kind whole, mig or shared"
            )
        return self

    def resources(self) -> Resources:
        return Resources(self.cpu, self.memory, self.gpu, self.numa)
