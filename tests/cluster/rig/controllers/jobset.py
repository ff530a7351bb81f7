"""JobSet out of cluster.  Contract: JobSet 0.12.0, config/components of its module."""

from __future__ import annotations

import yaml

from .. import processes
from ..cluster import Cluster
from ..extensions import HostService
from .runtime import Operator, free_health_port

API = "jobset.x-k8s.io/v1alpha2"
NAMESPACE = "jobset-system"


def start(cluster: Cluster) -> Operator:
    """Start JobSet's controller with its webhooks. Raises DidNotStart."""
    address = cluster.network.address
    components = cluster.source("jobset") / "config" / "components"
    operator = Operator(
        cluster,
        "jobset-controller",
        NAMESPACE,
        made=[(API, "JobSet")],
        crds=components / "crd" / "bases",
        service=HostService(NAMESPACE, "jobset-webhook-service", address, processes.free_port(address)),
        hooks=components / "webhook" / "manifests.yaml",
    )
    assert operator.service
    health = free_health_port()
    configuration = {
        "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": address, "port": operator.service.port, "certDir": str(operator.certificates)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
    }
    file = cluster.state / "jobset.yaml"
    file.write_text(yaml.safe_dump(configuration))
    operator.start(health, f"--config={file}")
    return operator
