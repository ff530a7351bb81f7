"""A real node: who its containers are, what they reach, and that nothing of it stays on this machine."""

from __future__ import annotations

import functools
import http.server
import os
import signal
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import belongings
import pytest
from belongings import Belongings
from rig import images, layers, processes
from rig.api import Json, namespace, until
from rig.cluster import Cluster, sweep
from rig.containerd import Runtime
from rig.network import FOR_PROGRAMS, bridge_of
from rig.node import Node
from rig.programs import Programs

NAMESPACE = "node-tests"
ALICE = {"runAsUser": 20001, "runAsGroup": 20001, "supplementalGroups": [20500]}
SLEEP = ["sleep", "1d"]


@pytest.fixture(scope="module", autouse=True)
def _namespace(cluster: Cluster) -> Iterator[None]:
    _make_namespace(cluster)
    yield
    cluster.api.delete(namespace(NAMESPACE))


def _make_namespace(cluster: Cluster) -> None:
    cluster.api.apply(namespace(NAMESPACE))
    found = functools.partial(cluster.api.find, "v1", "ServiceAccount", "default", NAMESPACE)
    until(found, "the namespace has its ServiceAccount")


@contextmanager
def _pod(cluster: Cluster, name: str, command: list[str], *, image: str = images.JOB, **spec: Any) -> Iterator[Json]:
    """A pod on the node "node" unless `spec` has another; it is gone afterwards."""
    container = {"name": "main", "image": image, "imagePullPolicy": "Never", "command": command}
    container |= spec.pop("main", {})
    pod = cluster.api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "nodeName": "node",
                "restartPolicy": "Never",
                "securityContext": {**ALICE, "supplementalGroupsPolicy": "Strict"},
                "containers": [container],
                **spec,
            },
        }
    )
    try:
        yield pod
    finally:
        cluster.api.delete(pod, gracePeriodSeconds=0)


def _comes_to(cluster: Cluster, pod: Json, *phases: str) -> Json:
    def look() -> Json | None:
        found = cluster.api.get("v1", "Pod", pod["metadata"]["name"], NAMESPACE)
        return found if found["status"]["phase"] in phases else None

    return until(look, f"{pod['metadata']['name']} is {' or '.join(phases)}")


def _prints(cluster: Cluster, name: str, command: list[str], **kwargs: Any) -> str:
    """The log of a pod that ran `command` to its end."""
    with _pod(cluster, name, command, **kwargs) as pod:
        _comes_to(cluster, pod, "Succeeded", "Failed")
        return cluster.api.logs(NAMESPACE, name).rstrip("\n")


def test_a_container_is_who_its_pod_says(cluster: Cluster, node: Node) -> None:
    assert node.status()["features"] == {"supplementalGroupsPolicy": True}
    assert _prints(cluster, "id", ["id"]) == "uid=20001 gid=20001 groups=20001,20500"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("Merge", "uid=20001(alice) gid=20001(alice) groups=20001(alice),20500,30666(secret)"),
        ("Strict", "uid=20001(alice) gid=20001(alice) groups=20001(alice),20500"),
    ],
)
def test_an_image_adds_a_group_only_where_groups_are_merged(
    cluster: Cluster, node: Node, policy: str, expected: str
) -> None:
    context = {**ALICE, "supplementalGroupsPolicy": policy}
    printed = _prints(cluster, policy.lower(), ["id"], image=images.CLAIMS_GROUP, securityContext=context)
    assert printed == expected


def test_pods_and_this_machine_reach_each_other(cluster: Cluster, node: Node, tmp_path: Path) -> None:
    (tmp_path / "greeting").write_text("from this machine")
    serve = "cd /tmp && echo -n from a pod > greeting && exec python3 -m http.server 8000"
    with _pod(cluster, "server", ["sh", "-c", serve]) as pod, _served(tmp_path, cluster.network.address) as port:
        address = _comes_to(cluster, pod, "Running")["status"]["podIP"]
        url = f"http://{address}:8000/greeting"
        assert until(functools.partial(_fetched, url), "the pod's server answers") == "from a pod"
        fetch = (
            "import sys, urllib.request; print([urllib.request.urlopen(url).read().decode() for url in sys.argv[1:]])"
        )
        urls = [f"http://{cluster.network.address}:{port}/greeting", url]
        assert _prints(cluster, "client", ["python3", "-c", fetch, *urls]) == "['from this machine', 'from a pod']"


def test_no_pod_gets_the_address_of_a_program_apart(cluster: Cluster, node: Node) -> None:
    """host-local goes on from the last that it gave: the pods of many tests come to the end of the subnet."""
    network = cluster.network
    last = cluster.state / "addresses" / network.bridge / "last_reserved_ip.0"
    last.parent.mkdir(parents=True, exist_ok=True)  # no pod may have been here before
    last.write_text(network.last_of_pods)
    with _pod(cluster, "next", SLEEP) as pod:
        given = _comes_to(cluster, pod, "Running")["status"]["podIP"]
    assert given not in {network.apart(number) for number in range(FOR_PROGRAMS)}
    assert ip_network(network.subnet)[1] < ip_address(given) < ip_address(network.last_of_pods)


@contextmanager
def _served(directory: Path, address: str) -> Iterator[int]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=directory)
    with http.server.ThreadingHTTPServer((address, 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def _fetched(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return None


def test_the_notebook_image_has_a_server_and_the_project(cluster: Cluster, node: Node) -> None:
    with _pod(cluster, "notebook", SLEEP, image=images.NOTEBOOK) as pod:
        _comes_to(cluster, pod, "Running")
        version = cluster.inside(pod, "jupyterhub-singleuser", "--version")
        assert version.split(".")[0].isdigit()
        module = cluster.inside(pod, "python3", "-c", "import jupyter_research_spawner as found; print(found.__file__)")
        assert module == "/usr/local/lib/project/jupyter_research_spawner/__init__.py"


def test_images_have_nothing_of_this_machines_configuration(cluster: Cluster, node: Node) -> None:
    names = ["sources.list", "*.sources", "pip.conf", "direct_url.json", "bootstrap.log"]
    tests = [word for name in names for word in ("-o", "-name", name)][1:]
    find = ["sh", "-c", 'id -u && find / -xdev -type f \\( "$@" \\) 2>/dev/null', "sh", *tests]
    assert _prints(cluster, "traces", find, image=images.NOTEBOOK) == "20001"


def test_containerd_of_debian_refuses_strict_groups_with_a_reason(cluster: Cluster, node: Node) -> None:
    old = cluster.add_node(
        "old", runtime=Runtime.of_debian(layers.cache() / "containerd-of-debian", cluster.binary("ctr"))
    )
    try:
        old.import_images(lambda stream: images.write(stream, [images.SANDBOX_IMAGE, images.JOB]))
        assert "features" not in old.status()
        with _pod(cluster, "refused", ["id"], nodeName="old") as pod:
            status = _comes_to(cluster, pod, "Failed")["status"]
        assert status["reason"] == "SupplementalGroupsPolicyNotSupported"
        merged = {**ALICE, "supplementalGroupsPolicy": "Merge"}
        printed = _prints(cluster, "merged", ["id"], nodeName="old", securityContext=merged)
        assert printed == "uid=20001 gid=20001 groups=20001,20500"
    finally:
        old.stop()


def test_a_node_gives_exclusive_cpus(cluster: Cluster, node: Node) -> None:
    options = {
        "cpuManagerPolicy": "static",
        "topologyManagerPolicy": "single-numa-node",
        "reservedSystemCPUs": "0",
    }
    exclusive = cluster.add_node("exclusive", options=options, labels={"pool": "numa"})
    try:
        exclusive.import_images(lambda stream: images.write(stream, [images.SANDBOX_IMAGE, images.JOB]))
        resources = {"limits": {"cpu": "1", "memory": "100Mi"}}
        show = ["sh", "-c", "grep Cpus_allowed_list /proc/self/status"]
        printed = _prints(cluster, "guaranteed", show, nodeName="exclusive", main={"resources": resources})
        assert printed.split() == ["Cpus_allowed_list:", "1"]
    finally:
        exclusive.stop()
    # The other node of this machine does not notice.
    assert _prints(cluster, "beside", ["id", "-u"]) == "20001"


def test_stopping_leaves_nothing(state: Path) -> None:
    seen = _seen_with_a_running_pod(state)
    sweep(state)
    _assert_nothing_is_left(state, seen)


def test_a_killed_cluster_leaves_nothing_after_a_sweep(state: Path) -> None:
    seen = _seen_with_a_running_pod(state)
    for process in processes.running(state):
        with suppress(ProcessLookupError):  # it ended with the first one of its namespaces
            os.kill(process.pid, signal.SIGKILL)
    until(lambda: not belongings.containers(state), "containers have ended with the first process of their node")
    sweep(state)
    _assert_nothing_is_left(state, seen)


def _seen_with_a_running_pod(state: Path) -> Belongings:
    """What belongs to the cluster in `state` on this machine while a container runs there."""
    before = _settings()
    built = Programs()
    own = Cluster.start(state, built.binary, built.source)
    own.add_node().import_images(lambda stream: images.write(stream, [images.SANDBOX_IMAGE, images.JOB]))
    _make_namespace(own)
    with _pod(own, "left", SLEEP, volumes=[{"name": "memory", "emptyDir": {"medium": "Memory"}}]) as pod:
        _comes_to(own, pod, "Running")
        assert _settings() == before
        seen = belongings.of(state)
        # Had it not all of these, not finding them later would say nothing.
        assert all(seen[kind] for kind in ("processes", "containers", "cgroups", "links"))
        return seen


def _settings() -> dict[str, str]:
    """What kubelets and CNI plugins are known to change on the machine that they are on."""
    names = ("kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "net/ipv4/ip_forward")
    return {name: (Path("/proc/sys") / name).read_text() for name in names}


def _assert_nothing_is_left(state: Path, seen: Belongings) -> None:
    assert belongings.of(state) == {kind: set() for kind in seen}
    # The kernel takes a network namespace down in its own time.
    until(lambda: not _interfaces() & seen["links"], f"none of {seen['links']} is left")
    constant = [Path("/var/lib/cni"), Path("/run/containerd"), Path("/var/lib/kubelet"), Path("/var/log/containers")]
    assert [path for place in constant if place.exists() for path in place.rglob("*") if _is_of(path, state)] == []


def _interfaces() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def _is_of(path: Path, state: Path) -> bool:
    return bridge_of(state) in path.name or str(state) in str(path.resolve())
