"""The MPI operator out of cluster: MPIJobs become one launcher Job and worker pods.

Contract: mpi-operator 0.8.0, manifests/base of its module.  It has no webhooks; it elects itself by a lease.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .. import apart
from ..api import namespace
from ..cluster import Cluster
from ..extensions import apply_crds, read, remove_crds

NAMESPACE = "mpi-operator"
NAME = "mpi-operator"
API = "kubeflow.org/v2beta1"
# Its probe listens on port 8080 of every address it has, which cannot be changed.


@dataclass(frozen=True)
class MpiOperator:
    """`start` it on a cluster, and `stop` it."""

    cluster: Cluster

    @classmethod
    def start(cls, cluster: Cluster) -> MpiOperator:
        """Start the operator, and wait until it is the leader. Raises DidNotStart."""
        operator = cls(cluster)
        apply_crds(cluster.api, read(operator._crds))
        cluster.api.apply(namespace(NAMESPACE))
        apart.run(
            cluster,
            NAME,
            f"-kubeConfig={cluster.kubeconfig}",
            f"-lock-namespace={NAMESPACE}",
            "-monitoring-port=0",
            "-kube-api-qps=100",
            "-kube-api-burst=200",
            "-alsologtostderr",
            is_ready=operator._is_leading,
            # It ends when it cannot renew its lease within 5 s, which has no flag: a busy machine stalls for longer.
            restarted=True,
        )
        return operator

    def stop(self) -> None:
        api = self.cluster.api
        api.delete_all(API, "MPIJob")
        self.cluster.end(NAME)
        remove_crds(api, read(self._crds))
        api.remove(namespace(NAMESPACE))

    @property
    def _crds(self) -> Path:
        return self.cluster.source(NAME) / "manifests" / "base" / "kubeflow.org_mpijobs.yaml"

    def _is_leading(self) -> bool:
        lease = self.cluster.api.find("coordination.k8s.io/v1", "Lease", NAME, NAMESPACE)
        return lease is not None and bool(lease["spec"].get("holderIdentity"))
