"""Reads the cluster: prerequisites, the objects that schedulers create for pods, and the phases of pods."""

from .accepted_uids import AcceptedUids
from .owned_objects import OwnedObjectCache
from .phase import Phase, PhaseName, classify
from .prerequisites import Prerequisites

__all__ = ["AcceptedUids", "OwnedObjectCache", "Phase", "PhaseName", "Prerequisites", "classify"]
