"""Jobs with completionMode Indexed (KEP-2214) and backoffLimitPerIndex (KEP-3850).  The tests act as the node."""

from __future__ import annotations

from typing import Any

import pytest
from job_steps import COMES_BACK, DISRUPTED, conditions, counts, ended, job_now, pods_of_job, report, submitted
from kube import MERGE, Json, Kube, eventually, job

INDEX = "batch.kubernetes.io/job-completion-index"
FAILURE_COUNT = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURE_COUNT = "batch.kubernetes.io/job-index-ignored-failure-count"


async def array(kube: Kube, completions: int, **spec: Any) -> Json:
    """Submit an Indexed Job.  Unless `spec` says otherwise, all indexes run at the same time."""
    return await submitted(kube, completionMode="Indexed", completions=completions, **{"parallelism": 9, **spec})


async def indexes(kube: Kube) -> list[int]:
    """Return the indexes of the Job's pods that have not finished and are not being deleted."""
    pods = [pod for pod in await pods_of_job(kube) if pod["status"]["phase"] in ("Pending", "Running")]
    return sorted(int(pod["metadata"]["annotations"][INDEX]) for pod in pods)


async def running_pod_of(kube: Kube, index: int) -> Json:
    """Wait for the pending pod of this index, bind it to a node and report it as running."""

    async def waiting() -> list[Json]:
        pods = [pod for pod in await pods_of_job(kube) if pod["metadata"]["labels"].get(INDEX) == str(index)]
        return [pod for pod in pods if not pod["spec"].get("nodeName")]

    async def is_waiting() -> bool:
        return bool(await waiting())

    await eventually(is_waiting, True)
    [pod] = await waiting()
    name = pod["metadata"]["name"]
    target = {"apiVersion": "v1", "kind": "Node", "name": kube.nowhere}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    assert (await kube.call("POST", f"{kube.here}/pods/{name}/binding", binding)).status == 201
    await report(kube, name, phase="Running", podIP="10.0.0.1")
    return pod


async def ends(kube: Kube, index: int, exit_code: int, *marks: Json) -> Json:
    """Let the pod of this index run and exit with this code.  Return the pod as it was while pending."""
    pod = await running_pod_of(kube, index)
    await ended(kube, pod["metadata"]["name"], exit_code, *marks)
    return pod


async def status(kube: Kube, *names: str) -> list[Any]:
    found = (await job_now(kube))["status"]
    return [found.get(name) for name in names]


async def eventually_status(kube: Kube, **wanted: Any) -> None:
    await eventually(lambda: status(kube, *wanted), list(wanted.values()))


def failed_because(reason: str) -> list[tuple[str, str, str]]:
    return [("FailureTarget", "True", reason), ("Failed", "True", reason)]


async def message(kube: Kube) -> str:
    return str((await job_now(kube))["status"]["conditions"][-1]["message"])


async def test_each_index_has_a_pod_that_knows_its_index(kube: Kube) -> None:
    body = job("j", completionMode="Indexed", completions=3, parallelism=3)
    pod_spec = body["spec"]["template"]["spec"]
    own = {"name": "JOB_COMPLETION_INDEX", "value": "mine"}
    pod_spec["initContainers"] = [{"name": "first", "image": "example/image:1"}]
    pod_spec["containers"].append({"name": "second", "image": "example/image:1", "env": [own]})
    assert (await kube.call("POST", kube.jobs, body)).status == 201
    await eventually(lambda: indexes(kube), [0, 1, 2])
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}
    for pod in await pods_of_job(kube):
        metadata, spec = pod["metadata"], pod["spec"]
        index = metadata["annotations"][INDEX]
        assert (metadata["labels"][INDEX], spec["hostname"]) == (index, f"j-{index}")
        assert metadata["generateName"] == f"j-{index}-"
        assert metadata["name"].startswith(f"j-{index}-")
        assert FAILURE_COUNT not in metadata["annotations"]
        variable = {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}
        assert [container.get("env") for container in spec["containers"]] == [[variable], [own]]
        assert spec["initContainers"][0]["env"] == [variable]
    assert await status(kube, "completedIndexes", "failedIndexes", "active") == [None, None, 3]


async def test_a_long_name_of_a_job_is_cut_before_the_index(kube: Kube) -> None:
    name = "long-" + "x" * 55
    body = job(name, completionMode="Indexed", completions=11, parallelism=11)
    assert (await kube.call("POST", kube.jobs, body)).status == 201

    async def prefixes() -> list[str]:
        found = (await kube.get("pods", labelSelector=f"{INDEX}=10")).body["items"]
        return [pod["metadata"]["generateName"] for pod in found]

    await eventually(prefixes, [f"{name[:54]}-10-"])


async def test_parallelism_is_a_window_over_the_indexes(kube: Kube) -> None:
    await array(kube, 4, parallelism=2)
    await eventually(lambda: indexes(kube), [0, 1])
    await ends(kube, 1, 0)
    await eventually(lambda: indexes(kube), [0, 2])
    await eventually_status(kube, completedIndexes="1", succeeded=1, active=2)
    await ends(kube, 2, 0)
    await eventually(lambda: indexes(kube), [0, 3])
    await eventually_status(kube, completedIndexes="1,2", succeeded=2)


async def test_a_job_is_complete_when_all_indexes_have_succeeded(kube: Kube) -> None:
    await array(kube, 4)
    for index, completed in ((3, "3"), (1, "1,3"), (0, "0,1,3"), (2, "0-3")):
        await ends(kube, index, 0)
        await eventually_status(kube, completedIndexes=completed)
    reached = "CompletionsReached"
    await eventually(lambda: conditions(kube), [("SuccessCriteriaMet", "True", reached), ("Complete", "True", reached)])
    assert await counts(kube, "active", "succeeded", "failed") == [0, 4, 0]
    assert await status(kube, "failedIndexes") == [None]


async def test_without_a_limit_of_each_index_failures_count_for_the_job(kube: Kube) -> None:
    await array(kube, 2, backoffLimit=1)
    await ends(kube, 0, 3)
    await eventually(lambda: counts(kube, "failed", "active"), [1, 2])
    assert FAILURE_COUNT not in (await ends(kube, 0, 3))["metadata"]["annotations"]
    await eventually(lambda: conditions(kube), failed_because("BackoffLimitExceeded"))
    assert await status(kube, "failedIndexes") == [None]


async def test_an_index_that_may_not_fail_leaves_the_others_running(kube: Kube) -> None:
    made = await array(kube, 3, backoffLimitPerIndex=0)
    assert made["spec"]["backoffLimit"] == 2147483647
    await eventually_status(kube, failedIndexes="", active=3)
    await ends(kube, 1, 3)
    await eventually_status(kube, failedIndexes="1", completedIndexes=None, failed=1, active=2)
    await ends(kube, 0, 0)
    await eventually_status(kube, failedIndexes="1", completedIndexes="0")
    assert await conditions(kube) == []
    await ends(kube, 2, 0)
    await eventually(lambda: conditions(kube), failed_because("FailedIndexes"))
    assert await message(kube) == "Job has failed indexes"
    assert await status(kube, "failedIndexes", "completedIndexes", "failed") == ["1", "0,2", 1]


async def test_an_index_that_may_fail_once_comes_back_once(kube: Kube) -> None:
    await array(kube, 2, backoffLimitPerIndex=1)
    first = await ends(kube, 0, 3)
    assert first["metadata"]["annotations"][FAILURE_COUNT] == "0"
    second = await running_pod_of(kube, 0)
    assert second["metadata"]["annotations"][FAILURE_COUNT] == "1"
    await eventually_status(kube, failedIndexes="", failed=1, active=2)
    await ended(kube, second["metadata"]["name"], 3)
    await eventually_status(kube, failedIndexes="0", failed=2, active=1)
    assert await indexes(kube) == [1]


async def test_too_many_failed_indexes_end_the_job(kube: Kube) -> None:
    await array(kube, 4, backoffLimitPerIndex=0, maxFailedIndexes=1)
    await ends(kube, 0, 3)
    await eventually_status(kube, failedIndexes="0", active=3)
    await ends(kube, 2, 3)
    await eventually(lambda: conditions(kube), failed_because("MaxFailedIndexesExceeded"))
    assert await message(kube) == "Job has exceeded the specified maximal number of failed indexes"
    await eventually(lambda: indexes(kube), [])
    assert await status(kube, "failedIndexes") == ["0,2"]


async def test_an_exit_code_may_fail_an_index_for_good(kube: Kube) -> None:
    rule = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}
    await array(kube, 2, backoffLimitPerIndex=5, podFailurePolicy={"rules": [rule]})
    await ends(kube, 1, 42)
    await eventually_status(kube, failedIndexes="1", failed=1, active=1)
    assert await indexes(kube) == [0]


async def test_an_ignored_disruption_brings_the_index_back(kube: Kube) -> None:
    await array(kube, 2, backoffLimitPerIndex=0, podFailurePolicy=COMES_BACK)
    first = await ends(kube, 1, 143, DISRUPTED)
    assert IGNORED_FAILURE_COUNT not in first["metadata"]["annotations"]
    second = await running_pod_of(kube, 1)
    counted = [second["metadata"]["annotations"][name] for name in (FAILURE_COUNT, IGNORED_FAILURE_COUNT)]
    assert counted == ["0", "1"]
    await eventually_status(kube, failedIndexes="", failed=None, active=2)


async def test_deleting_the_pod_of_an_index_that_may_not_fail_ends_this_index_alone(kube: Kube) -> None:
    await array(kube, 3, backoffLimitPerIndex=0, podFailurePolicy=COMES_BACK)
    name = (await running_pod_of(kube, 1))["metadata"]["name"]
    await kube.delete(f"pods/{name}")
    await eventually_status(kube, terminating=1, active=2)
    assert await indexes(kube) == [0, 2]
    await ended(kube, name, 143)
    await eventually_status(kube, failedIndexes="1", failed=1, active=2, terminating=0)
    assert await indexes(kube) == [0, 2]


async def test_an_index_is_replaced_only_when_its_pod_has_ended_under_that_policy(kube: Kube) -> None:
    await array(kube, 2, backoffLimitPerIndex=1, podReplacementPolicy="Failed")
    name = (await running_pod_of(kube, 0))["metadata"]["name"]
    await kube.delete(f"pods/{name}")
    await eventually_status(kube, terminating=1, active=1)
    assert await indexes(kube) == [1]
    await ended(kube, name, 143)
    assert (await running_pod_of(kube, 0))["metadata"]["annotations"][FAILURE_COUNT] == "1"
    await eventually_status(kube, failed=1, active=2, failedIndexes="")


async def test_without_that_policy_an_index_is_replaced_as_soon_as_its_pod_is_deleted(kube: Kube) -> None:
    await array(kube, 2, backoffLimitPerIndex=1)
    name = (await running_pod_of(kube, 0))["metadata"]["name"]
    await kube.delete(f"pods/{name}")
    assert (await running_pod_of(kube, 0))["metadata"]["annotations"][FAILURE_COUNT] == "1"
    await eventually_status(kube, failed=1, active=2, terminating=1)


async def test_a_suspended_job_goes_on_with_the_indexes_that_remain(kube: Kube) -> None:
    await array(kube, 3, backoffLimitPerIndex=0)
    await ends(kube, 1, 0)
    await eventually_status(kube, completedIndexes="1", active=2)
    await kube.call("PATCH", f"{kube.jobs}/j", {"spec": {"suspend": True}}, MERGE)
    await eventually(lambda: conditions(kube), [("Suspended", "True", "JobSuspended")])
    await eventually(lambda: indexes(kube), [])
    await eventually_status(kube, active=None, failed=None, failedIndexes="", completedIndexes="1")
    await kube.call("PATCH", f"{kube.jobs}/j", {"spec": {"suspend": False}}, MERGE)
    await eventually(lambda: indexes(kube), [0, 2])
    await eventually_status(kube, active=2, failed=None, failedIndexes="", completedIndexes="1")


async def test_completions_and_parallelism_may_change_together(kube: Kube) -> None:
    await array(kube, 3, parallelism=3)
    await ends(kube, 2, 0)
    await eventually_status(kube, completedIndexes="2")
    alone = await kube.call("PATCH", f"{kube.jobs}/j", {"spec": {"completions": 2}}, MERGE)
    assert alone.said == (422, "Invalid")
    assert (
        "spec.completions: Invalid value: 2: can only be modified in tandem with spec.parallelism"
        in (alone.body["message"])
    )
    together = {"spec": {"completions": 1, "parallelism": 1}}
    assert (await kube.call("PATCH", f"{kube.jobs}/j", together, MERGE)).status == 200
    await eventually(lambda: indexes(kube), [0])
    await eventually_status(kube, completedIndexes=None, active=1, failed=None)


INDEXED: Json = {"completionMode": "Indexed", "completions": 2}
FAIL_INDEX = {"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [1]}}]}
REFUSED_SPECS: dict[str, tuple[Json, str]] = {
    "no completions": (
        {"completionMode": "Indexed", "parallelism": 2},
        "spec.completions: Required value: when completion mode is Indexed",
    ),
    "another mode": (
        {"completionMode": "Sorted"},
        'spec.completionMode: Unsupported value: "Sorted": supported values: "NonIndexed", "Indexed"',
    ),
    "too many at once": (
        {**INDEXED, "parallelism": 100001},
        "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
    ),
    "a limit of indexes without indexes": (
        {"backoffLimitPerIndex": 1},
        "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
    ),
    "a negative limit": (
        {**INDEXED, "backoffLimitPerIndex": -1},
        "spec.backoffLimitPerIndex: Invalid value: -1: must be greater than or equal to 0",
    ),
    "failed indexes without a limit": (
        {**INDEXED, "maxFailedIndexes": 1},
        "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
    ),
    "failed indexes without indexes": (
        {"maxFailedIndexes": 1, "backoffLimitPerIndex": 1},
        "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
    ),
    "more failed indexes than indexes": (
        {**INDEXED, "backoffLimitPerIndex": 0, "maxFailedIndexes": 3},
        "spec.maxFailedIndexes: Invalid value: 3: must be less than or equal to completions",
    ),
    "very many indexes": (
        {"completionMode": "Indexed", "completions": 100001, "backoffLimitPerIndex": 0},
        "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
    ),
    "very many indexes, many at once": (
        {
            "completionMode": "Indexed",
            "completions": 100001,
            "parallelism": 10001,
            "backoffLimitPerIndex": 0,
            "maxFailedIndexes": 1,
        },
        "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above "
        "100000 and used with backoff limit per index",
    ),
    "an index may fail without a limit": (
        {**INDEXED, "podFailurePolicy": FAIL_INDEX},
        'spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be '
        "set",
    ),
    "a policy with early replacement": (
        {**INDEXED, "podFailurePolicy": COMES_BACK, "podReplacementPolicy": "TerminatingOrFailed"},
        'spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"',
    ),
}


@pytest.mark.parametrize(("spec", "sentence"), REFUSED_SPECS.values(), ids=REFUSED_SPECS)
async def test_an_indexed_job_is_refused(kube: Kube, spec: Json, sentence: str) -> None:
    answer = await kube.call("POST", kube.jobs, job("j", suspend=True, **spec))
    assert answer.said == (422, "Invalid")
    assert sentence in answer.body["message"]


async def test_the_longest_host_name_of_an_indexed_job_must_be_a_label(kube: Kube) -> None:
    name = "x" * 62
    answer = await kube.call("POST", kube.jobs, job(name, **INDEXED))
    assert answer.said == (422, "Invalid")
    sentence = f'metadata.name: Invalid value: "{name}": will not able to create pod with invalid DNS label: {name}-1'
    assert sentence in answer.body["message"]


async def test_limits_of_an_index_never_change(kube: Kube) -> None:
    await submitted(kube, suspend=True, **INDEXED, backoffLimitPerIndex=1)
    answer = await kube.call("PATCH", f"{kube.jobs}/j", {"spec": {"backoffLimitPerIndex": 2}}, MERGE)
    assert answer.said == (422, "Invalid")
    assert "spec.backoffLimitPerIndex: Invalid value: 2: field is immutable" in answer.body["message"]
    assert (await kube.call("PATCH", f"{kube.jobs}/j", {"spec": {"maxFailedIndexes": 1}}, MERGE)).status == 200
