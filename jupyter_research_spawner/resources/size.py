"""The CPU, memory, GPUs and NUMA placement of a profile, in the units of Kubernetes' resource.Quantity."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from pydantic import Field, model_validator

from ..settings import Bytes, Cores, Settings, SeveralProblems
from ..settings.units import format_bytes, format_cores
from ..shape import Json
from .gpu import Gpu

Numa = Literal["single-node"]


@dataclass(frozen=True)
class Resources:
    """The resources of the main container.  `memory` is in bytes."""

    cpu: Decimal
    memory: int
    gpu: Gpu | None = None
    numa: Numa | None = None

    def as_requirements(self) -> Json:
        """Return the container's `resources`.  Requests equal limits, so the container can always use its limits."""
        amounts = {"cpu": format_cores(self.cpu), "memory": format_bytes(self.memory)}
        if self.gpu is not None:
            amounts |= self.gpu.amounts()
        found: Json = {"requests": dict(amounts), "limits": dict(amounts)}
        if claims := self.claims():
            found["claims"] = [{"name": claim["name"]} for claim in claims]
        return found

    def claims(self) -> list[Json]:
        """Return the pod's `resourceClaims` for dynamic resource allocation."""
        return [] if self.gpu is None else self.gpu.claims()

    @property
    def allocatable_requests(self) -> dict[str, str]:
        """Return the requests of which nodes report how much they have, as `allocatable`."""
        devices = self.gpu.amounts() if self.gpu is not None and not self.gpu.is_in_allocatable else {}
        requests = self.as_requirements()["requests"]
        return {name: amount for name, amount in requests.items() if name not in devices}

    @property
    def fits_by_sums(self) -> bool:
        """Return whether a node that has enough free of each request can take the pod.

        Not so with parts of devices, with devices that nodes do not report, and with NUMA placement.
        """
        return self.numa is None and (self.gpu is None or self.gpu.is_in_allocatable)

    @property
    def may_have_nvidia_gpu(self) -> bool:
        """Return whether the main container may get a device of NVIDIA."""
        return self.gpu is not None and self.gpu.may_be_nvidia

    def described(self) -> str:
        """Return the resources as users read them on pages, with the title of the GPU."""
        memory = format_bytes(self.memory)
        number = memory.rstrip("KMGTi")
        return self._in_words(f"{number} {memory[len(number) :]}B", None if self.gpu is None else self.gpu.described())

    def __str__(self) -> str:
        return self._in_words(format_bytes(self.memory), None if self.gpu is None else str(self.gpu))

    def _in_words(self, memory: str, gpu: str | None) -> str:
        parts = [f"{self.cpu.normalize():f} CPU", memory]
        if gpu is not None:
            parts.append(gpu)
        if self.numa is not None:
            parts.append("on one NUMA node")
        return ", ".join(parts)


class Sized(Settings):
    """The settings of a profile for CPU, memory, GPUs and NUMA placement."""

    cpu: Cores = Field(
        title="CPUs",
        description="Both request and limit, so these CPUs are reserved for the pod.",
        examples=[2, "500m"],
    )
    memory: Bytes = Field(title="Memory", description="Both request and limit.", examples=["4Gi"])
    gpu: Gpu | None = Field(
        None,
        title="GPUs or parts of GPUs",
        description="The kinds whole, mig and shared request devices of a device plugin. kai-fraction and "
        "volcano-vgpu require the scheduler in their name. hami requires HAMi's scheduler, whose name is set in "
        "scheduler.name. dra requires a scheduler that supports dynamic resource allocation. If the scheduler does not "
        "provide a kind, the error names the schedulers that provide it. Containers that get no device of NVIDIA have "
        "NVIDIA_VISIBLE_DEVICES=void, because images for CUDA ask for all GPUs of the node.",
        examples=[{"kind": "whole", "count": 1}, {"kind": "kai-fraction", "fraction": 0.5}],
    )
    numa: Numa | None = Field(
        None,
        title="NUMA placement",
        description="single-node places CPUs, memory and devices on one NUMA node. It requires whole CPUs, cpu and "
        "memory limits on each sidecar and init container, and kubelets with cpuManagerPolicy static, "
        "memoryManagerPolicy Static and topologyManagerPolicy single-numa-node.",
    )

    @model_validator(mode="after")
    def _can_be_aligned(self) -> Sized:
        if self.numa is not None and self.cpu != int(self.cpu):
            message = (
                f"{self.numa} needs whole CPUs, but cpu is {format_cores(self.cpu)}. The kubelet pins only pods "
                f"with whole CPUs. Write cpu: {int(self.cpu) + 1}, or leave numa out"
            )
            raise SeveralProblems([("numa", message)])
        if self.numa is not None and self.gpu is not None and not self.gpu.is_aligned:
            message = (
                f"{self.numa} cannot be used with a GPU of kind {self.gpu.kind}, because the kubelet aligns only "
                "devices of device plugins. Leave numa out, or use kind whole, mig or shared"
            )
            raise SeveralProblems([("numa", message)])
        return self

    def resources(self) -> Resources:
        return Resources(self.cpu, self.memory, self.gpu, self.numa)
