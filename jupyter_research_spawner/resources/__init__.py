"""What a pod may use: CPU, memory, GPU, one NUMA node."""

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
