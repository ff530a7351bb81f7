"""An embedded Kubernetes cluster for the demo and the fast tests.  Its pods are processes of this machine.

It imports no module of jupyter_research_spawner outside this directory.  tests/behaviour compares it with a real
kube-apiserver.
"""

from .apimachinery.api_errors import ApiError
from .apiserver.http_server import Api, Delays
from .cluster import Cluster
from .node.container_process import Abilities, abilities
from .node.kubelet import NodeSpec

__all__ = ["Abilities", "Api", "ApiError", "Cluster", "Delays", "NodeSpec", "abilities"]
