"""Reads the cluster: whether prerequisites exist, a scheduler's objects for a pod, and the phase of a pod."""

from .owned_objects import OwnedObjectCache
from .phase import Phase, PhaseName, classify
from .prerequisites import Prerequisites

__all__ = ["OwnedObjectCache", "Phase", "PhaseName", "Prerequisites", "classify"]
