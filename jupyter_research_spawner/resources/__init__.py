"""What a pod may use: CPU, memory, GPU, one NUMA node."""

from .gpu import DEVICE_ENV, NO_DEVICES, DraGpu, Gpu, HamiGpu, KaiFraction, MigGpu, SharedGpu, VolcanoVgpu, WholeGpu
from .size import Numa, Resources, Sized

__all__ = [
    "DEVICE_ENV",
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
]
