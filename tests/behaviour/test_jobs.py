"""Jobs and their pods (batch/v1, KEP-3329, KEP-3850, KEP-3998).  The tests act as the node."""

from __future__ import annotations

import pytest
from job_steps import (
    COMES_BACK,
    DISRUPTED,
    MANAGED,
    conditions,
    counts,
    ended,
    job_now,
    pods_of_job,
    report,
    running_pod,
    submitted,
)
from kube import MERGE, Json, Kube, eventually, job

TRACKING = "batch.kubernetes.io/job-tracking"


async def test_a_job_makes_its_pod(kube: Kube) -> None:
    made = await submitted(kube)
    await eventually(lambda: counts(kube, "active"), [1])
    [pod] = await pods_of_job(kube)
    metadata = pod["metadata"]
    assert (metadata["generateName"], metadata["finalizers"]) == ("j-", [TRACKING])
    assert metadata["labels"] == made["spec"]["template"]["metadata"]["labels"]
    reference = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": "j",
        "uid": made["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    assert metadata["ownerReferences"] == [reference]
    assert (await job_now(kube))["status"]["startTime"]


async def test_a_job_whose_pod_succeeds_is_complete(kube: Kube) -> None:
    await submitted(kube)
    name = await running_pod(kube)
    await ended(kube, name, 0)
    reached = "CompletionsReached"
    await eventually(lambda: conditions(kube), [("SuccessCriteriaMet", "True", reached), ("Complete", "True", reached)])
    status = (await job_now(kube))["status"]
    assert status["completionTime"]
    assert await counts(kube, "active", "succeeded", "failed") == [0, 1, 0]

    async def finalizers() -> list[str]:
        return (await kube.get(f"pods/{name}")).body["metadata"].get("finalizers", [])

    await eventually(finalizers, [])


async def test_a_job_that_may_not_fail_fails_with_its_pod(kube: Kube) -> None:
    await submitted(kube, backoffLimit=0)
    await ended(kube, await running_pod(kube), 3)
    reason = "BackoffLimitExceeded"
    await eventually(lambda: conditions(kube), [("FailureTarget", "True", reason), ("Failed", "True", reason)])
    status = (await job_now(kube))["status"]
    assert status["conditions"][1]["message"] == "Job has reached the specified backoff limit"
    assert "completionTime" not in status
    assert await counts(kube, "active", "succeeded", "failed") == [0, 0, 1]


async def test_a_pod_that_failed_is_replaced_while_the_job_may_fail(kube: Kube) -> None:
    await submitted(kube, backoffLimit=1)
    first = await running_pod(kube)
    await ended(kube, first, 3)
    second = await running_pod(kube)
    assert second != first
    await ended(kube, second, 0)
    await eventually(lambda: counts(kube, "active", "succeeded", "failed"), [0, 1, 1])


async def test_a_preempted_pod_does_not_count_where_the_policy_says_so(kube: Kube) -> None:
    await submitted(kube, backoffLimit=0, podFailurePolicy=COMES_BACK)
    first = await running_pod(kube)
    # As the scheduler preempts: it says why and deletes, then the node reports the end and lets go.
    await report(kube, first, conditions=[DISRUPTED])
    await kube.delete(f"pods/{first}")
    await ended(kube, first, 143, DISRUPTED)
    await kube.delete(f"pods/{first}", gracePeriodSeconds="0")
    second = await running_pod(kube)
    assert second != first
    assert await counts(kube, "failed") == [0]
    await ended(kube, second, 0)
    await eventually(lambda: counts(kube, "succeeded", "failed"), [1, 0])


async def test_a_pod_is_replaced_only_when_it_has_ended_under_a_policy(kube: Kube) -> None:
    made = await submitted(kube, backoffLimit=0, podFailurePolicy=COMES_BACK)
    assert made["spec"]["podReplacementPolicy"] == "Failed"
    first = await running_pod(kube)
    await report(kube, first, conditions=[DISRUPTED])
    await kube.delete(f"pods/{first}")
    await eventually(lambda: counts(kube, "terminating", "active"), [1, 0])
    assert await pods_of_job(kube) == []
    await ended(kube, first, 143, DISRUPTED)
    await eventually(lambda: counts(kube, "active", "failed"), [1, 0])


async def test_an_evicted_pod_does_not_count_either(kube: Kube) -> None:
    await submitted(kube, backoffLimit=0, podFailurePolicy=COMES_BACK)
    first = await running_pod(kube)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": first}}
    assert (await kube.call("POST", f"{kube.here}/pods/{first}/eviction", eviction)).status == 201
    marked = (await kube.get(f"pods/{first}")).body["status"]["conditions"]
    await ended(kube, first, 143, *marked)
    await eventually(lambda: counts(kube, "active", "failed"), [1, 0])


async def test_a_pod_that_somebody_deletes_counts(kube: Kube) -> None:
    await submitted(kube, backoffLimit=0, podFailurePolicy=COMES_BACK)
    first = await running_pod(kube)
    await kube.delete(f"pods/{first}")
    await ended(kube, first, 143)
    reason = "BackoffLimitExceeded"
    await eventually(lambda: conditions(kube), [("FailureTarget", "True", reason), ("Failed", "True", reason)])


async def test_an_exit_code_may_end_a_job_at_once(kube: Kube) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3, 42]}}
    await submitted(kube, backoffLimit=6, podFailurePolicy={"rules": [rule]})
    name = await running_pod(kube)
    await ended(kube, name, 42)
    reason = "PodFailurePolicy"
    await eventually(lambda: conditions(kube), [("FailureTarget", "True", reason), ("Failed", "True", reason)])
    message = (await job_now(kube))["status"]["conditions"][1]["message"]
    assert (
        message == f"Container main for pod {kube.namespace}/{name} failed with exit code 42 "
        "matching FailJob rule at index 0"
    )


async def test_a_job_ends_at_its_deadline(kube: Kube) -> None:
    await submitted(kube, activeDeadlineSeconds=5)
    name = await running_pod(kube)
    reason = "DeadlineExceeded"
    await eventually(lambda: conditions(kube), [("FailureTarget", "True", reason)])
    verdict = (await job_now(kube))["status"]["conditions"][0]
    assert verdict["message"] == "Job was active longer than specified deadline"
    # Its pod is being deleted, and Failed comes when that has ended.
    assert (await kube.get(f"pods/{name}")).body["metadata"]["deletionTimestamp"]
    await ended(kube, name, 143)
    await eventually(lambda: conditions(kube), [("FailureTarget", "True", reason), ("Failed", "True", reason)])


async def test_a_suspended_job_has_no_pod_until_it_is_resumed(kube: Kube) -> None:
    await submitted(kube, suspend=True)
    await eventually(lambda: conditions(kube), [("Suspended", "True", "JobSuspended")])
    assert await pods_of_job(kube) == []
    assert "startTime" not in (await job_now(kube))["status"]
    await kube.call("PATCH", f"{kube.jobs}/j", {"spec": {"suspend": False}}, MERGE)
    await eventually(lambda: conditions(kube), [("Suspended", "False", "JobResumed")])
    await eventually(lambda: counts(kube, "active"), [1])
    assert (await job_now(kube))["status"]["startTime"]


async def test_suspending_a_job_takes_its_pods_away(kube: Kube) -> None:
    await submitted(kube, backoffLimit=0)
    name = await running_pod(kube)
    await kube.call("PATCH", f"{kube.jobs}/j", {"spec": {"suspend": True}}, MERGE)

    async def is_going() -> bool:
        pod = (await kube.get(f"pods/{name}")).body
        return pod.get("code") == 404 or "deletionTimestamp" in pod["metadata"]

    await eventually(is_going, True)
    await kube.delete(f"pods/{name}", gracePeriodSeconds="0")
    await eventually(lambda: conditions(kube), [("Suspended", "True", "JobSuspended")])
    assert await counts(kube, "active", "failed") == [0, 0]


async def test_a_suspended_job_that_never_began_may_be_placed_elsewhere(kube: Kube) -> None:
    await submitted(kube, suspend=True)
    elsewhere = {"spec": {"template": {"spec": {"nodeSelector": {"pool": "a"}}}}}
    assert (await kube.call("PATCH", f"{kube.jobs}/j", elsewhere, MERGE)).status == 200
    other_image = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "example/image:2"}]}}}}
    answer = await kube.call("PATCH", f"{kube.jobs}/j", other_image, MERGE)
    assert answer.said == (422, "Invalid")
    assert "field is immutable" in answer.body["message"]


async def test_deleting_a_job_in_the_foreground_ends_its_pods_first(kube: Kube) -> None:
    made = await submitted(kube)
    name = await running_pod(kube)
    options = {"propagationPolicy": "Foreground", "preconditions": {"uid": made["metadata"]["uid"]}}
    answer = await kube.call("DELETE", f"{kube.jobs}/j", options)
    assert (answer.status, answer.body["metadata"]["finalizers"]) == (200, ["foregroundDeletion"])

    async def pod_is_going() -> bool:
        return "deletionTimestamp" in (await kube.get(f"pods/{name}")).body["metadata"]

    await eventually(pod_is_going, True)
    assert (await job_now(kube))["metadata"]["deletionTimestamp"]
    await kube.delete(f"pods/{name}", gracePeriodSeconds="0")
    await eventually(lambda: _status(kube, f"{kube.jobs}/j"), 404)
    assert (await kube.get(f"pods/{name}")).status == 404


async def _status(kube: Kube, path: str) -> int:
    return (await kube.call("GET", path)).status


async def test_a_job_that_ended_goes_after_its_time(kube: Kube) -> None:
    await submitted(kube, ttlSecondsAfterFinished=1)
    name = await running_pod(kube)
    await ended(kube, name, 0)
    await eventually(lambda: _status(kube, f"{kube.jobs}/j"), 404)
    await eventually(lambda: _status(kube, f"{kube.here}/pods/{name}"), 404)


async def test_a_pod_that_is_refused_is_told_in_an_event(kube: Kube) -> None:
    body = job("j")
    body["spec"]["template"]["spec"]["priorityClassName"] = "no-such"
    assert (await kube.call("POST", kube.jobs, body)).status == 201

    async def told() -> list[str]:
        fields = "involvedObject.kind=Job,involvedObject.name=j,reason=FailedCreate"
        found = (await kube.get("events", fieldSelector=fields)).body["items"]
        return sorted({event["message"].replace('"', "") for event in found})

    async def says_why() -> bool:
        return any("is forbidden: no PriorityClass with name no-such was found" in text for text in await told())

    await eventually(says_why, True)


REFUSED_POLICIES = {
    "no action": ({"onExitCodes": {"operator": "In", "values": [1]}}, "rules[0].action: Required value"),
    "another action": (
        {"action": "Retry", "onExitCodes": {"operator": "In", "values": [1]}},
        'rules[0].action: Unsupported value: "Retry": supported values: "Count", "FailIndex", "FailJob", "Ignore"',
    ),
    "no cause": ({"action": "Ignore"}, "rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions"),
    "success as a failure": (
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [0]}},
        "rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
    ),
    "codes in disorder": (
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3, 1]}},
        "rules[0].onExitCodes.values: Invalid value: [3,1]: must be ordered",
    ),
    "a container that there is not": (
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3], "containerName": "side"}},
        'rules[0].onExitCodes.containerName: Invalid value: "side": must be one of the container or initContainer',
    ),
}


@pytest.mark.parametrize(("rule", "sentence"), REFUSED_POLICIES.values(), ids=REFUSED_POLICIES)
async def test_a_failure_policy_is_refused(kube: Kube, rule: Json, sentence: str) -> None:
    answer = await kube.call("POST", kube.jobs, job("j", podFailurePolicy={"rules": [rule]}))
    assert answer.said == (422, "Invalid")
    assert f"spec.podFailurePolicy.{sentence}" in answer.body["message"]


async def test_under_a_failure_policy_pods_are_never_restarted(kube: Kube) -> None:
    body = job("j", podFailurePolicy=COMES_BACK)
    body["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    answer = await kube.call("POST", kube.jobs, body)
    assert answer.said == (422, "Invalid")
    assert 'only "Never" is supported when podFailurePolicy is specified' in answer.body["message"]


async def test_some_of_a_job_never_changes_and_some_does(kube: Kube) -> None:
    await submitted(kube, suspend=True)
    for change in ({"completions": 2}, {"podFailurePolicy": COMES_BACK}, {"completionMode": "Indexed"}):
        answer = await kube.call("PATCH", f"{kube.jobs}/j", {"spec": change}, MERGE)
        assert answer.said == (422, "Invalid"), change
    for change in ({"activeDeadlineSeconds": 60}, {"backoffLimit": 3}, {"ttlSecondsAfterFinished": 5}):
        assert (await kube.call("PATCH", f"{kube.jobs}/j", {"spec": change}, MERGE)).status == 200, change


async def test_labels_of_a_template_stay_and_the_jobs_own_do_not_change_its_pods(kube: Kube) -> None:
    body = job("j", suspend=True)
    body["metadata"]["labels"] = {"a": "1"}
    body["spec"]["template"]["metadata"] = {"labels": {"b": "2"}}
    made = (await kube.call("POST", kube.jobs, body)).body
    assert made["metadata"]["labels"] == {"a": "1"}
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert {key: value for key, value in labels.items() if "controller-uid" not in key} == {
        "b": "2",
        "job-name": "j",
        f"{MANAGED}job-name": "j",
    }
