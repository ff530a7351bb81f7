"""Reads the cluster: prerequisites, the objects that schedulers create for pods, and the phases of pods."""

from .accepted_uids import AcceptedUids
from .availability import Availability, availability
from .free_capacity import FreeCapacity, offered_demands
from .node_cache import NodeCache
from .node_sizes import NodeSizes
from .owned_objects import OwnedObjectCache
from .phase import Phase, PhaseName, classify
from .prerequisites import Prerequisites
from .queue_places import QueuePlaces
from .queue_quotas import QueueQuotas, QuotaReport
from .queue_report import queue_report, unknown_nodes

__all__ = [
    "AcceptedUids",
    "Availability",
    "FreeCapacity",
    "NodeCache",
    "NodeSizes",
    "OwnedObjectCache",
    "Phase",
    "PhaseName",
    "Prerequisites",
    "QueuePlaces",
    "QueueQuotas",
    "QuotaReport",
    "availability",
    "classify",
    "offered_demands",
    "queue_report",
    "unknown_nodes",
]
