"""What the cluster tells: whether what is needed exists, what a scheduler keeps, which word a pod's condition is."""

from .owned_objects import OwnedObjectCache
from .phase import Phase, PhaseName, classify
from .prerequisites import Prerequisites

__all__ = ["OwnedObjectCache", "Phase", "PhaseName", "Prerequisites", "classify"]
