"""What the cluster says: which prerequisites exist, what a scheduler keeps about a pod, and a pod's phase."""

from .owned_objects import OwnedObjectCache
from .phase import Phase, PhaseName, classify
from .prerequisites import Prerequisites

__all__ = ["OwnedObjectCache", "Phase", "PhaseName", "Prerequisites", "classify"]
