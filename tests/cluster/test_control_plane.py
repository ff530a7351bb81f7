"""The cluster itself: what a killed run leaves is swept, and nothing remains of one that was stopped."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from rig import processes
from rig.api import Refused, namespace
from rig.cluster import Cluster
from rig.control_plane import ControlPlane, Ports
from rig.network import Network
from rig.processes import DidNotStart


def test_an_unknown_field_is_refused(cluster: Cluster) -> None:
    cluster.api.apply(namespace("strict"))
    with pytest.raises(Refused, match='unknown field "datum"') as refused:
        cluster.api.create(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "c", "namespace": "strict"},
                "datum": {},
            }
        )
    assert refused.value.status == 400


def test_what_a_killed_run_left_is_swept_and_a_new_one_starts(cluster: Cluster, state: Path) -> None:
    first = Cluster.start(state, cluster.binary, cluster.source)
    first.api.apply(namespace("before"))
    for process in processes.running(state):
        os.kill(process.pid, signal.SIGKILL)
    assert Network.of(state) is not None

    second = Cluster.start(state, cluster.binary, cluster.source)
    assert second.api.find("v1", "Namespace", "before") is None
    second.stop()
    assert processes.running(state) == []
    assert Network.of(state) is None
    assert [path.name for path in sorted(state.iterdir())] == ["logs"]


def test_a_second_run_ends_the_first_of_the_same_directory(cluster: Cluster, state: Path) -> None:
    Cluster.start(state, cluster.binary, cluster.source)
    second = Cluster.start(state, cluster.binary, cluster.source)
    names = sorted(process.name for process in processes.running(state))
    assert names == ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]
    assert second.api.is_healthy()


@pytest.mark.parametrize(("which", "program"), [("etcd", "etcd"), ("etcd_peers", "etcd"), ("api", "kube-apiserver")])
def test_a_busy_port_is_named(cluster: Cluster, state: Path, which: str, program: str) -> None:
    state.mkdir()
    network = Network.make(state)
    with socket.socket() as busy:
        busy.bind((network.address, 0))
        busy.listen()
        port = busy.getsockname()[1]
        ports = replace(Ports.free(network.address), **{which: port})
        said = f"(?s)^{program} ended .*{network.address}:{port}: bind: address already"
        with pytest.raises(DidNotStart, match=said):
            ControlPlane.start(state, network.address, cluster.binary, ports=ports)
