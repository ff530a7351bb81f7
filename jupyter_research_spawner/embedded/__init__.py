"""A stand-in Kubernetes cluster for the demo and the fast tests: pods are processes of this machine.

It imports nothing else of this package.  Contract: what tests/behaviour checks, also against a real kube-apiserver.
"""

from .api import Api, Delays
from .cluster import Cluster
from .container import Abilities, abilities
from .errors import ApiError
from .node import NodeSpec

__all__ = ["Abilities", "Api", "ApiError", "Cluster", "Delays", "NodeSpec", "abilities"]
