"""Argo's workflow controller out of cluster, with its executor in the pods.

Contract: Argo Workflows 3.7.0, manifests/base of its module.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import yaml

from .. import oci
from ..api import Json, namespace
from ..cluster import Cluster
from ..extensions import CRD, apply_crds, read, remove_crds
from ..node import Node
from ..processes import log_of

API = "argoproj.io/v1alpha1"
NAMESPACE = "argo"
CONTROLLER = "workflow-controller"
EXECUTOR_IMAGE = "localhost/rig/argoexec:1"


@dataclass(frozen=True)
class Argo:
    """`start` it on a cluster, and `stop` it; `down` and `up` again are what an operator sees of a crash."""

    cluster: Cluster

    @classmethod
    def start(cls, cluster: Cluster, node: Node, executor: Json) -> Argo:
        """`executor` is what a site says of the containers that Argo adds: securityContext, resources.

        Raises DidNotStart.
        """
        argo = cls(cluster)
        argo._import_executor(node)
        apply_crds(cluster.api, argo._crds())
        cluster.api.apply(namespace(NAMESPACE), argo._configuration(executor))
        argo.up()
        return argo

    def up(self) -> None:
        log = log_of(self.cluster.state, CONTROLLER)
        begun = log.stat().st_size if log.exists() else 0
        self.cluster.run(
            CONTROLLER,
            f"--kubeconfig={self.cluster.kubeconfig}",
            f"--namespace={NAMESPACE}",
            f"--executor-image={EXECUTOR_IMAGE}",
            "--executor-image-pull-policy=IfNotPresent",
            "--qps=100",
            "--burst=200",
            # Its only probe is on a fixed port, which another cluster's controller may have.
            is_ready=lambda: b"Current Worker Numbers" in log.read_bytes()[begun:],
            environment={"LEADER_ELECTION_DISABLE": "true"},
        )

    def down(self) -> None:
        self.cluster.end(CONTROLLER)

    def stop(self) -> None:
        api = self.cluster.api
        api.delete_all(API, "Workflow")
        self.down()
        remove_crds(api, self._crds())
        api.remove(namespace(NAMESPACE))

    def _crds(self) -> list[Json]:
        """Workflows with their whole schema, so that the API server knows an unknown field; the others without."""
        crds = self.cluster.source("argo") / "manifests" / "base" / "crds"
        whole = crds / "full" / "argoproj.io_workflows.yaml"
        found = read(whole, *(file for file in (crds / "minimal").glob("*_*.yaml") if file.name != whole.name))
        return [obj for obj in found if obj["kind"] == CRD[1]]

    def _import_executor(self, node: Node) -> None:
        """Its image as Argo's own Dockerfile makes it, but for artifacts' needs."""
        directory = self.cluster.state / "argoexec"
        (directory / "image" / "bin").mkdir(parents=True, exist_ok=True)
        shutil.copy(self.cluster.binary("argoexec"), directory / "image" / "bin" / "argoexec")
        layer = directory / "layer.tar"
        sha256 = oci.write_layer(layer, directory / "image")
        image = oci.Image(EXECUTOR_IMAGE, [oci.Layer(layer, sha256)], entrypoint=["/bin/argoexec"])
        node.import_images(lambda stream: oci.write_archive(stream, [image]))
        shutil.rmtree(directory)

    def _configuration(self, executor: Json) -> Json:
        host, port = self.cluster.plane.url.removeprefix("https://").split(":")
        # There is no kube-proxy for the address of the API server's Service.
        reached = [
            {"name": "KUBERNETES_SERVICE_HOST", "value": host},
            {"name": "KUBERNETES_SERVICE_PORT", "value": port},
        ]
        settings = {"executor": {**executor, "env": reached}, "metricsConfig": {"enabled": False}}
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "workflow-controller-configmap", "namespace": NAMESPACE},
            "data": {"config": yaml.safe_dump(settings)},
        }
