"""The KubeRay operator out of cluster.  Contract: KubeRay 1.6.0, config/crd of its module; its webhooks are off."""

from __future__ import annotations

from ..cluster import Cluster
from .runtime import Operator, free_health_port

API = "ray.io/v1"
NAMESPACE = "ray-system"
# Without Ray in the image: its probes and the workers' wait for the head would never succeed.
WITHOUT_RAY = {"ENABLE_PROBES_INJECTION": "false", "ENABLE_INIT_CONTAINER_INJECTION": "false"}


def start(cluster: Cluster, *, with_ray: bool = False) -> Operator:
    """with_ray: whether images have it, and pods are made as KubeRay makes them by default.  Raises DidNotStart."""
    operator = Operator(
        cluster,
        "kuberay-operator",
        NAMESPACE,
        made=[(API, "RayJob"), (API, "RayCluster")],
        crds=cluster.source("kuberay") / "config" / "crd" / "bases",
        environment={} if with_ray else WITHOUT_RAY,
    )
    health = free_health_port()
    operator.start(
        health,
        "--metrics-addr=0",
        f"--health-probe-bind-address=127.0.0.1:{health}",
        "--enable-leader-election=false",
        # There is no DNS here: it reaches a head through the API server.
        "--use-kubernetes-proxy",
    )
    return operator
