"""A kubelet on containerd, with cgroups of its own; on version 1 of cgroups too.

KubeletConfiguration kubelet.config.k8s.io/v1beta1, seen with 1.36.3.
"""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from . import containerd, processes
from .certificates import Pair
from .namespaces import Namespaces

ROOT = Path("/var/lib/kubelet")  # fixed for device plugins, whatever --root-dir says


# The kubelet would set these for the whole machine. It sees files with the values that it wants instead.
_TUNABLES = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


@dataclass(frozen=True)
class Account:
    """The credentials with which the kubelet and the API server identify each other."""

    kubeconfig: Path
    authority: Path
    serving: Pair


def start(
    namespaces: Namespaces,
    program: Path,
    directory: Path,
    *,
    address: str,
    account: Account,
    cgroup: str,
    options: Mapping[str, object],
    labels: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """Start a kubelet, and wait until it is healthy. `options` override its configuration. Raises DidNotStart."""
    health = processes.free_port("127.0.0.1")
    own = {"cgroupRoot": cgroup, "healthzPort": health}
    configuration = _configuration(directory, address, account) | own | dict(options)
    file = directory / "kubelet.yaml"
    file.write_text(yaml.safe_dump(configuration, sort_keys=False))
    name = f"{namespaces.name}-kubelet"
    process = namespaces.start(
        name,
        [
            program,
            f"--config={file}",
            f"--kubeconfig={account.kubeconfig}",
            f"--hostname-override={namespaces.name}",
            f"--node-ip={address}",
            f"--node-labels={','.join(f'{key}={value}' for key, value in labels.items())}",
        ],
        {},
    )
    processes.ready(namespaces.state, name, process, lambda: _is_healthy(health))
    return process


def own_places(directory: Path) -> dict[Path, Path]:
    """Return the paths that kubelets must not share, and the files that replace them, for Namespaces.make."""
    own = {ROOT: directory / "kubelet", Path("/var/log/containers"): directory / "container-links"}
    for tunable, number in _TUNABLES.items():
        file = directory / "sys" / tunable
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{number}\n")
        own[Path("/proc/sys") / tunable] = file
    return own


def _configuration(directory: Path, address: str, account: Account) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{containerd.SOCKET}",
        "address": address,
        "port": processes.free_port(address),
        "tlsCertFile": str(account.serving.certificate),
        "tlsPrivateKeyFile": str(account.serving.key),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True, "cacheTTL": "10s"},
            "x509": {"clientCAFile": str(account.authority)},
        },
        "authorization": {"mode": "Webhook"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "resolvConf": "",  # there is no DNS, and the machine's own resolver is not for pods
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(directory / "pods"),
        "volumePluginDir": str(directory / "volume-plugins"),
        "maxPods": 200,
        "serializeImagePulls": False,
        "containerLogMaxSize": "20Mi",
        # A full disk of this machine must not evict the tests' pods, nor delete their images.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        # Tests start and end hundreds of pods: report their status soon.
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
    }


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
