"""Validation messages and defaults."""

from __future__ import annotations

import copy
import uuid
from typing import Any

import pytest
from kube import MERGE, STRATEGIC, Json, Kube, config_map, job, pod


def with_container(**changes: Any) -> Json:
    body = pod()
    body["spec"]["containers"][0] |= changes
    return body


def with_mount(**mount: Any) -> Json:
    body = with_container(volumeMounts=[{"name": "v", "mountPath": "/v", **mount}])
    body["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
    return body


def with_volume(**source: Any) -> Json:
    return pod(volumes=[{"name": "v", **source}])


def with_limit(name: str, amount: str) -> Json:
    return with_container(resources={"limits": {name: amount}})


def with_metadata(**metadata: Any) -> Json:
    body = pod()
    body["metadata"] |= metadata
    return body


GATE = {"name": "example.com/quota"}
FIELD = "error converting fieldPath: field label not supported: "
NOT_SCALAR = "must be a standard resource for containers"

REFUSED = {
    "no containers": (pod(containers=[]), "spec.containers: Required value"),
    "upper-case name": (pod("Bad_Name"), 'metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain'),
    "long name": (pod("p" * 254), "must be no more than 253 characters"),
    "label value": (
        pod(labels={"a": "b c"}),
        'metadata.labels: Invalid value: "b c": a valid label must be an empty string',
    ),
    "long label": (pod(labels={"a": "x" * 64}), "must be no more than 63"),
    "label without prefix": (pod(labels={"/a": "b"}), 'Invalid value: "/a": prefix part must be non-empty'),
    "label with two prefixes": (
        pod(labels={"a/b/c": "d"}),
        'Invalid value: "a/b/c": a valid label key must consist of',
    ),
    "node selector": (pod(nodeSelector={"a": "b c"}), 'spec.nodeSelector: Invalid value: "b c": a valid label must be'),
    "node name": (pod(nodeName="A_b"), 'spec.nodeName: Invalid value: "A_b": a lowercase RFC 1123 subdomain'),
    "hostname": (pod(hostname="A.b"), 'spec.hostname: Invalid value: "A.b": a lowercase RFC 1123 label must consist'),
    "finalizer": (
        with_metadata(finalizers=["hold"]),
        'metadata.finalizers[0]: Invalid value: "hold": name is neither a standard finalizer name nor is it fully',
    ),
    "owner without name": (
        with_metadata(ownerReferences=[{"apiVersion": "v1", "kind": "ConfigMap", "uid": "u"}]),
        'metadata.ownerReferences.name: Invalid value: "": must not be empty',
    ),
    "groups policy": (
        pod(securityContext={"supplementalGroupsPolicy": "Loose"}),
        'spec.securityContext.supplementalGroupsPolicy: Unsupported value: "Loose": '
        'supported values: "Merge", "Strict"',
    ),
    "change of the group's files": (
        pod(securityContext={"fsGroupChangePolicy": "Seldom"}),
        'fsGroupChangePolicy: Unsupported value: "Seldom": supported values: "Always", "OnRootMismatch"',
    ),
    "uid": (
        pod(securityContext={"runAsUser": -1}),
        "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
    ),
    "uid of a container": (
        with_container(securityContext={"runAsUser": -1}),
        "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647",
    ),
    "group": (
        pod(securityContext={"supplementalGroups": [20500, -1]}),
        "spec.securityContext.supplementalGroups[1]: Invalid value: -1: must be between 0 and 2147483647",
    ),
    "restart policy": (
        pod(restartPolicy="Sometimes"),
        'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
    ),
    "DNS policy": (pod(dnsPolicy="None of these"), "spec.dnsPolicy: Unsupported value: "),
    "pull policy": (
        with_container(imagePullPolicy="Seldom"),
        'imagePullPolicy: Unsupported value: "Seldom": supported values: "Always", "IfNotPresent", "Never"',
    ),
    "no image": (with_container(image=""), "spec.containers[0].image: Required value"),
    "image with a space": (with_container(image=" a"), "must not have leading or trailing whitespace"),
    "container name": (
        with_container(name="A_b"),
        'spec.containers[0].name: Invalid value: "A_b": a lowercase RFC 1123',
    ),
    "the same name as an init container": (
        pod(initContainers=[{"name": "notebook", "image": "i"}]),
        'spec.initContainers[0].name: Duplicate value: "notebook"',
    ),
    "a sidecar's restart policy": (
        pod(initContainers=[{"name": "side", "image": "i", "restartPolicy": "Sometimes"}]),
        "spec.initContainers[0].restartPolicy: Unsupported value",
    ),
    "port": (with_container(ports=[{"containerPort": 0}]), "ports[0].containerPort: Required value"),
    "port name": (
        with_container(ports=[{"containerPort": 80, "name": "80"}]),
        'ports[0].name: Invalid value: "80": must contain at least one letter (a-z)',
    ),
    "variable name": (
        with_container(env=[{"name": "a=b", "value": "c"}]),
        'env[0].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII',
    ),
    "variable from nowhere": (with_container(env=[{"name": "A", "valueFrom": {}}]), "must specify one of: `fieldRef`"),
    "variable with a value from elsewhere": (
        with_container(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        "may not be specified when `value` is not empty",
    ),
    "variable from an unknown field": (
        with_container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.user"}}}]),
        f'env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.user": {FIELD}spec.user',
    ),
    "unknown volume": (
        with_container(volumeMounts=[{"name": "x", "mountPath": "/x"}]),
        'spec.containers[0].volumeMounts[0].name: Not found: "x"',
    ),
    "mount nowhere": (with_mount(mountPath=""), "volumeMounts[0].mountPath: Required value"),
    "sub-path from the root": (with_mount(subPath="/a"), 'subPath: Invalid value: "/a": must be a relative path'),
    "sub-path that leaves": (
        with_mount(subPath="a/../.."),
        "subPath: Invalid value: \"a/../..\": must not contain '..'",
    ),
    "two sub-paths": (with_mount(subPath="a", subPathExpr="b"), "subPathExpr and subPath are mutually exclusive"),
    "volume name": (pod(volumes=[{"name": "A"}]), 'spec.volumes[0].name: Invalid value: "A": a lowercase RFC 1123'),
    "volume without name": (pod(volumes=[{"emptyDir": {}}]), "spec.volumes[0].name: Required value"),
    "volume of two kinds": (
        with_volume(emptyDir={}, hostPath={"path": "/x"}),
        "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
    ),
    "claim without name": (with_volume(persistentVolumeClaim={}), "persistentVolumeClaim.claimName: Required value"),
    "secret without name": (with_volume(secret={}), "spec.volumes[0].secret.secretName: Required value"),
    "host path that leaves": (with_volume(hostPath={"path": "/a/../b"}), "hostPath.path: Invalid value"),
    "file mode": (
        with_volume(configMap={"name": "c", "defaultMode": 1000}),
        "defaultMode: Invalid value: 1000: must be a number between 0 and 0777 (octal), both inclusive",
    ),
    "file from an unknown field": (
        with_volume(downwardAPI={"items": [{"path": "a", "fieldRef": {"fieldPath": "spec.user"}}]}),
        f'downwardAPI.fieldRef.fieldPath: Invalid value: "spec.user": {FIELD}spec.user',
    ),
    "file from the root": (
        with_volume(downwardAPI={"items": [{"path": "/a", "fieldRef": {"fieldPath": "metadata.name"}}]}),
        'downwardAPI.path: Invalid value: "/a": must be a relative path',
    ),
    "request over limit": (
        with_container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
        'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
    ),
    "gpu without limit": (
        with_container(resources={"requests": {"nvidia.com/gpu": "1"}}),
        "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
    ),
    "request below a gpu's limit": (
        with_container(resources={"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "2"}}),
        "must be equal to nvidia.com/gpu limit of 2",
    ),
    "half a gpu": (
        with_limit("nvidia.com/gpu", "0.5"),
        'limits[nvidia.com/gpu]: Invalid value: "500m": must be an integer',
    ),
    "less than nothing": (with_limit("cpu", "-1"), "must be greater than or equal to 0"),
    "a resource of no domain": (
        with_limit("gpu", "1"),
        'limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified',
    ),
    "a resource of claims": (with_limit("storage", "1Gi"), f'limits[storage]: Invalid value: "storage": {NOT_SCALAR}'),
    "deadline": (pod(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and"),
    "toleration of nothing": (pod(tolerations=[{"operator": "Equal"}]), "operator must be Exists when `key` is empty"),
    "toleration of any value": (
        pod(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
        "value must be empty when `operator` is 'Exists'",
    ),
    "toleration's operator": (
        pod(tolerations=[{"key": "a", "operator": "Near"}]),
        'tolerations[0].operator: Unsupported value: "Near": supported values: "Equal", "Exists"',
    ),
    "toleration's effect": (
        pod(tolerations=[{"key": "a", "operator": "Exists", "effect": "Never"}]),
        'effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"',
    ),
    "toleration for a time": (
        pod(tolerations=[{"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 3}]),
        "effect must be 'NoExecute' when `tolerationSeconds` is set",
    ),
    "the same gate twice": (
        pod(schedulingGates=[GATE, GATE]),
        'spec.schedulingGates[1]: Duplicate value: "example.com/quota"',
    ),
    "a gate and a node": (
        pod(schedulingGates=[GATE], nodeName="n1"),
        "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
    ),
    "a probe of nothing": (
        with_container(livenessProbe={"periodSeconds": 5}),
        "livenessProbe: Required value: must specify a handler type",
    ),
    "ephemeral containers": (
        pod(ephemeralContainers=[{"name": "e", "image": "i"}]),
        "spec.ephemeralContainers: Forbidden: cannot be set on create",
    ),
}


@pytest.mark.parametrize(("body", "sentence"), REFUSED.values(), ids=REFUSED)
async def test_a_pod_is_refused(kube: Kube, body: Json, sentence: str) -> None:
    answer = await kube.create("pods", copy.deepcopy(body), dryRun="All")
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


async def test_a_pod_keeps_its_spec(kube: Kube) -> None:
    await kube.made("pods", pod("p"))
    more = {"spec": {"containers": [{"name": "notebook", "env": [{"name": "B", "value": "2"}]}]}}
    answer = await kube.patch("pods/p", more, STRATEGIC)
    assert answer.said == (422, "Invalid")
    assert "spec: Forbidden: pod updates may not change fields other than" in answer.body["message"]


@pytest.mark.parametrize(
    "change",
    [{"nodeName": "n2"}, {"schedulerName": "other"}, {"priority": 3}, {"terminationGracePeriodSeconds": 3}],
    ids=str,
)
async def test_nor_is_it_taken_elsewhere(kube: Kube, change: Json) -> None:
    await kube.made("pods", pod("p", nodeName=kube.nowhere))
    answer = await kube.patch("pods/p", {"spec": change}, MERGE)
    assert answer.said == (422, "Invalid")
    assert "spec: Forbidden: pod updates may not change fields other than" in answer.body["message"]


async def test_its_image_may_change(kube: Kube) -> None:
    await kube.made("pods", pod("p"))
    other = {"spec": {"containers": [{"name": "notebook", "image": "example/image:2"}]}}
    assert (await kube.patch("pods/p", other, STRATEGIC)).status == 200


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


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"priority": 5}, "the integer value of priority (5) must not be provided in pod spec"),
        (
            {"preemptionPolicy": "Never"},
            "the string value of PreemptionPolicy (Never) must not be provided in pod spec",
        ),
    ],
)
async def test_a_pod_does_not_choose_its_priority(kube: Kube, spec: Json, sentence: str) -> None:
    answer = await kube.create("pods", pod("p", **spec))
    assert answer.said == (403, "Forbidden")
    assert sentence in answer.body["message"]


async def test_a_priority_class_stays_what_it_is(kube: Kube) -> None:
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    made = await kube.call("POST", path, {"metadata": {"name": kube.namespace}, "value": 5})
    try:
        assert made.body["preemptionPolicy"] == "PreemptLowerPriority"
        for change, sentence in (
            ({"value": 6}, "value: Forbidden: may not be changed in an update."),
            ({"preemptionPolicy": "Never"}, 'preemptionPolicy: Invalid value: "Never": field is immutable'),
        ):
            answer = await kube.call("PATCH", f"{path}/{kube.namespace}", change, MERGE)
            assert answer.said == (422, "Invalid")
            assert sentence in answer.body["message"]
    finally:
        await kube.call("DELETE", f"{path}/{kube.namespace}")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("system-mine", 5, "priority class names with 'system-' prefix are reserved for system use only"),
        ("mine", 2_000_000_000, "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"),
    ],
)
async def test_a_priority_class_is_refused(kube: Kube, name: str, value: int, sentence: str) -> None:
    body = {"metadata": {"name": name}, "value": value}
    answer = await kube.call("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", body, dryRun="All")
    assert answer.said == (422, "Invalid")
    assert sentence in answer.body["message"]


async def test_a_missing_service_account_is_403(kube: Kube) -> None:
    answer = await kube.create("pods", pod("p", serviceAccountName="hub"))
    assert answer.said == (403, "Forbidden")
    why = f'error looking up service account {kube.namespace}/hub: serviceaccount "hub" not found'
    assert answer.body["message"] == f'pods "p" is forbidden: {why}'


async def test_a_pod_without_account_has_the_default_one(kube: Kube) -> None:
    spec = (await kube.made("pods", pod("p")))["spec"]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")


async def test_what_is_immutable_stays(kube: Kube) -> None:
    await kube.made("configmaps", {**config_map("c"), "data": {"a": "1"}, "immutable": True})
    answer = await kube.patch("configmaps/c", {"data": {"a": "2"}}, MERGE)
    assert answer.said == (422, "Invalid")
    assert "data: Forbidden: field is immutable when `immutable` is set" in answer.body["message"]


async def test_keys_of_a_config_map_are_file_names(kube: Kube) -> None:
    answer = await kube.create("configmaps", {**config_map("c"), "data": {"a b": "1"}})
    assert answer.said == (422, "Invalid")
    assert 'data[a b]: Invalid value: "a b": a valid config key must consist of' in answer.body["message"]


async def test_a_pod_without_class_has_priority_0(kube: Kube) -> None:
    spec = (await kube.made("pods", pod("p")))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")


async def test_a_pod_is_completed(kube: Kube) -> None:
    volumes = [
        {"name": "scratch"},
        {"name": "settings", "configMap": {"name": "c"}},
        {"name": "names", "downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.uid"}}]}},
    ]
    body = pod("p", schedulerName="", volumes=volumes, terminationGracePeriodSeconds=None)
    body["spec"]["containers"][0] |= {"ports": [{"containerPort": 8888}], "readinessProbe": {"httpGet": {"port": 8888}}}
    made = (await kube.create("pods", body, dryRun="All")).body
    spec = made["spec"]
    keys = ("restartPolicy", "terminationGracePeriodSeconds", "schedulerName", "dnsPolicy", "enableServiceLinks")
    assert [spec[key] for key in keys] == ["Always", 30, "default-scheduler", "ClusterFirst", True]
    scratch, settings, names = spec["volumes"]
    assert (scratch["emptyDir"], settings["configMap"]["defaultMode"]) == ({}, 0o644)
    assert names["downwardAPI"]["items"][0]["fieldRef"] == {"apiVersion": "v1", "fieldPath": "metadata.uid"}
    container = spec["containers"][0]
    assert container["ports"] == [{"containerPort": 8888, "protocol": "TCP"}]
    assert container["readinessProbe"] == {
        "httpGet": {"path": "/", "port": 8888, "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    lost = [(one["key"], one["effect"], one["tolerationSeconds"]) for one in spec["tolerations"]]
    assert lost == [(f"node.kubernetes.io/{why}", "NoExecute", 300) for why in ("not-ready", "unreachable")]


async def test_what_an_update_leaves_out_is_completed_again(kube: Kube) -> None:
    made = await kube.made("pods", pod("p"))
    spec = {**made["spec"], "restartPolicy": None, "terminationGracePeriodSeconds": None, "dnsPolicy": ""}
    answer = await kube.call("PUT", f"{kube.here}/pods/p", {**made, "spec": spec})
    assert (answer.status, answer.body["spec"]) == (200, made["spec"])


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
    await kube.made("pods", pod("p"))
    answer = await kube.get("pods/p/log")
    assert (answer.status, answer.body) == (204, "")
    assert (await kube.get("pods/p/log", container="other")).body["message"] == "container other is not valid for pod p"
