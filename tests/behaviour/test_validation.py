"""What is refused, and in which words; what is filled in."""

from __future__ import annotations

import copy
import uuid
from typing import Any

import pytest
from kube import MERGE, STRATEGIC, Json, Kube, config_map, job, pod


def without_containers() -> Json:
    return pod(containers=[])


def with_container(**changes: Any) -> Json:
    body = pod()
    body["spec"]["containers"][0] |= changes
    return body


def with_labels(**labels: str) -> Json:
    return pod(labels=labels)


REFUSED = {
    "no containers": (without_containers(), "spec.containers: Required value"),
    "upper-case name": (pod("Bad_Name"), 'metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain'),
    "label value": (
        with_labels(a="b c"),
        'metadata.labels: Invalid value: "b c": a valid label must be an empty string',
    ),
    "long label": (with_labels(a="x" * 64), "must be no more than 63"),
    "groups policy": (
        pod(securityContext={"supplementalGroupsPolicy": "Loose"}),
        'spec.securityContext.supplementalGroupsPolicy: Unsupported value: "Loose": supported values: ',
    ),
    "uid": (
        pod(securityContext={"runAsUser": -1}),
        "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
    ),
    "restart policy": (
        pod(restartPolicy="Sometimes"),
        'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
    ),
    "no image": (with_container(image=""), "spec.containers[0].image: Required value"),
    "container name": (
        with_container(name="A_b"),
        'spec.containers[0].name: Invalid value: "A_b": a lowercase RFC 1123',
    ),
    "unknown volume": (
        with_container(volumeMounts=[{"name": "x", "mountPath": "/x"}]),
        'spec.containers[0].volumeMounts[0].name: Not found: "x"',
    ),
    "request over limit": (
        with_container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
        'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
    ),
    "gpu without limit": (
        with_container(resources={"requests": {"nvidia.com/gpu": "1"}}),
        "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
    ),
    "deadline": (pod(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and"),
}


@pytest.mark.parametrize(("body", "sentence"), REFUSED.values(), ids=REFUSED)
async def test_a_pod_is_refused(kube: Kube, body: Json, sentence: str) -> None:
    answer = await kube.create("pods", copy.deepcopy(body))
    assert answer.said == (422, "Invalid")
    assert sentence in answer.body["message"]
    assert answer.body["message"].startswith(f'Pod "{body["metadata"]["name"]}" is invalid: ')
    assert answer.body["details"]["causes"]


async def test_annotations_have_a_limit(kube: Kube) -> None:
    fits = {"a": "x" * (256 * 1024 - 1)}
    assert (await kube.create("configmaps", config_map("fits", annotations=fits))).status == 201
    answer = await kube.create("configmaps", config_map("c", annotations={**fits, "b": "y"}))
    assert answer.said == (422, "Invalid")
    assert "metadata.annotations: Too long: may not be more than 262144 bytes" in answer.body["message"]


async def test_a_wrong_type_is_400(kube: Kube) -> None:
    number = with_container(env=[{"name": "A", "value": 1}])
    for body in (number, pod(containers="notebook"), {**pod(), "metadata": {"name": "p", "labels": {"a": 1}}}):
        answer = await kube.create("pods", body)
        assert answer.said == (400, "BadRequest")
        assert "cannot unmarshal" in answer.body["message"]


async def test_a_pod_keeps_its_spec(kube: Kube) -> None:
    await kube.made("pods", pod("p"))
    more = {"spec": {"containers": [{"name": "notebook", "env": [{"name": "B", "value": "2"}]}]}}
    answer = await kube.patch("pods/p", more, STRATEGIC)
    assert answer.said == (422, "Invalid")
    assert "spec: Forbidden: pod updates may not change fields other than" in answer.body["message"]


async def test_a_deadline_only_comes_nearer(kube: Kube) -> None:
    await kube.made("pods", pod("p", activeDeadlineSeconds=100))
    nearer = await kube.patch("pods/p", {"spec": {"activeDeadlineSeconds": 50}}, MERGE)
    farther = await kube.patch("pods/p", {"spec": {"activeDeadlineSeconds": 70}}, MERGE)
    assert nearer.status == 200
    assert farther.said == (422, "Invalid")
    assert "must be less than or equal to previous value" in farther.body["message"]


async def test_gates_can_only_be_removed(kube: Kube) -> None:
    await kube.made("pods", pod("p", schedulingGates=[{"name": "example.com/a"}]))
    gates = [{"name": "example.com/a"}, {"name": "example.com/b"}]
    assert (await kube.patch("pods/p", {"spec": {"schedulingGates": gates}}, MERGE)).status == 422
    opened = await kube.patch("pods/p", {"spec": {"schedulingGates": []}}, MERGE)
    assert opened.status == 200
    assert not opened.body["spec"].get("schedulingGates")


async def test_a_missing_priority_class_is_403(kube: Kube) -> None:
    answer = await kube.create("pods", pod("p", priorityClassName="no-such"))
    assert answer.said == (403, "Forbidden")
    assert answer.body["message"] == 'pods "p" is forbidden: no PriorityClass with name no-such was found'


async def test_a_priority_class_gives_its_value(kube: Kube) -> None:
    name = f"class-{uuid.uuid4().hex[:8]}"
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    body = {"metadata": {"name": name}, "value": -100, "preemptionPolicy": "Never"}
    assert (await kube.call("POST", path, body)).status == 201
    try:
        spec = (await kube.made("pods", pod("p", priorityClassName=name)))["spec"]
        assert (spec["priority"], spec["preemptionPolicy"]) == (-100, "Never")
    finally:
        await kube.call("DELETE", f"{path}/{name}")


async def test_a_pod_without_class_has_priority_0(kube: Kube) -> None:
    spec = (await kube.made("pods", pod("p")))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")


async def test_a_pod_is_completed(kube: Kube) -> None:
    spec = (await kube.made("pods", pod("p")))["spec"]
    keys = ("restartPolicy", "terminationGracePeriodSeconds", "schedulerName", "dnsPolicy")
    assert [spec[key] for key in keys] == ["Always", 30, "default-scheduler", "ClusterFirst"]


async def test_requests_default_to_limits(kube: Kube) -> None:
    limits = {"cpu": "1", "memory": "1Gi"}
    made = await kube.made("pods", with_container(resources={"limits": limits}))
    assert made["spec"]["containers"][0]["resources"] == {"limits": limits, "requests": limits}
    assert made["status"]["qosClass"] == "Guaranteed"


async def test_a_job_labels_its_pods(kube: Kube) -> None:
    made = (await kube.call("POST", kube.jobs, job("j", suspend=True))).body
    uid = made["metadata"]["uid"]
    labels = {
        "controller-uid": uid,
        "batch.kubernetes.io/controller-uid": uid,
        "job-name": "j",
        "batch.kubernetes.io/job-name": "j",
    }
    assert made["spec"]["template"]["metadata"]["labels"] == labels
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    defaults = {key: made["spec"][key] for key in ("backoffLimit", "completions", "parallelism", "completionMode")}
    assert defaults == {"backoffLimit": 6, "completions": 1, "parallelism": 1, "completionMode": "NonIndexed"}


async def test_a_job_keeps_its_template(kube: Kube) -> None:
    await kube.call("POST", kube.jobs, job("j"))
    more = {"spec": {"template": {"spec": {"activeDeadlineSeconds": 5}}}}
    answer = await kube.call("PATCH", f"{kube.jobs}/j", more, MERGE)
    assert answer.said == (422, "Invalid")
    assert "field is immutable" in answer.body["message"]


async def test_a_job_needs_a_restart_policy_that_ends(kube: Kube) -> None:
    body = job("j")
    body["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    answer = await kube.call("POST", kube.jobs, body)
    assert answer.said == (422, "Invalid")
    assert 'Job.batch "j" is invalid: ' in answer.body["message"]
    assert 'restartPolicy: Required value: valid values: "OnFailure", "Never"' in answer.body["message"]


async def test_a_claim_needs_a_size(kube: Kube) -> None:
    claim = {"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {}}}}
    answer = await kube.create("persistentvolumeclaims", claim)
    assert answer.said == (422, "Invalid")
    assert "spec.resources[storage]: Required value" in answer.body["message"]


async def test_the_log_of_an_unbound_pod_is_empty(kube: Kube) -> None:
    await kube.made("pods", pod("p", schedulerName="nobody"))
    answer = await kube.get("pods/p/log")
    assert (answer.status, answer.body) == (204, "")
    assert (await kube.get("pods/p/log", container="other")).body["message"] == "container other is not valid for pod p"
