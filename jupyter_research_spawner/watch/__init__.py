"""What the cluster tells: whether what is needed exists, and which word a pod's condition is."""

from .needs import Needs
from .phase import Phase, PhaseName, classify

__all__ = ["Needs", "Phase", "PhaseName", "classify"]
