"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler, on an address that pods reach too.

Flags as in Kubernetes 1.36 (kubernetes.io/docs/reference/command-line-tools-reference).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from . import kubeconfig, processes
from .api import Api
from .certificates import Authority, Pair

SERVICE_RANGE = "10.214.0.0/16"
SERVICE_OF_API = "10.214.0.1"
DOMAIN = "cluster.local"
ADMINISTRATORS = "system:masters"

Binary = Callable[[str], Path]


@dataclass(frozen=True)
class Flags:
    """Changes that a test needs: more flags of a program (without dashes), and the scheduler's configuration."""

    apiserver: Mapping[str, str] = field(default_factory=dict)
    controller_manager: Mapping[str, str] = field(default_factory=dict)
    scheduler: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Ports:
    """The ports of the API server, and of etcd for its clients and its peers."""

    api: int
    etcd: int
    etcd_peers: int

    @classmethod
    def free(cls, address: str) -> Ports:
        return cls(*(processes.free_port(address) for _ in range(3)))


class ControlPlane:
    """A running control plane. Start it with `ControlPlane.start`; its files are below `state`."""

    def __init__(self, state: Path, address: str, binary: Binary, ports: Ports) -> None:
        self.state = state
        self.address = address
        self.authority = Authority(state / "certificates")
        self.kubeconfig = state / "kubeconfig"
        self._binary = binary
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = ports
        self.url = f"https://{address}:{ports.api}"
        self.administrator = self.authority.pair("administrator", organization=ADMINISTRATORS)
        self.api = Api(self.url, str(self.authority.certificate), pair=self.administrator)

    @classmethod
    def start(
        cls, state: Path, address: str, binary: Binary, flags: Flags | None = None, ports: Ports | None = None
    ) -> ControlPlane:
        """Start the control plane, and wait until it accepts objects. Raises DidNotStart."""
        flags = flags or Flags()
        plane = cls(state, address, binary, ports or Ports.free(address))
        shutil.rmtree(state / "etcd", ignore_errors=True)
        plane._start_etcd()
        plane._start_apiserver(flags.apiserver)
        kubeconfig.write(plane.kubeconfig, plane.url, plane.authority.certificate, plane.administrator)
        plane._start_controller_manager(flags.controller_manager)
        plane._start_scheduler(flags.scheduler)
        return plane

    def client_config(self, name: str, common_name: str, organization: str | None = None) -> Path:
        """Write a kubeconfig for a user of that name (and group)."""
        pair = self.authority.pair(name, common_name=common_name, organization=organization)
        return kubeconfig.write(self.state / f"{name}.kubeconfig", self.url, self.authority.certificate, pair)

    def _run(self, name: str, flags: Mapping[str, object], is_ready: Callable[[], bool]) -> None:
        words = [f"--{flag}={value}" for flag, value in flags.items()]
        process = processes.start(self.state, name, [self._binary(name), *words])
        self._processes[name] = process
        processes.ready(self.state, name, process, is_ready)

    def _start_etcd(self) -> None:
        pair = self.authority.pair("etcd", hosts=[self.address])
        client, peer = (f"https://{self.address}:{port}" for port in (self._ports.etcd, self._ports.etcd_peers))
        secured: dict[str, object] = {}
        for prefix in ("", "peer-"):
            secured |= {
                f"{prefix}cert-file": pair.certificate,
                f"{prefix}key-file": pair.key,
                f"{prefix}trusted-ca-file": self.authority.certificate,
                f"{prefix}client-cert-auth": "true",
            }
        probe = Api(client, str(self.authority.certificate), pair=pair)
        self._run(
            "etcd",
            {
                "name": "rig",
                "data-dir": self.state / "etcd",
                "listen-client-urls": client,
                "advertise-client-urls": client,
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "initial-cluster": f"rig={peer}",
                "unsafe-no-fsync": "true",  # a test's cluster does not outlive its machine
                **secured,
            },
            lambda: _answers(probe, "/health"),
        )

    def _start_apiserver(self, more: Mapping[str, str]) -> None:
        sign = self.authority.pair
        hosts = [
            self.address,
            SERVICE_OF_API,
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ]
        serving = sign("kube-apiserver", hosts=hosts)
        to_kubelet = sign("kube-apiserver-kubelet-client", organization=ADMINISTRATORS)
        to_extension = sign("front-proxy-client")
        to_etcd = sign("kube-apiserver-etcd-client")
        tokens = self.authority.key_pair("service-account")
        authority = self.authority.certificate
        self._run(
            "kube-apiserver",
            {
                "bind-address": self.address,
                "advertise-address": self.address,
                "secure-port": self._ports.api,
                "etcd-servers": f"https://{self.address}:{self._ports.etcd}",
                "etcd-cafile": authority,
                **_files("etcd-certfile", "etcd-keyfile", to_etcd),
                **_files("tls-cert-file", "tls-private-key-file", serving),
                "client-ca-file": authority,
                **_files("kubelet-client-certificate", "kubelet-client-key", to_kubelet),
                "kubelet-certificate-authority": authority,
                "kubelet-preferred-address-types": "InternalIP",  # there is no DNS
                **_files("proxy-client-cert-file", "proxy-client-key-file", to_extension),
                "requestheader-client-ca-file": authority,
                "requestheader-allowed-names": "front-proxy-client",
                "requestheader-username-headers": "X-Remote-User",
                "requestheader-group-headers": "X-Remote-Group",
                "requestheader-extra-headers-prefix": "X-Remote-Extra-",
                # The API server calls webhooks and aggregated APIs at their endpoints: there is no kube-proxy.
                "enable-aggregator-routing": "true",
                "service-account-issuer": f"https://kubernetes.default.svc.{DOMAIN}",
                "service-account-key-file": tokens.certificate,
                "service-account-signing-key-file": tokens.key,
                "service-cluster-ip-range": SERVICE_RANGE,
                "authorization-mode": "Node,RBAC",
                "enable-admission-plugins": "NodeRestriction",
                "allow-privileged": "true",
                "anonymous-auth": "false",
                "shutdown-delay-duration": "0s",
                "event-ttl": "2h",
                **more,
            },
            self.api.is_healthy,
        )

    def _start_controller_manager(self, more: Mapping[str, str]) -> None:
        config = self.client_config("kube-controller-manager", "system:kube-controller-manager")
        certificates = self.state / "certificates"
        port = processes.free_port("127.0.0.1")
        self._run(
            "kube-controller-manager",
            {
                "kubeconfig": config,
                "bind-address": "127.0.0.1",
                "secure-port": port,
                "root-ca-file": self.authority.certificate,
                "service-account-private-key-file": certificates / "service-account.key",
                "use-service-account-credentials": "true",
                "leader-elect": "false",
                # By default 20 a second for each controller: a thousand nodes would take minutes to be ready.
                "kube-api-qps": "500",
                "kube-api-burst": "1000",
                **more,
            },
            # It makes this account in every namespace, and pods need it.
            lambda: self.api.find("v1", "ServiceAccount", "default", "default") is not None,
        )

    def _start_scheduler(self, more: Mapping[str, object]) -> None:
        kubeconfig_file = self.client_config("kube-scheduler", "system:kube-scheduler")
        configuration = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {"kubeconfig": str(kubeconfig_file), "qps": 500, "burst": 1000},
            "leaderElection": {"leaderElect": False},
            **more,
        }
        file = self.state / "kube-scheduler.yaml"
        file.write_text(yaml.safe_dump(configuration))
        port = processes.free_port("127.0.0.1")
        probe = Api(f"https://127.0.0.1:{port}", str(self.authority.certificate), pair=self.administrator)
        serving = self.authority.pair("kube-scheduler-serving", hosts=["127.0.0.1"])
        self._run(
            "kube-scheduler",
            {
                "config": file,
                "bind-address": "127.0.0.1",
                "secure-port": port,
                **_files("tls-cert-file", "tls-private-key-file", serving),
                "client-ca-file": self.authority.certificate,
                "authorization-always-allow-paths": "/healthz,/readyz,/livez",
            },
            lambda: _answers(probe, "/healthz"),
        )


def _files(certificate: str, key: str, pair: Pair) -> dict[str, Path]:
    return {certificate: pair.certificate, key: pair.key}


def _answers(api: Api, path: str) -> bool:
    try:
        api.probe(path)
    except Exception:  # not yet, whatever it is: the time limit of the wait tells what became of it
        return False
    return True
