"""The four patch types, and the status subresource."""

from __future__ import annotations

from kube import APPLY, JSON_PATCH, MERGE, STRATEGIC, Kube, config_map, pod

CONTAINER = {"name": "notebook", "image": "example/image:1", "env": [{"name": "A", "value": "1"}]}


async def test_merge_patch_sets_and_removes(kube: Kube) -> None:
    await kube.made("pods", pod("p", {"x": "1", "z": "3"}))
    answer = await kube.patch("pods/p", {"metadata": {"labels": {"x": None, "y": "2"}}}, MERGE)
    assert (answer.status, answer.body["metadata"]["labels"]) == (200, {"y": "2", "z": "3"})


async def test_json_patch(kube: Kube) -> None:
    await kube.made("pods", pod("p", {"x": "1"}))
    operations = [
        {"op": "test", "path": "/metadata/labels/x", "value": "1"},
        {"op": "add", "path": "/metadata/labels/a~1b", "value": "2"},
        {"op": "remove", "path": "/metadata/labels/x"},
    ]
    answer = await kube.patch("pods/p", operations, JSON_PATCH)
    assert (answer.status, answer.body["metadata"]["labels"]) == (200, {"a/b": "2"})


async def test_json_patch_that_cannot_be_done_is_422(kube: Kube) -> None:
    await kube.made("pods", pod("p", {"x": "1"}))
    for operation in ({"op": "remove", "path": "/metadata/labels/y"}, {"op": "test", "path": "/kind", "value": "Job"}):
        assert (await kube.patch("pods/p", [operation], JSON_PATCH)).status == 422


async def test_strategic_patch_joins_lists_by_name(kube: Kube) -> None:
    labels = {"matchLabels": {"a": "b"}}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
    deployment = {"metadata": {"name": "d"}, "spec": {"selector": labels, "template": template}}
    path = f"/apis/apps/v1/namespaces/{kube.namespace}/deployments"
    assert (await kube.call("POST", path, deployment)).status == 201
    more = {
        "spec": {"template": {"spec": {"containers": [{"name": "notebook", "env": [{"name": "B", "value": "2"}]}]}}}
    }
    answer = await kube.call("PATCH", f"{path}/d", more, STRATEGIC)
    container = answer.body["spec"]["template"]["spec"]["containers"][0]
    assert {variable["name"]: variable["value"] for variable in container["env"]} == {"A": "1", "B": "2"}
    assert container["image"] == "example/image:1"


async def test_apply_creates(kube: Kube) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}
    path = f"{kube.here}/configmaps/c"
    first = await kube.call("PATCH", path, body, APPLY, fieldManager="test", force="true")
    second = await kube.call("PATCH", path, {**body, "data": {"a": "c"}}, APPLY, fieldManager="test", force="true")
    assert (first.status, second.status, second.body["data"]) == (201, 200, {"a": "c"})


async def test_an_unknown_patch_is_415(kube: Kube) -> None:
    await kube.made("configmaps", config_map("c"))
    assert (await kube.patch("configmaps/c", {}, "application/json")).status == 415


async def test_a_patch_with_a_stale_revision_is_409(kube: Kube) -> None:
    made = await kube.made("configmaps", config_map("c"))
    await kube.patch("configmaps/c", {"data": {"a": "1"}}, MERGE)
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"a": "2"}}
    assert (await kube.patch("configmaps/c", stale, MERGE)).said == (409, "Conflict")


async def test_status_is_written_apart(kube: Kube) -> None:
    await kube.made("pods", pod("p"))
    both = {"status": {"phase": "Running", "podIP": "10.0.0.1"}, "spec": {"activeDeadlineSeconds": 5}}
    written = (await kube.patch("pods/p/status", both, MERGE)).body
    assert (written["status"]["phase"], "activeDeadlineSeconds" in written["spec"]) == ("Running", False)
    await kube.patch("pods/p", {"status": {"phase": "Failed"}}, MERGE)
    assert (await kube.get("pods/p")).body["status"]["phase"] == "Running"
