"""tests/behaviour, where every check of the embedded cluster is, run against the real one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.api import Json
from rig.cluster import Cluster
from rig.images import JOB
from rig.node import Node

CHECKS = Path(__file__).parents[1] / "behaviour"
NAME = "behaviour"
# They take three minutes where nothing else runs.
LIMIT_SECONDS = 1800


@pytest.fixture
def token(cluster: Cluster) -> Iterator[str]:
    """Of an account that may do everything, for as long as the checks need it."""
    account: Json = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": "default"}}
    binding: Json = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": NAME},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": "default"}],
    }
    cluster.api.apply(account, binding)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    path = f"/api/v1/namespaces/default/serviceaccounts/{NAME}/token"
    try:
        yield cluster.api.call("POST", path, request)["status"]["token"]
    finally:
        cluster.api.delete(binding)
        cluster.api.delete(account)


def test_a_real_cluster_passes_every_check_of_the_embedded_one(cluster: Cluster, node: Node, token: str) -> None:
    environment = {
        **os.environ,
        "BEHAVIOUR_URL": cluster.plane.url,
        "BEHAVIOUR_TOKEN": token,
        "BEHAVIOUR_CA": str(cluster.authority.certificate),
        "BEHAVIOUR_IMAGE": JOB,
    }
    options = ["-q", "-n", "4", "--dist", "loadfile", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(CHECKS)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    print(ended.stdout)
    assert ended.returncode == 0, f"{ended.stdout[-20_000:]}\n{ended.stderr[-2_000:]}"
