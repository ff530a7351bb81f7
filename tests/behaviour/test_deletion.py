"""Deletion: grace periods, preconditions, finalizers, owner references, namespaces."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from kube import MERGE, Json, Kube, config_map, eventually, job, pod


async def test_a_bound_pod_is_given_its_grace(kube: Kube) -> None:
    await kube.made("pods", pod("p", nodeName=kube.nowhere))
    await kube.delete("pods/p", gracePeriodSeconds="5")
    metadata = (await kube.get("pods/p")).body["metadata"]
    assert metadata["deletionTimestamp"]
    assert metadata["deletionGracePeriodSeconds"] == 5
    await kube.delete("pods/p", gracePeriodSeconds="0")
    assert (await kube.get("pods/p")).status == 404


async def test_an_unbound_pod_goes_at_once(kube: Kube) -> None:
    await kube.made("pods", pod("p"))
    await kube.delete("pods/p")
    assert (await kube.get("pods/p")).status == 404


async def test_grace_may_be_in_the_body(kube: Kube) -> None:
    await kube.made("pods", pod("p", nodeName=kube.nowhere))
    await kube.delete("pods/p", {"gracePeriodSeconds": 0})
    assert (await kube.get("pods/p")).status == 404


async def test_a_deletion_tells_until_when_there_is_time(kube: Kube) -> None:
    """deletionTimestamp is the end of the grace period, not the time of the request."""
    await kube.made("pods", pod("p", nodeName=kube.nowhere))
    asked = datetime.now(timezone.utc)
    going = (await kube.delete("pods/p", gracePeriodSeconds="600")).body["metadata"]
    assert 590 < (at(going) - asked).total_seconds() < 610
    longer = (await kube.delete("pods/p", gracePeriodSeconds="900")).body["metadata"]
    assert (longer["deletionGracePeriodSeconds"], at(longer)) == (600, at(going))
    sooner = (await kube.delete("pods/p", gracePeriodSeconds="60")).body["metadata"]
    assert (sooner["deletionGracePeriodSeconds"], at(going) - at(sooner)) == (60, timedelta(seconds=540))
    assert [found["generation"] for found in (going, longer, sooner)] == [2, 2, 2]
    gone = (await kube.delete("pods/p", gracePeriodSeconds="0")).body["metadata"]
    assert gone["deletionGracePeriodSeconds"] == 0


def at(metadata: Json) -> datetime:
    return datetime.fromisoformat(metadata["deletionTimestamp"].replace("Z", "+00:00"))


async def test_a_pod_that_has_ended_goes_at_once(kube: Kube) -> None:
    await kube.made("pods", pod("p", nodeName=kube.nowhere))
    await kube.patch("pods/p/status", {"status": {"phase": "Succeeded"}}, MERGE)
    await kube.delete("pods/p")
    assert (await kube.get("pods/p")).status == 404


async def test_what_goes_at_once_is_answered_with_a_status(kube: Kube) -> None:
    made = await kube.made("configmaps", config_map("c"))
    answer = (await kube.delete("configmaps/c")).body
    details = {"name": "c", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert (answer["kind"], answer["status"], answer["details"]) == ("Status", "Success", details)
    await kube.made("pods", pod("p"))
    assert (await kube.delete("pods/p")).body["kind"] == "Pod"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"propagationPolicy": "Sideways"},
            'propagationPolicy: Unsupported value: "Sideways": '
            'supported values: "Foreground", "Background", "Orphan", "nil"',
        ),
        (
            {"propagationPolicy": "Orphan", "orphanDependents": True},
            'Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set',
        ),
    ],
)
async def test_a_deletion_is_refused(kube: Kube, options: Json, sentence: str) -> None:
    await kube.made("configmaps", config_map("c"))
    answer = await kube.delete("configmaps/c", options)
    assert answer.said == (422, "Invalid")
    assert sentence in answer.body["message"]


async def test_nothing_new_holds_back_what_already_goes(kube: Kube) -> None:
    await kube.made("configmaps", config_map("c", finalizers=["example.com/hold"]))
    await kube.delete("configmaps/c")
    more = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    answer = await kube.patch("configmaps/c", more, MERGE)
    assert answer.said == (422, "Invalid")
    assert "no new finalizers can be added if the object is being deleted" in answer.body["message"]
    await kube.patch("configmaps/c", {"metadata": {"finalizers": None}}, MERGE)


async def test_a_failed_precondition_is_409(kube: Kube) -> None:
    await kube.made("configmaps", config_map("c"))
    answer = await kube.delete("configmaps/c", {"preconditions": {"uid": "another"}})
    assert answer.said == (409, "Conflict")
    assert "the UID in the precondition (another) does not match the UID in record" in answer.body["message"]
    stale = await kube.delete("configmaps/c", {"preconditions": {"resourceVersion": "1"}})
    assert stale.said == (409, "Conflict")
    assert (await kube.get("configmaps/c")).status == 200


async def test_a_finalizer_holds_an_object_back(kube: Kube) -> None:
    await kube.made("configmaps", config_map("c", finalizers=["example.com/hold"]))
    await kube.delete("configmaps/c")
    assert (await kube.get("configmaps/c")).body["metadata"]["deletionTimestamp"]
    await kube.patch("configmaps/c", {"metadata": {"finalizers": None}}, MERGE)
    assert (await kube.get("configmaps/c")).status == 404


async def test_a_collection_is_deleted_by_selector(kube: Kube) -> None:
    await kube.made("configmaps", config_map("c1", labels={"d": "1"}))
    await kube.made("configmaps", config_map("c2"))
    await kube.call("DELETE", f"{kube.here}/configmaps", labelSelector="d=1")
    assert (await kube.get("configmaps/c1")).status == 404
    assert (await kube.get("configmaps/c2")).status == 200


async def owned_secret(kube: Kube) -> str:
    owner = await kube.made("configmaps", config_map("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    await kube.made("secrets", config_map("owned", ownerReferences=[reference]))
    return "secrets/owned"


async def status(kube: Kube, what: str) -> int:
    return (await kube.get(what)).status


async def test_what_an_object_owns_goes_with_it(kube: Kube) -> None:
    owned = await owned_secret(kube)
    await kube.delete("configmaps/owner")
    await eventually(lambda: status(kube, owned), 404)


async def test_orphans_stay(kube: Kube) -> None:
    owned = await owned_secret(kube)
    await kube.delete("configmaps/owner", propagationPolicy="Orphan")
    await eventually(lambda: status(kube, "configmaps/owner"), 404)
    assert "ownerReferences" not in (await kube.get(owned)).body["metadata"]


async def test_in_the_foreground_the_owner_waits_for_what_it_owns(kube: Kube) -> None:
    owner = await kube.made("configmaps", config_map("owner"))
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "owner",
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }
    await kube.made("secrets", config_map("owned", ownerReferences=[reference], finalizers=["example.com/hold"]))
    await kube.delete("configmaps/owner", propagationPolicy="Foreground")
    assert (await kube.get("configmaps/owner")).body["metadata"]["finalizers"] == ["foregroundDeletion"]

    async def is_being_deleted() -> bool:
        return "deletionTimestamp" in (await kube.get("secrets/owned")).body["metadata"]

    await eventually(is_being_deleted, True)
    await kube.patch("secrets/owned", {"metadata": {"finalizers": None}}, MERGE)
    await eventually(lambda: status(kube, "configmaps/owner"), 404)


async def test_deleting_a_job_without_a_policy_warns_of_its_orphans(kube: Kube) -> None:
    assert (await kube.call("POST", kube.jobs, job(suspend=True))).status == 201
    answer = await kube.call("DELETE", f"{kube.jobs}/j")
    assert "child pods are preserved by default" in answer.headers["Warning"]


async def test_a_namespace_takes_all_with_it(kube: Kube) -> None:
    name = f"{kube.namespace}-2"
    await kube.core.create_namespace({"metadata": {"name": name}})
    await kube.call("POST", f"/api/v1/namespaces/{name}/configmaps", config_map("c"))
    await kube.call("DELETE", f"/api/v1/namespaces/{name}")
    path = f"/api/v1/namespaces/{name}/configmaps/c"

    async def gone() -> int:
        return (await kube.call("GET", path)).status

    await eventually(gone, 404)


async def test_nothing_is_made_in_a_namespace_that_goes(kube: Kube) -> None:
    name = f"{kube.namespace}-2"
    await kube.core.create_namespace({"metadata": {"name": name}})
    path = f"/api/v1/namespaces/{name}/configmaps"
    await kube.call("POST", path, config_map("c", finalizers=["example.com/hold"]))
    await kube.call("DELETE", f"/api/v1/namespaces/{name}")
    answer = await kube.call("POST", path, config_map("d"))
    assert answer.said == (403, "Forbidden")
    assert "because it is being terminated" in answer.body["message"]
    await kube.call("PATCH", f"{path}/c", {"metadata": {"finalizers": None}}, MERGE)


async def test_eviction_deletes(kube: Kube) -> None:
    await kube.made("pods", pod("p"))
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": kube.namespace}}
    assert (await kube.call("POST", f"{kube.here}/pods/p/eviction", body)).status == 201
    assert (await kube.get("pods/p")).status == 404


async def test_an_evicted_pod_says_so(kube: Kube) -> None:
    await kube.made("pods", pod("p", nodeName=kube.nowhere))
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    assert (await kube.call("POST", f"{kube.here}/pods/p/eviction", body)).status == 201
    found = (await kube.get("pods/p")).body
    assert found["metadata"]["deletionTimestamp"]
    [told] = [one for one in found["status"]["conditions"] if one["type"] == "DisruptionTarget"]
    assert (told["status"], told["reason"], told["message"]) == (
        "True",
        "EvictionByEvictionAPI",
        "Eviction API: evicting",
    )


async def test_a_gated_pod_is_not_bound(kube: Kube) -> None:
    made = await kube.made("pods", pod("p", schedulingGates=[{"name": "example.com/quota"}]))
    [told] = made["status"]["conditions"]
    assert (told["type"], told["status"], told["reason"]) == ("PodScheduled", "False", "SchedulingGated")
    body = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    answer = await kube.call("POST", f"{kube.here}/pods/p/binding", body)
    assert answer.said == (409, "Conflict")
    assert "pod p has non-empty .spec.schedulingGates" in answer.body["message"]


async def test_binding_gives_a_pod_its_node_once(kube: Kube) -> None:
    await kube.made("pods", pod("p"))
    target = {"apiVersion": "v1", "kind": "Node", "name": kube.nowhere}
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": target}
    assert (await kube.call("POST", f"{kube.here}/pods/p/binding", body)).status == 201
    assert (await kube.get("pods/p")).body["spec"]["nodeName"] == kube.nowhere
    assert (await kube.call("POST", f"{kube.here}/pods/p/binding", body)).said == (409, "Conflict")
