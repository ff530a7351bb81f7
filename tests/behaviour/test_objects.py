"""Create, read, replace and list objects."""

from __future__ import annotations

import aiohttp
import pytest
from kube import MERGE, Kube, Server, config_map, defined, job, pod


async def test_create_answers_201_with_what_the_server_adds(kube: Kube) -> None:
    answer = await kube.create("pods", pod("p1"))
    metadata = answer.body["metadata"]
    assert answer.status == 201
    assert metadata["namespace"] == kube.namespace
    assert metadata["uid"]
    assert metadata["creationTimestamp"].endswith("Z")
    assert int(metadata["resourceVersion"]) > 0
    assert answer.body["status"]["phase"] == "Pending"


async def test_an_empty_list_is_typed_and_has_a_revision(kube: Kube) -> None:
    body = (await kube.get("secrets")).body
    assert (body["kind"], body["items"]) == ("SecretList", [])
    assert int(body["metadata"]["resourceVersion"]) > 0


async def test_generate_name_adds_five_letters(kube: Kube) -> None:
    made = await kube.made("configmaps", {"metadata": {"generateName": "gen-"}})
    assert made["metadata"]["name"].startswith("gen-")
    assert len(made["metadata"]["name"]) == len("gen-") + 5


async def test_creating_twice_is_409_already_exists(kube: Kube) -> None:
    await kube.made("pods", pod("p1"))
    answer = await kube.create("pods", pod("p1"))
    assert answer.said == (409, "AlreadyExists")
    assert answer.body["message"] == 'pods "p1" already exists'


async def test_what_is_not_there_is_404_with_its_name(kube: Kube) -> None:
    answer = await kube.get("pods/nobody")
    assert answer.said == (404, "NotFound")
    assert answer.body["kind"] == "Status"
    assert answer.body["message"] == 'pods "nobody" not found'
    assert answer.body["details"] == {"name": "nobody", "kind": "pods"}


async def test_a_kind_of_a_group_is_named_with_it(kube: Kube) -> None:
    answer = await kube.call("GET", f"{kube.jobs}/nothing")
    assert answer.body["message"] == 'jobs.batch "nothing" not found'


async def test_creating_in_a_missing_namespace_is_404(kube: Kube) -> None:
    answer = await kube.call("POST", "/api/v1/namespaces/no-such-namespace/pods", pod())
    assert answer.said == (404, "NotFound")
    assert answer.body["message"] == 'namespaces "no-such-namespace" not found'


async def test_another_namespace_in_the_body_is_400(kube: Kube) -> None:
    body = pod()
    body["metadata"]["namespace"] = "default"
    assert (await kube.create("pods", body)).said == (400, "BadRequest")


async def test_lists_select_by_labels(kube: Kube) -> None:
    await kube.made("pods", pod("p1", {"component": "a", "x": "1"}))
    await kube.made("pods", pod("p2", {"component": "b"}))

    async def selected(selector: str) -> set[str]:
        found = await kube.core.list_namespaced_pod(kube.namespace, label_selector=selector)
        return {item.metadata.name for item in found.items}

    assert await selected("component=b") == {"p2"}
    assert await selected("component==b") == {"p2"}
    assert await selected("component!=b") == {"p1"}
    assert await selected("component in (a,b)") == {"p1", "p2"}
    assert await selected("component notin (a), component") == {"p2"}
    assert await selected("component=a,x!=2") == {"p1"}
    assert await selected("component,!x") == {"p2"}


async def test_a_selector_that_is_none_is_400(kube: Kube) -> None:
    assert (await kube.get("pods", labelSelector="a b c")).said == (400, "BadRequest")
    assert (await kube.get("pods", fieldSelector="metadata.name")).said == (400, "BadRequest")


async def test_lists_select_by_fields(kube: Kube) -> None:
    for name in ("p1", "p2"):
        await kube.made("pods", pod(name))
    found = await kube.core.list_namespaced_pod(kube.namespace, field_selector="metadata.name=p1")
    assert [item.metadata.name for item in found.items] == ["p1"]


NOT_SELECTABLE = {
    "pods": ("spec.nodename=n1", "field label not supported: spec.nodename"),
    "events": ("message=m", "field label not supported: message"),
    "configmaps": (
        "data.a=b",
        '"data.a" is not a known field selector: only "metadata.name", "metadata.namespace"',
    ),
}


@pytest.mark.parametrize("plural", NOT_SELECTABLE)
async def test_not_every_field_selects(kube: Kube, plural: str) -> None:
    selector, sentence = NOT_SELECTABLE[plural]
    answer = await kube.get(plural, fieldSelector=selector)
    assert answer.said == (400, "BadRequest")
    assert answer.body["message"] == sentence


async def test_pods_select_by_node_phase_and_scheduler(kube: Kube) -> None:
    await kube.made("pods", pod("p1", nodeName=kube.nowhere))
    await kube.made("pods", pod("p2", schedulerName="other"))

    async def selected(selector: str) -> list[str]:
        found = (await kube.get("pods", fieldSelector=selector)).body["items"]
        return [item["metadata"]["name"] for item in found]

    assert await selected(f"spec.nodeName={kube.nowhere}") == ["p1"]
    assert await selected("spec.nodeName=") == ["p2"]
    assert await selected("spec.schedulerName=other,status.phase=Pending") == ["p2"]
    assert await selected("status.phase!=Pending") == []


async def test_jobs_select_by_their_successes_only(kube: Kube) -> None:
    await kube.call("POST", kube.jobs, job("j", suspend=True))
    answer = await kube.call("GET", kube.jobs, fieldSelector="spec.suspend=true")
    assert answer.said == (400, "BadRequest")
    assert answer.body["message"] == 'field label "spec.suspend" not supported for Job'
    found = await kube.call("GET", kube.jobs, fieldSelector="status.successful=0")
    assert [item["metadata"]["name"] for item in found.body["items"]] == ["j"]


async def test_events_select_by_what_they_are_about(kube: Kube) -> None:
    for kind in ("Pod", "Node"):
        involved = {"kind": kind, "name": "p1", "namespace": kube.namespace}
        event = {"metadata": {"generateName": "e"}, "involvedObject": involved, "reason": "r", "message": "m"}
        await kube.made("events", event)
    found = await kube.core.list_namespaced_event(kube.namespace, field_selector="involvedObject.kind=Pod")
    assert [event.involved_object.kind for event in found.items] == ["Pod"]


async def test_an_event_of_another_namespace_is_refused(kube: Kube) -> None:
    involved = {"kind": "Pod", "name": "p1", "namespace": "default"}
    event = {"metadata": {"generateName": "e"}, "involvedObject": involved, "reason": "r", "message": "m"}
    assert (await kube.create("events", event)).said == (422, "Invalid")


async def test_lists_go_over_all_namespaces(kube: Kube) -> None:
    await kube.made("pods", pod("p1", {"only": kube.namespace}))
    found = await kube.core.list_pod_for_all_namespaces(label_selector=f"only={kube.namespace}")
    assert [item.metadata.name for item in found.items] == ["p1"]


async def test_long_lists_come_in_pages(kube: Kube) -> None:
    for number in range(3):
        await kube.made("secrets", config_map(f"s{number}"))
    first = (await kube.get("secrets", limit="2")).body
    assert [item["metadata"]["name"] for item in first["items"]] == ["s0", "s1"]
    assert first["metadata"]["remainingItemCount"] == 1
    second = (await kube.get("secrets", limit="2", **{"continue": first["metadata"]["continue"]})).body
    assert [item["metadata"]["name"] for item in second["items"]] == ["s2"]
    assert "continue" not in second["metadata"] or not second["metadata"]["continue"]


@pytest.mark.parametrize(
    ("query", "code", "sentence"),
    [
        ({"limit": "two"}, 400, 'strconv.ParseInt: parsing "two": invalid syntax'),
        ({"continue": "%"}, 400, "invalid continue token: continue key is not valid: "),
        ({"resourceVersion": "new"}, 400, "invalid resource version: resourceVersion: "),
        (
            {"resourceVersionMatch": "Exact"},
            422,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        ({"resourceVersion": "99999999999999"}, 504, "Too large resource version: 99999999999999, current: "),
        ({"timeoutSeconds": "long"}, 400, 'strconv.ParseInt: parsing "long": invalid syntax'),
    ],
)
async def test_a_list_is_refused(kube: Kube, query: dict[str, str], code: int, sentence: str) -> None:
    answer = await kube.get("pods", **query)
    assert answer.status == code
    assert sentence in answer.body["message"]


async def test_what_is_created_has_no_revision_yet(kube: Kube) -> None:
    made = await kube.made("configmaps", config_map("c"))
    again = {**made, "metadata": {**made["metadata"], "name": "d"}}
    answer = await kube.create("configmaps", again)
    assert (answer.status, answer.body["message"]) == (
        500,
        "resourceVersion should not be set on objects to be created",
    )


async def test_put_replaces(kube: Kube) -> None:
    made = await kube.made("configmaps", {**config_map("c"), "data": {"a": "1"}})
    answer = await kube.call("PUT", f"{kube.here}/configmaps/c", {**made, "data": {"b": "2"}})
    assert (answer.status, answer.body["data"]) == (200, {"b": "2"})
    assert answer.body["metadata"]["uid"] == made["metadata"]["uid"]


async def test_put_with_a_stale_revision_is_409(kube: Kube) -> None:
    made = await kube.made("configmaps", {**config_map("c"), "data": {"a": "1"}})
    await kube.call("PUT", f"{kube.here}/configmaps/c", {**made, "data": {"b": "2"}})
    answer = await kube.call("PUT", f"{kube.here}/configmaps/c", {**made, "data": {"c": "3"}})
    assert answer.said == (409, "Conflict")
    assert "the object has been modified" in answer.body["message"]


async def test_a_write_that_changes_nothing_makes_no_revision(kube: Kube) -> None:
    made = await kube.made("configmaps", {**config_map("c"), "data": {"a": "1"}})
    answer = await kube.call("PUT", f"{kube.here}/configmaps/c", made)
    assert answer.body["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_put_and_patch_do_not_rename(kube: Kube) -> None:
    await kube.made("configmaps", config_map("c"))
    for method, body, content_type in (
        ("PUT", config_map("d"), "application/json"),
        ("PATCH", {"metadata": {"name": "d"}}, MERGE),
    ):
        answer = await kube.call(method, f"{kube.here}/configmaps/c", body, content_type)
        assert answer.said == (400, "BadRequest")
        assert answer.body["message"] == "the name of the object (d) does not match the name on the URL (c)"
    moved = await kube.patch("configmaps/c", {"metadata": {"namespace": "default"}}, MERGE)
    assert moved.said == (400, "BadRequest")
    other = await kube.patch("configmaps/c", {"metadata": {"uid": "other"}}, MERGE)
    assert other.said == (422, "Invalid")
    assert 'metadata.uid: Invalid value: "other": field is immutable' in other.body["message"]


async def test_generations_count_changes_of_what_was_asked_for(kube: Kube) -> None:
    made = await kube.made("pods", pod("p", activeDeadlineSeconds=100))
    labelled = await kube.patch("pods/p", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    changed = await kube.patch("pods/p", {"spec": {"activeDeadlineSeconds": 50}}, MERGE)
    told = await kube.patch("pods/p/status", {"status": {"phase": "Running"}}, MERGE)
    found = [body["metadata"]["generation"] for body in (made, labelled.body, changed.body, told.body)]
    assert found == [1, 1, 2, 2]
    assert "generation" not in (await kube.made("configmaps", config_map("c")))["metadata"]


async def test_dry_run_is_all_or_nothing(kube: Kube) -> None:
    answer = await kube.create("configmaps", config_map("dry"), dryRun="Some")
    assert answer.said == (422, "Invalid")
    assert 'dryRun: Unsupported value: ["Some"]: supported values: "All"' in answer.body["message"]


async def test_dry_run_stores_nothing(kube: Kube) -> None:
    answer = await kube.create("configmaps", config_map("dry"), dryRun="All")
    assert answer.status == 201
    assert (await kube.get("configmaps/dry")).status == 404


async def test_secrets_take_text_and_give_base64(kube: Kube) -> None:
    made = await kube.made("secrets", {**config_map("s"), "stringData": {"k": "v"}})
    assert made["data"] == {"k": "dg=="}
    assert "stringData" not in made


async def test_a_stranger_sees_nothing(kube: Kube, server: Server) -> None:
    """The response is 401 if anonymous requests are disabled, as on the embedded server, else 403."""
    async with aiohttp.ClientSession() as stranger, stranger.get(f"{server.url}{kube.here}/pods", ssl=False) as answer:
        assert answer.status in (401, 403)


async def test_a_wrong_token_401(kube: Kube, server: Server) -> None:
    headers = {"Authorization": "Bearer " + server.token[:-1]}
    url = f"{server.url}{kube.here}/pods"
    async with aiohttp.ClientSession(headers=headers) as stranger, stranger.get(url, ssl=False) as answer:
        assert answer.status == 401


async def test_a_body_that_is_no_object_is_400(kube: Kube) -> None:
    assert (await kube.create("pods", ["no", "pod"])).status == 400


async def test_custom_resources_are_served_once_defined(kube: Kube) -> None:
    async with defined(kube, "foos") as path:
        group = path.split("/")[2]
        foo = {"apiVersion": f"{group}/v1", "kind": "Foo", "metadata": {"name": "f"}, "spec": {"a": 1}}
        await kube.custom.create_namespaced_custom_object(group, "v1", kube.namespace, "foos", foo)
        found = (await kube.call("GET", path)).body
        assert (found["kind"], len(found["items"])) == ("FooList", 1)
        # Items of custom kinds say what they are, those of built-in ones do not.
        assert found["items"][0]["kind"] == "Foo"
        patch = {"spec": {"a": 2}, "status": {"b": 3}}
        answer = await kube.call("PATCH", f"{path}/f/status", patch, MERGE)
        assert (answer.body["spec"], answer.body["status"]) == ({"a": 1}, {"b": 3})


async def test_items_of_a_list_do_not_say_what_they_are(kube: Kube) -> None:
    await kube.made("configmaps", config_map("c", labels={"a": "b"}))
    [item] = (await kube.get("configmaps", labelSelector="a=b")).body["items"]
    assert item.keys() & {"apiVersion", "kind"} == set()


async def test_what_is_not_served_is_404(kube: Kube) -> None:
    answer = await kube.call("GET", f"/apis/kueue.x-k8s.io/v1beta1/namespaces/{kube.namespace}/localqueues")
    assert answer.status == 404


async def test_a_path_that_is_no_api_is_404_in_plain_text(kube: Kube) -> None:
    for path in ("/apis/example.com/v1/foos", "/nothing"):
        answer = await kube.call("GET", path)
        assert (answer.status, answer.body) == (404, "404 page not found\n")


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "pods"), ("PATCH", "pods"), ("POST", "pods/p"), ("POST", "../../pods")],
)
async def test_a_method_out_of_place_is_405(kube: Kube, method: str, path: str) -> None:
    path = "/api/v1/pods" if path.startswith("..") else f"{kube.here}/{path}"
    answer = await kube.call(method, path, pod(), MERGE if method == "PATCH" else "application/json")
    assert answer.said == (405, "MethodNotAllowed")


async def test_discovery(kube: Kube) -> None:
    core = {r["name"]: r for r in (await kube.call("GET", "/api/v1")).body["resources"]}
    assert (core["pods"]["kind"], core["pods"]["namespaced"], core["nodes"]["namespaced"]) == ("Pod", True, False)
    assert "pods/status" in core
    assert "batch" in {group["name"] for group in (await kube.call("GET", "/apis")).body["groups"]}
    assert (await kube.call("GET", "/apis/batch/v1")).status == 200
    assert (await kube.call("GET", "/apis/batch")).body["preferredVersion"]["groupVersion"] == "batch/v1"
    assert (await kube.call("GET", "/version")).body["gitVersion"].startswith("v1.")


async def test_kubectl_gets_a_table(kube: Kube) -> None:
    await kube.made("pods", pod("p1"))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    async with kube.session.get(f"{kube.here}/pods", headers={"Accept": accept}) as response:
        table = await response.json()
    assert table["kind"] == "Table"
    assert table["rows"][0]["cells"][0] == "p1"


async def test_list_has_only_metadata_if_asked_and_continues(kube: Kube) -> None:
    for name in ("p1", "p2", "p3"):
        await kube.made("pods", pod(name))
    headers = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    async with kube.session.get(f"{kube.here}/pods", headers=headers, params={"limit": "2"}) as response:
        first = await response.json()
    assert (first["kind"], first["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert [item["metadata"]["name"] for item in first["items"]] == ["p1", "p2"]
    assert {(item["kind"], item["apiVersion"]) for item in first["items"]} == {
        ("PartialObjectMetadata", "meta.k8s.io/v1")
    }
    assert not any("spec" in item or "status" in item for item in first["items"])
    params = {"limit": "2", "continue": first["metadata"]["continue"]}
    async with kube.session.get(f"{kube.here}/pods", headers=headers, params=params) as response:
        rest = await response.json()
    assert [item["metadata"]["name"] for item in rest["items"]] == ["p3"]
    assert not rest["metadata"].get("continue")


async def test_a_person_may_ask_what_she_may(kube: Kube) -> None:
    spec = {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": kube.namespace}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = await kube.call("POST", path, {"spec": spec})
    assert (answer.status, answer.body["status"]["allowed"]) == (201, True)
