"""What the cluster tells: whether what is needed exists, what a scheduler keeps, which word a pod's condition is."""

from .beside import Beside
from .needs import Needs
from .phase import Phase, PhaseName, classify

__all__ = ["Beside", "Needs", "Phase", "PhaseName", "classify"]
