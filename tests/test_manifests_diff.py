"""`manifests --diff`: compares with the objects of a cluster, and counts only what manifests set."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from embedded_cluster import cluster
from helm_files import BASE, VALUES

from jupyter_research_spawner.cli import main
from jupyter_research_spawner.embedded import Cluster
from jupyter_research_spawner.manifests import difference, place_of
from jupyter_research_spawner.watch.api_server import ApiServer
from jupyter_research_spawner.watch.connection import connect

__all__ = ["cluster"]
Json = dict[str, Any]
Diff = Callable[..., Awaitable[tuple[int, str]]]
ROLE: Json = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "a", "namespace": "jhub", "labels": {"of": "us"}},
    "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
}
SERVER = {"uid": "1", "resourceVersion": "7", "creationTimestamp": "2026-11-30T10:00:00Z", "managedFields": [{}]}


def live(manifest: Json, **changes: Any) -> Json:
    """Return the object as a cluster has it."""
    found = copy.deepcopy(manifest)
    found["metadata"] |= SERVER
    return {**found, **changes}


def applied(manifest: Json, **earlier: Any) -> Json:
    """Return the object as it is after `kubectl apply` of an earlier manifest with more fields."""
    last = copy.deepcopy({**manifest, **earlier})
    last["metadata"] = {**last["metadata"], "annotations": {}}
    found = live({**manifest, **earlier})
    key = "kubectl.kubernetes.io/last-applied-configuration"
    found["metadata"]["annotations"] = {key: json.dumps(last), "of-another": "1"}
    return found


def test_what_the_api_server_and_others_add_does_not_count() -> None:
    found = live(ROLE)
    found["metadata"]["labels"] = {**ROLE["metadata"]["labels"], "of": "us", "team": "theirs"}
    assert difference(ROLE, found) == ""
    assert difference(ROLE, applied(ROLE)) == ""


def test_a_default_in_a_list_does_not_count() -> None:
    service: Json = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a", "namespace": "jhub"},
        "spec": {"ports": [{"name": "http", "port": 80}], "selector": {}},
    }
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80}]
    assert difference(service, live(service, spec={"ports": ports, "clusterIP": "10.0.0.1"})) == ""
    more = [*ports, {"name": "https", "port": 443, "protocol": "TCP"}]
    assert "-  - name: https" in difference(service, live(service, spec={"ports": more}))


def test_each_difference_is_a_line() -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
    text = difference(ROLE, live(ROLE, rules=rules)).splitlines()
    assert text[:2] == [
        "--- cluster: Role 'a' in namespace 'jhub'",
        "+++ manifest: Role 'a' in namespace 'jhub'",
    ]
    assert [line for line in text[2:] if line[0] in "+-"] == ["-  - list"]
    missing = difference(ROLE, None).splitlines()
    assert missing[0] == "--- missing: Role 'a' in namespace 'jhub'"
    assert all(line.startswith("+") for line in missing[3:])


def test_a_rule_that_allows_everything_is_not_empty() -> None:
    policy: Json = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "a", "namespace": "jhub"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": []},
    }
    without = {"podSelector": {}, "policyTypes": ["Ingress"]}
    assert difference(policy, live(policy, spec=without)) == ""
    assert difference(policy, live(policy, spec={**without, "ingress": [{}]})) != ""


def test_a_field_that_kubectl_would_remove_counts() -> None:
    aggregated = applied(ROLE, extra={"a": 1})
    assert "-extra:" in difference(ROLE, aggregated)
    inside = applied(ROLE, rules=[{**ROLE["rules"][0], "resourceNames": ["a"]}])
    assert "-  resourceNames:" in difference(ROLE, inside)


FILES = [BASE, VALUES / "batch.yaml"]


@pytest_asyncio.fixture
async def diff(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> AsyncIterator[Diff]:
    """Exit code and output of `manifests`, on a cluster that has what `manifests` prints."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump({"hub": {"image": {"name": "images/hub", "tag": "1"}}}))

    async def run(*arguments: str, own: Json | None = None) -> tuple[int, str]:
        more = tmp_path / "more.yaml"
        more.write_text(yaml.safe_dump(own or {"custom": {}}))
        files = [word for file in (*FILES, site, more) for word in ("-f", str(file))]
        code = await asyncio.to_thread(main, ["manifests", *files, *arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    client = await connect(str(cluster.kubeconfig))
    try:
        _, text = await run()
        for manifest in yaml.safe_load_all(text):
            path = place_of(manifest).path.rpartition("/")[0]
            await ApiServer(client).ask("POST", path, body=manifest, query={"fieldValidation": "Strict"})
        yield run
    finally:
        await client.close()


async def test_a_cluster_with_what_was_applied_has_no_differences(diff: Diff) -> None:
    code, text = await diff("--diff")
    assert (code, text.startswith("No differences in ")) == (0, True), text


async def test_changed_settings_and_a_deleted_object_are_found(diff: Diff, cluster: Cluster) -> None:
    code, text = await diff("--diff", own={"custom": {"research": {"priorities": {"low": {"value": -200}}}}})
    assert code == 1
    assert "--- cluster: PriorityClass 'research-low'\n+++ manifest: PriorityClass 'research-low'" in text
    assert "-value: -100\n+value: -200" in text
    # The batch service has the settings and their hash.
    assert {line.split(": ")[1].split(" ")[0] for line in text.splitlines() if line.startswith("+++")} == {
        "PriorityClass",
        "ConfigMap",
        "Deployment",
    }
    client = await connect(str(cluster.kubeconfig))
    try:
        await ApiServer(client).ask(
            "DELETE", "/apis/networking.k8s.io/v1/namespaces/jhub/networkpolicies/research-jobs"
        )
    finally:
        await client.close()
    code, text = await diff("--diff", "--only", "network")
    assert code == 1
    assert text.startswith("--- missing: NetworkPolicy 'research-jobs' in namespace 'jhub'")


async def test_objects_of_a_kind_that_is_not_installed_are_missing(diff: Diff) -> None:
    code, text = await diff(
        "--diff", "--only", "priorities", own={"custom": {"research": {"scheduler": {"kind": "kueue"}}}}
    )
    assert code == 1
    assert "--- missing: WorkloadPriorityClass 'research-low'" in text
    assert "PriorityClass 'research-low'" in text and "cluster: PriorityClass" not in text


async def test_a_cluster_that_cannot_be_reached_is_an_error(diff: Diff, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    code, text = await diff("--diff")
    assert code == 1
    assert "kubeconfig /nowhere cannot be used" in text
