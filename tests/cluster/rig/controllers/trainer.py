"""Kubeflow Trainer out of cluster: TrainJobs become JobSets, so JobSet runs beside it.

Contract: Trainer 2.3.0, manifests/base of its module.
"""

from __future__ import annotations

import yaml

from .. import processes
from ..cluster import Cluster
from ..extensions import HostService
from .runtime import Operator, free_health_port

API = "trainer.kubeflow.org/v1alpha1"
NAMESPACE = "kubeflow-system"


def start(cluster: Cluster) -> Operator:
    """Start Trainer's controller with its webhooks. Raises DidNotStart."""
    address = cluster.network.address
    base = cluster.source("trainer") / "manifests" / "base"
    operator = Operator(
        cluster,
        "trainer-controller-manager",
        NAMESPACE,
        made=[(API, "TrainJob"), (API, "TrainingRuntime"), (API, "ClusterTrainingRuntime")],
        crds=base / "crds",
        service=HostService(NAMESPACE, "kubeflow-trainer-controller-manager", address, processes.free_port(address)),
        hooks=base / "webhook" / "manifests.yaml",
        # It looks for the webhook's certificate below the directory for temporary files; there is no setting for that.
        environment={"TMPDIR": str(cluster.state / "trainer-controller-manager")},
    )
    assert operator.service
    health = free_health_port()
    configuration = {
        "apiVersion": "config.trainer.kubeflow.org/v1alpha1",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": address, "port": operator.service.port},
        "leaderElection": {"leaderElect": False},
        "certManagement": {"enable": False},
    }
    file = cluster.state / "trainer.yaml"
    file.write_text(yaml.safe_dump(configuration))
    operator.start(health, f"--config={file}")
    return operator
