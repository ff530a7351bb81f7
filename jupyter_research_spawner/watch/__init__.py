"""What the cluster tells: whether what is needed exists, what a scheduler keeps, which word a pod's condition is."""

from .needs import Needs
from .owned_objects import OwnedObjectCache
from .phase import Phase, PhaseName, classify

__all__ = ["Needs", "OwnedObjectCache", "Phase", "PhaseName", "classify"]
