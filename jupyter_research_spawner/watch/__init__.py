"""Reads the cluster: prerequisites, the objects that schedulers create for pods, and the phases of pods."""

from .owned_objects import OwnedObjectCache
from .phase import Phase, PhaseName, classify
from .prerequisites import Prerequisites

__all__ = ["OwnedObjectCache", "Phase", "PhaseName", "Prerequisites", "classify"]
