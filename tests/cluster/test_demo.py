"""`make demo KUBECONFIG=...`: the tour on a real cluster, as somebody sees it on a terminal of 80 columns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rig.cluster import Cluster
from rig.node import Node

TREE = Path(__file__).parents[2]
KINDS = (("v1", "Namespace"), ("v1", "PersistentVolume"), ("scheduling.k8s.io/v1", "PriorityClass"))
TOUR_SECONDS = 600


def test_the_tour_ends_as_it_must_and_leaves_nothing(cluster: Cluster, node: Node, tmp_path: Path) -> None:
    before, before_on_disk = names(cluster), directories()
    told = subprocess.run(
        [
            *(sys.executable, "-m", "jupyter_research_spawner.demo", "--tour", "only", "--state", tmp_path),
            *("--kubeconfig", cluster.kubeconfig),
        ],
        env={**os.environ, "PATH": f"{TREE}/node_modules/.bin:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TOUR_SECONDS,
        check=False,
    )
    assert told.returncode == 0, told.stdout
    print(told.stdout)
    said = " ".join(told.stdout.split())
    assert f"Pods run as containers on node {node.name}, as their users" in said
    assert "DIFFERS" not in said
    assert "bob tries to read alice's notes: [Errno 13] Permission denied" in said
    assert "Preempted: work of a higher priority needed its place." in said
    assert "All checks passed" in said
    assert said.endswith(
        "The demo is removed from the cluster: namespace, volumes, priority classes, files on the node."
    )
    assert max(map(len, told.stdout.splitlines())) <= 80
    assert {kind: found - before[kind] for kind, found in names(cluster).items() if found - before[kind]} == {}
    assert directories() <= before_on_disk


def directories() -> set[Path]:
    """Return the demos' directories on this machine, also that of a demo that was killed."""
    return set(Path("/tmp").glob("research-demo-*"))


def names(cluster: Cluster) -> dict[str, set[str]]:
    return {kind: {found["metadata"]["name"] for found in cluster.api.all_of(version, kind)} for version, kind in KINDS}
