"""KAI out of cluster: its scheduler, binder, groupers, controllers and webhook as six processes of this machine.

Contract: KAI 0.12, its chart's CRDs and priority classes, and what its operator would install (pkg/operator/operands),
without the webhooks of Queue and PodGroup, whose port is fixed.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import processes
from ..api import Json, namespace
from ..cluster import Cluster
from ..containerd import SANDBOX_IMAGE
from ..extensions import CRD, HostService, apply_crds, read, remove_crds, webhooks

NAMESPACE = "kai-scheduler"
RESERVATIONS = "kai-resource-reservation"
QUEUES = "scheduling.run.ai/v2"
GROUPS = "scheduling.run.ai/v2alpha2"
SCHEDULER = "kai-scheduler"
ADMISSION = "kai-admission"
# Between two cycles of the scheduler; as installed, a second.
PERIOD = "200ms"
CONTROLLERS = ("kai-podgrouper", "kai-binder", "kai-podgroupcontroller", "kai-queuecontroller")
# The annotation in which a reservation pod says which GPU it got.
GPU_INDEX = "run.ai/reserve_for_gpu_index"


@dataclass
class Kai:
    """`start` it on a cluster, and `stop` it; `schedule` starts the scheduler anew with other flags."""

    cluster: Cluster
    webhook_port: int

    @classmethod
    def start(cls, cluster: Cluster) -> Kai:
        """Start KAI, and wait until it takes queues and schedules. Raises DidNotStart."""
        kai = cls(cluster, processes.free_port(cluster.network.address))
        apply_crds(cluster.api, kai._crds)
        cluster.api.apply(*kai._installed())
        for name, flags in kai._flags().items():
            kai._run(name, *flags)
        kai.up()
        # From now on no pod is created without KAI.
        cluster.api.apply(*kai._webhooks())
        kai.schedule()
        return kai

    def schedule(self, *flags: str) -> None:
        """Start or restart the scheduler as it is installed, with these flags added."""
        self.cluster.end(SCHEDULER)
        port, plugins = (processes.free_port("127.0.0.1") for _ in range(2))
        self._run(
            SCHEDULER,
            port,
            f"--listen-address=127.0.0.1:{port}",
            f"--plugin-server-port={plugins}",
            f"--schedule-period={PERIOD}",
            "--v=4",
            *flags,
        )

    def down(self) -> None:
        """End its webhook. The configurations stay, so the API server refuses every pod."""
        self.cluster.end(ADMISSION)

    def stop(self) -> None:
        """Remove KAI from the cluster."""
        api = self.cluster.api
        for obj in self._webhooks():
            api.delete(obj)
        self.cluster.end(SCHEDULER, ADMISSION, *CONTROLLERS)
        remove_crds(api, self._crds)
        api.remove(*self._installed())

    @property
    def _crds(self) -> list[Json]:
        return [obj for obj in read(self._chart / "crds") if obj["kind"] == CRD[1]]

    @property
    def _chart(self) -> Path:
        return self.cluster.source("kai") / "deployments" / "kai-scheduler"

    @property
    def _service(self) -> HostService:
        return HostService(NAMESPACE, ADMISSION, self.cluster.network.address, self.webhook_port)

    def _installed(self) -> list[Json]:
        """The objects of the chart that pods and its own need, without the queues that it makes for everybody."""
        account = {"name": RESERVATIONS, "namespace": RESERVATIONS}
        return [
            namespace(NAMESPACE),
            namespace(RESERVATIONS),
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
            *read(self._chart / "templates" / "priorityclasses"),
            *self._service.objects(),
            # KAI gives it to GPU pods; NVIDIA brings it, with a runtime that this machine has no use for.
            {
                "apiVersion": "node.k8s.io/v1",
                "kind": "RuntimeClass",
                "metadata": {"name": "nvidia"},
                "handler": "runc",
            },
        ]

    def _flags(self) -> Mapping[str, tuple[int, ...] | tuple[int | str, ...]]:
        """Return for each of CONTROLLERS a port that it listens on when it runs, and its flags."""
        ports = {name: processes.free_port("127.0.0.1") for name in CONTROLLERS}
        probed = {
            name: (port, f"--health-probe-bind-address=127.0.0.1:{port}", "--metrics-bind-address=0")
            for name, port in ports.items()
        }
        queues = "kai-queuecontroller"
        return {
            **probed,
            "kai-binder": (
                *probed["kai-binder"],
                f"--resource-reservation-pod-image={SANDBOX_IMAGE}",
                "--resource-reservation-allocation-timeout=20",
            ),
            "kai-podgroupcontroller": (*probed["kai-podgroupcontroller"][:2], "--enable-podgroup-webhook=false"),
            queues: (ports[queues], f"--metrics-listen-address=127.0.0.1:{ports[queues]}", "--enable-webhook=false"),
        }

    def _run(self, name: str, port: int, *flags: str, **environment: str) -> None:
        self.cluster.run(
            name,
            *flags,
            is_ready=lambda: _listens("127.0.0.1", port),
            environment={"KUBECONFIG": str(self.cluster.kubeconfig), **environment},
        )

    def up(self) -> None:
        """Start its webhook, which looks for its certificate below its temporary directory."""
        temporary = self.cluster.state / "kai-admission"
        certificates = temporary / "k8s-webhook-server" / "serving-certs"
        certificates.mkdir(parents=True, exist_ok=True, mode=0o700)
        pair = self._service.certificate(self.cluster.authority)
        shutil.copy(pair.certificate, certificates / "tls.crt")
        shutil.copy(pair.key, certificates / "tls.key")
        probe = processes.free_port("127.0.0.1")
        self._run(
            ADMISSION,
            self.webhook_port,
            f"--webhook-addr={self.webhook_port}",
            f"--health-probe-bind-address=127.0.0.1:{probe}",
            "--metrics-bind-address=0",
            "--gpu-sharing-enabled=true",
            TMPDIR=str(temporary),
        )

    def _webhooks(self) -> list[Json]:
        """Return the webhook configurations as KAI's operator writes them."""
        found = []
        for kind, path, operations in (
            ("MutatingWebhookConfiguration", "/mutate--v1-pod", ["CREATE"]),
            ("ValidatingWebhookConfiguration", "/validate--v1-pod", ["CREATE", "UPDATE"]),
        ):
            rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "Namespaced"}
            hook = {
                "name": f"{ADMISSION}.{NAMESPACE}.svc",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "clientConfig": {"service": {"path": path}},
                "rules": [{**rule, "operations": operations}],
            }
            found.append(
                {
                    "apiVersion": "admissionregistration.k8s.io/v1",
                    "kind": kind,
                    "metadata": {"name": ADMISSION},
                    "webhooks": [hook],
                }
            )
        return webhooks(found, self._service, self.cluster.authority)


def _listens(address: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((address, port), timeout=2).close()
        return True
    return False
