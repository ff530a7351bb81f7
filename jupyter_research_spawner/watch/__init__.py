"""Reads the cluster: prerequisites, the objects that schedulers create for pods, and the phases of pods."""

from .accepted_uids import AcceptedUids
from .node_cache import NodeCache
from .node_sizes import NodeSizes
from .owned_objects import OwnedObjectCache
from .phase import Phase, PhaseName, classify
from .prerequisites import Prerequisites
from .queue_places import QueuePlaces
from .queue_report import queue_report, unknown_nodes

__all__ = [
    "AcceptedUids",
    "NodeCache",
    "NodeSizes",
    "OwnedObjectCache",
    "Phase",
    "PhaseName",
    "Prerequisites",
    "QueuePlaces",
    "classify",
    "queue_report",
    "unknown_nodes",
]
