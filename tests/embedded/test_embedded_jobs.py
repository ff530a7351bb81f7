"""The Job controller of the embedded cluster, with pods that run."""

from __future__ import annotations

from typing import Any

from embedded_cluster import NAMESPACE, create, events, log_of, phase
from patience import eventually

from jupyter_research_spawner.embedded import Cluster
from jupyter_research_spawner.embedded.apimachinery.api_resources import JOB, POD
from jupyter_research_spawner.embedded.apimachinery.object_fields import condition, is_true, now

IGNORE_DISRUPTIONS = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def job(name: str, *command: str, pod: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "example/image:1", "command": list(command)}
    pod_spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container], **(pod or {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod_spec}, **spec},
    }


def found(cluster: Cluster, name: str) -> dict[str, Any]:
    return cluster.store.find(JOB, NAMESPACE, name) or {}


def pods(cluster: Cluster) -> list[dict[str, Any]]:
    return cluster.store.list(POD, NAMESPACE)


async def finished(cluster: Cluster, name: str) -> dict[str, Any]:
    def is_finished() -> bool:
        return is_true(found(cluster, name), "Complete") or is_true(found(cluster, name), "Failed")

    await eventually(is_finished)
    return found(cluster, name)


def counts(done: dict[str, Any]) -> tuple[int, int, int]:
    return tuple(done["status"].get(key, 0) for key in ("active", "succeeded", "failed"))  # type: ignore[return-value]


async def test_a_job_runs_its_pod_and_completes(cluster: Cluster) -> None:
    await create(cluster, job("train", "echo", "hello"))
    done = await finished(cluster, "train")
    (pod,) = pods(cluster)
    assert counts(done) == (0, 1, 0)
    assert condition(done, "SuccessCriteriaMet")["reason"] == "CompletionsReached"
    assert condition(done, "Complete")["message"] == "Reached expected number of succeeded pods"
    assert done["status"]["completionTime"] >= done["status"]["startTime"]
    assert pod["metadata"]["name"].startswith("train-")
    assert pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "train"
    assert pod["metadata"]["ownerReferences"][0]["uid"] == done["metadata"]["uid"]
    assert "finalizers" not in pod["metadata"], "it was counted"
    assert log_of(cluster, pod["metadata"]["name"]) == "hello\n"
    assert events(cluster, "train")["SuccessfulCreate"] == f"Created pod: {pod['metadata']['name']}"


async def test_a_failed_pod_fails_a_job_without_retries(cluster: Cluster) -> None:
    await create(cluster, job("train", "sh", "-c", "exit 3"))
    done = await finished(cluster, "train")
    assert counts(done) == (0, 0, 1)
    for type_ in ("FailureTarget", "Failed"):
        assert condition(done, type_)["reason"] == "BackoffLimitExceeded"
        assert condition(done, type_)["message"] == "Job has reached the specified backoff limit"


async def test_retries_up_to_the_back_off_limit(cluster: Cluster) -> None:
    await create(cluster, job("train", "false", backoffLimit=2))
    done = await finished(cluster, "train")
    assert counts(done) == (0, 0, 3)
    assert len(pods(cluster)) == 3


async def test_several_completions(cluster: Cluster) -> None:
    await create(cluster, job("train", "true", completions=3, parallelism=2))
    assert counts(await finished(cluster, "train")) == (0, 3, 0)


async def preempted(cluster: Cluster) -> str:
    """Preempt the running pod and return its name."""
    await eventually(lambda: any(phase(cluster, p["metadata"]["name"]) == "Running" for p in pods(cluster)))
    (pod,) = pods(cluster)

    def mark(new: dict[str, Any]) -> None:
        target = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
        new["status"]["conditions"].append({**target, "lastTransitionTime": now()})

    cluster.store.modify(POD, pod, mark)
    cluster.store.delete(POD, cluster.store.get(POD, NAMESPACE, pod["metadata"]["name"]))
    return str(pod["metadata"]["name"])


async def test_an_ignored_disruption_is_replaced_and_not_counted(cluster: Cluster) -> None:
    await create(cluster, job("train", "sleep", "600", podFailurePolicy={"rules": [IGNORE_DISRUPTIONS]}))
    first = await preempted(cluster)
    await eventually(lambda: first not in {p["metadata"]["name"] for p in pods(cluster)})
    await eventually(lambda: [phase(cluster, p["metadata"]["name"]) for p in pods(cluster)] == ["Running"])
    assert counts(found(cluster, "train")) == (1, 0, 0)


async def test_without_a_policy_a_disruption_counts(cluster: Cluster) -> None:
    await create(cluster, job("train", "sleep", "600"))
    await preempted(cluster)
    assert condition(await finished(cluster, "train"), "Failed")["reason"] == "BackoffLimitExceeded"


async def test_an_exit_code_may_fail_the_job_at_once(cluster: Cluster) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    policy = {"rules": [IGNORE_DISRUPTIONS, rule]}
    await create(cluster, job("train", "sh", "-c", "exit 42", backoffLimit=5, podFailurePolicy=policy))
    done = await finished(cluster, "train")
    name = pods(cluster)[0]["metadata"]["name"]
    assert condition(done, "Failed")["reason"] == "PodFailurePolicy"
    assert condition(done, "Failed")["message"] == (
        f"Container main for pod {NAMESPACE}/{name} failed with exit code 42 matching FailJob rule at index 1"
    )


async def test_the_jobs_own_deadline(cluster: Cluster) -> None:
    await create(cluster, job("train", "sleep", "600", activeDeadlineSeconds=1))
    done = await finished(cluster, "train")
    assert condition(done, "Failed")["reason"] == "DeadlineExceeded"
    assert condition(done, "Failed")["message"] == "Job was active longer than specified deadline"
    # The job fails when its pods have ended, which is before they are gone (KEP-3939).
    await eventually(lambda: not pods(cluster))


async def test_the_pods_deadline_fails_a_job_without_retries(cluster: Cluster) -> None:
    await create(cluster, job("train", "sleep", "600", pod={"activeDeadlineSeconds": 1}))
    done = await finished(cluster, "train")
    (pod,) = pods(cluster)
    assert condition(done, "Failed")["reason"] == "BackoffLimitExceeded"
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")


async def test_a_suspended_job_waits(cluster: Cluster) -> None:
    await create(cluster, job("train", "true", suspend=True))
    await eventually(lambda: is_true(found(cluster, "train"), "Suspended"))
    assert pods(cluster) == []
    cluster.store.modify(JOB, found(cluster, "train"), lambda j: j["spec"].update(suspend=False))
    assert counts(await finished(cluster, "train")) == (0, 1, 0)


async def test_suspending_ends_the_pods(cluster: Cluster) -> None:
    await create(cluster, job("train", "sleep", "600"))
    await eventually(lambda: [phase(cluster, p["metadata"]["name"]) for p in pods(cluster)] == ["Running"])
    cluster.store.modify(JOB, found(cluster, "train"), lambda j: j["spec"].update(suspend=True))
    await eventually(lambda: not pods(cluster))
    assert not is_true(found(cluster, "train"), "Failed")


async def test_a_finished_job_goes_after_its_time(cluster: Cluster) -> None:
    seen: list[dict[str, Any]] = []  # Every state: a job that goes after a second may be gone before the next look.
    cluster.store.listeners.append(lambda c: seen.append(c.new) if c.kind.kind == "Job" else None)
    await create(cluster, job("train", "true", ttlSecondsAfterFinished=1))
    await eventually(lambda: not found(cluster, "train") and not pods(cluster))
    assert is_true(seen[-1], "Complete")


async def test_foreground_deletion_ends_the_pod_first(cluster: Cluster) -> None:
    await create(cluster, job("train", "sleep", "600"))
    await eventually(lambda: [phase(cluster, p["metadata"]["name"]) for p in pods(cluster)] == ["Running"])
    order: list[str] = []
    cluster.store.listeners.append(lambda c: order.append(c.kind.kind) if c.type == "DELETED" else None)
    cluster.store.delete(JOB, found(cluster, "train"), {"propagationPolicy": "Foreground"})
    assert found(cluster, "train")["metadata"]["finalizers"] == ["foregroundDeletion"]
    await eventually(lambda: not found(cluster, "train"))
    assert order == ["Pod", "Job"]


async def test_background_deletion_ends_the_pod_too(cluster: Cluster) -> None:
    await create(cluster, job("train", "sleep", "600"))
    await eventually(lambda: [phase(cluster, p["metadata"]["name"]) for p in pods(cluster)] == ["Running"])
    cluster.store.delete(JOB, found(cluster, "train"), {"propagationPolicy": "Background"})
    assert not found(cluster, "train")
    await eventually(lambda: not pods(cluster))


async def test_an_orphaned_pod_runs_on(cluster: Cluster) -> None:
    await create(cluster, job("train", "sleep", "600"))
    await eventually(lambda: [phase(cluster, p["metadata"]["name"]) for p in pods(cluster)] == ["Running"])
    cluster.store.delete(JOB, found(cluster, "train"))
    await eventually(lambda: "finalizers" not in pods(cluster)[0]["metadata"])
    assert "ownerReferences" not in pods(cluster)[0]["metadata"]
    assert phase(cluster, pods(cluster)[0]["metadata"]["name"]) == "Running"


async def test_a_missing_priority_class_is_an_event_of_the_job(cluster: Cluster) -> None:
    await create(cluster, job("train", "true", pod={"priorityClassName": "no-such"}))
    said = await eventually(lambda: events(cluster, "train").get("FailedCreate"))
    assert said.startswith("Error creating: pods ")
    assert said.endswith("is forbidden: no PriorityClass with name no-such was found")
