"""Resources of a pod: CPU, memory, GPUs and NUMA placement."""

from .gpu import (
    DEVICE_ENV,
    DRA_API,
    NO_DEVICES,
    DraGpu,
    Gpu,
    HamiGpu,
    KaiFraction,
    MigGpu,
    SharedGpu,
    VolcanoVgpu,
    WholeGpu,
    gpu_prerequisites,
)
from .size import Numa, Resources, Sized

__all__ = [
    "DEVICE_ENV",
    "DRA_API",
    "NO_DEVICES",
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
    "gpu_prerequisites",
]
