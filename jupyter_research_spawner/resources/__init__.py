"""Resources of a pod: CPU, memory, GPUs and NUMA placement."""

from .gpu import (
    DRA_API,
    NO_DEVICES,
    NVIDIA_DEVICES,
    DraGpu,
    Gpu,
    HamiGpu,
    KaiFraction,
    MigGpu,
    SharedGpu,
    VolcanoVgpu,
    WholeGpu,
    gives_devices,
    gpu_prerequisites,
)
from .size import Numa, Resources, Sized

__all__ = [
    "DRA_API",
    "NO_DEVICES",
    "NVIDIA_DEVICES",
    "DraGpu",
    "Gpu",
    "HamiGpu",
    "KaiFraction",
    "MigGpu",
    "Numa",
    "Resources",
    "SharedGpu",
    "Sized",
    "VolcanoVgpu",
    "WholeGpu",
    "gives_devices",
    "gpu_prerequisites",
]
