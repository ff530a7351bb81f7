"""Reads from the cluster whether prerequisites exist, which objects a scheduler has for a pod, and a pod's phase."""

from .owned_objects import OwnedObjectCache
from .phase import Phase, PhaseName, classify
from .prerequisites import Prerequisites

__all__ = ["OwnedObjectCache", "Phase", "PhaseName", "Prerequisites", "classify"]
