"""Volcano out of cluster: its webhooks, its controllers and its scheduler as three processes of this machine.

Contract: Volcano 1.14.1, installer/volcano-development.yaml of its module (what `kubectl apply` installs).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml

from .. import processes
from ..account import Account
from ..api import Json, namespace, until
from ..cluster import Cluster
from ..extensions import CRD, HostService, apply_crds, read, webhooks

NAMESPACE = "volcano-system"
API = "scheduling.volcano.sh/v1beta1"
WEBHOOKS = "vc-webhook-manager"
CONTROLLERS = "vc-controller-manager"
SCHEDULER = "vc-scheduler"
# Of the chart's values.yaml: neither /pods nor /podgroups/mutate is among them.
ADMISSIONS = (
    *("/jobs/mutate", "/jobs/validate", "/podgroups/validate", "/queues/mutate", "/queues/validate"),
    *("/hypernodes/validate", "/cronjobs/validate"),
)
# As installed; `preempt` and `reclaim` are in none of Volcano's own installations.
ACTIONS = "enqueue, allocate, backfill"
# Between two cycles of the scheduler; as installed, a second.
PERIOD = "200ms"


@dataclass
class Volcano:
    """`start` it on a cluster, and `stop` it; `schedule` starts the scheduler anew with other actions."""

    cluster: Cluster
    port: int
    configured: Json = field(default_factory=dict)

    @classmethod
    def start(cls, cluster: Cluster, actions: str = ACTIONS) -> Volcano:
        """Start Volcano, and wait until it takes queues and schedules. Raises DidNotStart."""
        volcano = cls(cluster, processes.free_port(cluster.network.address))
        apply_crds(cluster.api, volcano._installed)
        cluster.api.apply(namespace(NAMESPACE), *volcano._rights(), *volcano._service.objects())
        # First: the webhooks' server does not listen before it has found every one of them.
        cluster.api.apply(*volcano._webhooks())
        volcano._start_webhooks()
        cluster.run(
            CONTROLLERS,
            "--leader-elect=false",
            "-v=3",
            is_ready=lambda: True,
            environment=volcano._environment,
            account=Account(NAMESPACE, "volcano-controllers"),
        )
        volcano.schedule(actions)
        return volcano

    def schedule(self, actions: str = ACTIONS, *plugins: Json) -> None:
        """Start or restart the scheduler as it is installed, but with these actions, and with these plugins added."""
        settings = {**self._scheduler_settings(), "actions": actions}
        settings["tiers"][-1]["plugins"].extend(plugins)
        self.configured = settings
        self.cluster.end(SCHEDULER)
        log = processes.log_of(self.cluster.state, SCHEDULER)
        begun = log.stat().st_size if log.exists() else 0
        self._configuration.write_text(yaml.safe_dump(settings))
        self.cluster.run(
            SCHEDULER,
            f"--scheduler-conf={self._configuration}",
            "--disable-default-scheduler-config",  # an error in it must not go unseen
            "--leader-elect=false",
            "--cache-dumper=false",
            f"--schedule-period={PERIOD}",
            "-v=3",
            # After a restart the queue is open from before: only the log shows that this scheduler works.
            is_ready=lambda: b"Open Session" in log.read_bytes()[begun:] and self._is_open(),
            environment=self._environment,
            account=Account(NAMESPACE, "volcano-scheduler"),
        )

    def ensure(self, actions: str) -> None:
        """Restart the scheduler with these actions and no more plugins, unless that is its configuration already."""
        if self.configured != {**self._scheduler_settings(), "actions": actions}:
            self.schedule(actions)

    def close(self, queue: str) -> None:
        """Close the queue as `vcctl queue operate --action close` does. Pods in the queue stay in it."""
        self._command(queue, "CloseQueue", ("Closed", "Closing"))

    def open(self, queue: str) -> None:
        self._command(queue, "OpenQueue", ("Open",))

    def down(self) -> None:
        """End the webhooks' server. The configurations stay, so the API server refuses every PodGroup and Queue."""
        self.cluster.end(WEBHOOKS)

    def up(self) -> None:
        """Start the webhooks' server again, and wait until it listens."""
        self._start_webhooks()

    def stop(self) -> None:
        """Remove Volcano from the cluster."""
        api = self.cluster.api
        for obj in self._webhooks():
            api.delete(obj)
        self.cluster.end(WEBHOOKS, CONTROLLERS, SCHEDULER)
        crds = [obj for obj in self._installed if obj["kind"] == CRD[1]]
        api.remove(*crds, *self._rights(), *self._service.objects(), namespace(NAMESPACE))

    def _command(self, name: str, action: str, states: tuple[str, ...]) -> None:
        api = self.cluster.api
        queue = api.get(API, "Queue", name)
        reference = {"apiVersion": API, "kind": "Queue", "name": name, "uid": queue["metadata"]["uid"]}
        api.create(
            {
                "apiVersion": "bus.volcano.sh/v1alpha1",
                "kind": "Command",
                "metadata": {"generateName": f"{name}-", "namespace": NAMESPACE},
                "action": action,
                "target": {**reference, "controller": True},
            }
        )
        until(lambda: api.get(API, "Queue", name)["status"]["state"] in states, f"{action} of {name}")

    @cached_property
    def _installed(self) -> list[Json]:
        """Return all objects of Volcano's installation. Its controllers wait for ever for JobFlow's kinds too."""
        return read(self.cluster.source("volcano") / "installer" / "volcano-development.yaml")

    def _rights(self) -> list[Json]:
        """Return the accounts of its three programs, and their roles."""
        kinds = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
        return [obj for obj in self._installed if obj["kind"] in kinds]

    @property
    def _service(self) -> HostService:
        return HostService(NAMESPACE, "volcano-admission-service", self.cluster.network.address, self.port)

    @property
    def _configuration(self) -> Path:
        return self.cluster.state / "volcano-scheduler.yaml"

    @property
    def _environment(self) -> Mapping[str, str]:
        """Return the directory of the sockets on which each program takes its log level."""
        return {"DEBUG_SOCKET_DIR": str(self.cluster.state / "volcano")}

    def _scheduler_settings(self) -> Json:
        (found,) = (obj for obj in self._installed if obj["metadata"]["name"] == "volcano-scheduler-configmap")
        settings: Json = yaml.safe_load(found["data"]["volcano-scheduler.conf"])
        return settings

    def _webhooks(self) -> list[Json]:
        return webhooks(self._installed, self._service, self.cluster.authority)

    def _start_webhooks(self) -> None:
        pair = self._service.certificate(self.cluster.authority)
        self.cluster.run(
            WEBHOOKS,
            f"--enabled-admission={','.join(ADMISSIONS)}",
            f"--tls-cert-file={pair.certificate}",
            f"--tls-private-key-file={pair.key}",
            f"--ca-cert-file={self.cluster.authority.certificate}",
            f"--webhook-namespace={NAMESPACE}",
            f"--webhook-service-name={self._service.name}",
            f"--listen-address={self.cluster.network.address}",
            f"--port={self.port}",
            "-v=3",
            is_ready=self._listens,
            environment=self._environment,
            account=Account(NAMESPACE, "volcano-admission"),
        )

    def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((self.cluster.network.address, self.port), timeout=2).close()
            return True
        return False

    def _is_open(self) -> bool:
        """Return whether the queue `default` is open: the scheduler creates it, and the controllers open it."""
        found = self.cluster.api.find(API, "Queue", "default") or {}
        return bool(found.get("status", {}).get("state") == "Open")
