"""containerd with runc and the CNI plugins `bridge` and `host-local`, all of it below a node's own directory.

Seen with containerd 2.2 (version 3 of its configuration) and, for a node without `supplementalGroupsPolicy`, with 1.6.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .namespaces import Namespaces
from .network import Network

SOCKET = Path("/run/containerd/containerd.sock")
SANDBOX_IMAGE = "localhost/pause:1"
# Debian's place, then the one that the CNI project's own archives are unpacked to.
PLUGINS = [directory for directory in ("/usr/lib/cni", "/opt/cni/bin") if Path(directory).is_dir()]
_CAP_SYS_RESOURCE = 24

Table = Mapping[str, object]


class DidNotImport(RuntimeError):
    """containerd refused an archive; the sentence ends with what it said."""


@dataclass(frozen=True)
class Runtime:
    """The programs of a node's containerd."""

    daemon: Path
    shim: Path
    ctr: Path
    version: int = 3  # of the configuration

    @classmethod
    def of(cls, binary: Callable[[str], Path]) -> Runtime:
        return cls(binary("containerd"), binary("containerd-shim-runc-v2"), binary("ctr"))

    @classmethod
    def of_debian(cls, directory: Path, ctr: Path) -> Runtime:
        """Debian's package `containerd` (1.6 in bookworm, 1.7 in trixie), unpacked into `directory`, not installed."""
        if not directory.exists():
            partial = directory.with_name(f"{directory.name}.{os.getpid()}")
            partial.mkdir(parents=True)
            subprocess.run(["apt-get", "download", "-qq", "containerd"], cwd=partial, check=True, capture_output=True)
            (package,) = partial.glob("containerd_*.deb")
            subprocess.run(["dpkg-deb", "--extract", package, partial], check=True)
            package.unlink()
            partial.rename(directory)
        programs = directory / "usr/bin"
        return cls(programs / "containerd", programs / "containerd-shim-runc-v2", ctr, version=2)


def start(
    namespaces: Namespaces, runtime: Runtime, directory: Path, network: Network
) -> tuple[str, subprocess.Popen[bytes]]:
    """Start containerd. Return its name in the logs and its process; it is ready when `answers` returns True."""
    _write_network(directory / "cni", network, addresses=namespaces.state / "addresses")
    configuration = directory / "containerd.toml"
    tables = _CONFIGURATIONS[runtime.version](directory)
    configuration.write_text("\n".join(_toml(tables)) + "\n")
    program = f"{namespaces.name}-containerd"
    search = f"{runtime.shim.parent}:{os.environ['PATH']}"  # it finds its shim and runc there
    return program, namespaces.start(program, [runtime.daemon, "--config", configuration], {"PATH": search})


def answers(namespaces: Namespaces, runtime: Runtime) -> bool:
    return subprocess.run(_ctr(namespaces, runtime, "version"), check=False, capture_output=True).returncode == 0


def import_images(namespaces: Namespaces, runtime: Runtime, write: Callable[[IO[bytes]], None]) -> None:
    """Take images from an archive (OCI image layout, a tar) that `write` writes into a pipe.  Raises DidNotImport."""
    # Here, not in the daemon (--local): 1.6 has no transfer service.
    command = _ctr(namespaces, runtime, "images", "import", "--local", "-")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stderr
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # it says itself why it reads no further
            write(pipe)
        said = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise DidNotImport(f"containerd of {namespaces.name} did not take the images: {said}")


def _ctr(namespaces: Namespaces, runtime: Runtime, *words: str) -> list[str | Path]:
    return namespaces.command(runtime.ctr, f"--address={SOCKET}", "--namespace=k8s.io", *words)


def _write_network(directory: Path, network: Network, addresses: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    ipam = {
        "type": "host-local",
        "dataDir": str(addresses),
        "ranges": [[{"subnet": network.subnet, "rangeEnd": network.last_of_pods, "gateway": network.address}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    # No isGateway: the bridge has its address, and the plugin would switch on this machine's forwarding.
    bridge = {"type": "bridge", "bridge": network.bridge, "ipam": ipam}
    conflist = {"cniVersion": "1.0.0", "name": network.bridge, "plugins": [bridge]}
    (directory / "rig.conflist").write_text(json.dumps(conflist, indent=2))


def _configuration_3(directory: Path) -> Table:
    runtime = {
        "restrict_oom_score_adj": not _may_raise_priority(),
        "cni": {"bin_dirs": PLUGINS, "conf_dir": str(directory / "cni")},
        "containerd": {"runtimes": {"runc": {"runtime_type": "io.containerd.runc.v2", "options": _RUNC}}},
    }
    return _common(directory) | {
        "version": 3,
        "plugins": {
            "io.containerd.cri.v1.images": {"pinned_images": {"sandbox": SANDBOX_IMAGE}},
            "io.containerd.cri.v1.runtime": runtime,
            "io.containerd.nri.v1.nri": {"disable": True},
        },
    }


def _configuration_2(directory: Path) -> Table:
    cri = {
        "sandbox_image": SANDBOX_IMAGE,
        "restrict_oom_score_adj": not _may_raise_priority(),
        "cni": {"bin_dir": PLUGINS[0], "conf_dir": str(directory / "cni")},
        "containerd": {"runtimes": {"runc": {"runtime_type": "io.containerd.runc.v2", "options": _RUNC}}},
    }
    return _common(directory) | {"version": 2, "plugins": {"io.containerd.grpc.v1.cri": cri}}


_CONFIGURATIONS: Mapping[int, Callable[[Path], Table]] = {2: _configuration_2, 3: _configuration_3}
_RUNC = {"SystemdCgroup": False}


def _common(directory: Path) -> dict[str, object]:
    return {
        "root": str(directory / "containerd"),
        "state": str(SOCKET.parent),
        "imports": [],
        "grpc": {"address": str(SOCKET)},
        "disabled_plugins": ["io.containerd.internal.v1.opt"],  # it would make /opt/containerd
    }


def _may_raise_priority() -> bool:
    """Without CAP_SYS_RESOURCE, which containers often lack, runc may not give a sandbox its oom_score_adj of -998."""
    status = Path("/proc/self/status").read_text().splitlines()
    (effective,) = (line.split()[1] for line in status if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_SYS_RESOURCE & 1)


def _toml(table: Table, path: tuple[str, ...] = ()) -> Iterator[str]:
    """JSON's strings, booleans, numbers and arrays are TOML's too."""
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    if path:
        yield f"[{'.'.join(json.dumps(key) for key in path)}]"
    for key, value in table.items():
        if key not in inner:
            yield f"{json.dumps(key)} = {json.dumps(value)}"
    for key, value in inner.items():
        yield from _toml(value, (*path, key))
