"""What the batch service counts about jobs, with the embedded cluster and without one."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import small_site
from patience import eventually
from prometheus_client import REGISTRY

from jupyter_research_spawner.batch.job_metrics import JobMetrics
from jupyter_research_spawner.pod.overlay import KIND, PLAN
from jupyter_research_spawner.watch.follow import Change

Json = dict[str, Any]
SMALL = {"kind": "job", "scheduler": "plain", "profile": "small"}
CREATED = "2026-11-23T12:00:00Z"


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"research_spawner_{name}", labels) or 0.0


def counted() -> dict[str, float]:
    return {
        "queued": value("queued_workloads", kind="job", queue="climate"),
        "admissions": value("admissions_total", kind="job", queue="climate"),
        "waits": value("queue_wait_seconds_count", **SMALL),
        "waited": value("queue_wait_seconds_sum", **SMALL),
        "ready": value("time_to_ready_seconds_sum", **SMALL),
        **{
            reason: value("ends_total", kind="job", reason=reason)
            for reason in ("succeeded", "failed", "cancelled", "rights-lost", "unknown", "out-of-memory")
        },
    }


@pytest.fixture
def changed() -> Any:
    """Return a function that returns which values have changed since the test began, and by how much."""
    before = counted()

    def changes() -> dict[str, float]:
        return {name: now - before[name] for name, now in counted().items() if now != before[name]}

    return changes


def job(name: str = "train", condition: str = "", plan: str = '{"profile": "small", "queue": "climate"}', **marks: str):
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "creationTimestamp": CREATED,
            "labels": {KIND: "job"},
            "annotations": {PLAN: plan.replace("{", '{"scheduler": "plain", '), **marks},
        },
        "status": {"conditions": [{"type": condition, "status": "True"}] if condition else []},
    }


def pod(name: str = "train", placed: str = "", begun: str = "", ended: Json | None = None) -> Json:
    conditions = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": placed}] if placed else []
    state = {"terminated": ended} if ended else {"running": {"startedAt": begun}}
    status: Json = {"phase": "Failed" if ended else "Running" if begun else "Pending", "conditions": conditions}
    if begun or ended:
        status["containerStatuses"] = [{"name": "job", "state": state}]
    labels = {KIND: "job", "batch.kubernetes.io/job-name": name}
    return {"metadata": {"name": f"{name}-x", "uid": "1", "labels": labels}, "spec": {}, "status": status}


def test_a_job_waits_gets_a_node_begins_and_ends(changed: Any) -> None:
    jobs = JobMetrics(small_site())
    jobs.pods_changed(Change("listed"))
    jobs.job_changed(job())
    jobs.job_changed(job())
    assert changed() == {"queued": 1}
    jobs.pods_changed(Change("added", (pod(),)))
    assert changed() == {"queued": 1}
    for _ in range(2):
        jobs.pods_changed(Change("modified", (pod(placed="2026-11-23T12:10:00Z"),)))
        assert changed() == {"admissions": 1, "waits": 1, "waited": 600}
    jobs.pods_changed(Change("modified", (pod(placed="2026-11-23T12:10:00Z", begun="2026-11-23T12:11:00Z"),)))
    for _ in range(2):
        jobs.job_changed(job(condition="Complete"))
        assert changed() == {"admissions": 1, "waits": 1, "waited": 600, "ready": 660, "succeeded": 1}


def test_a_pod_that_is_seen_before_its_job_counts(changed: Any) -> None:
    jobs = JobMetrics(small_site())
    jobs.pods_changed(Change("listed"))
    jobs.pods_changed(Change("added", (pod(placed="2026-11-23T12:10:00Z"),)))
    jobs.job_changed(job())
    assert changed() == {"admissions": 1, "waits": 1, "waited": 600}


def test_what_happened_before_the_service_began_is_not_counted_again(changed: Any) -> None:
    jobs = JobMetrics(small_site())
    jobs.pods_changed(Change("listed", (pod(placed="2026-11-23T12:10:00Z", begun="2026-11-23T12:11:00Z"),)))
    jobs.job_changed(job())
    jobs.job_changed(job("ended", condition="Failed"))
    assert changed() == {}


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (job(condition="Failed"), "out-of-memory"),
        (job(**{"research-spawner/refused": '{"at": "2026-11-23T12:00:00Z", "message": "No."}'}), "rights-lost"),
        ("deleted", "cancelled"),
        ("lost", "unknown"),
        (job(**{"research-spawner/successor": '{"name": "a", "message": "b", "at": "2026-11-23T12:00:00Z"}'}), None),
    ],
    ids=["failed", "refused", "deleted", "lost", "replaced"],
)
def test_an_end_has_a_reason(changed: Any, last: Any, reason: str | None) -> None:
    jobs = JobMetrics(small_site())
    jobs.pods_changed(Change("listed"))
    jobs.job_changed(job())
    ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-23T12:20:00Z"}
    jobs.pods_changed(Change("modified", (pod(ended=ended),)))
    if last == "lost":
        jobs.job_lost("train")
    elif last == "deleted":
        jobs.job_changed(job(), is_gone=True)
    else:
        jobs.job_changed(last, is_gone=reason is None)
    assert changed() == ({reason: 1} if reason else {})


def test_names_that_are_not_in_the_settings_are_counted_as_other() -> None:
    jobs = JobMetrics(small_site())
    waits = value("queued_workloads", kind="job", queue="climate")
    jobs.pods_changed(Change("listed"))
    before = value("admissions_total", kind="job", queue="other")
    jobs.job_changed(job(plan='{"profile": "of-a-user", "queue": "of-a-user"}'))
    jobs.pods_changed(Change("added", (pod(placed="2026-11-23T12:10:00Z"),)))
    assert value("queued_workloads", kind="job", queue="climate") == waits
    assert value("admissions_total", kind="job", queue="other") == before + 1
    assert REGISTRY.get_sample_value("research_spawner_admissions_total", {"kind": "job", "queue": "of-a-user"}) is None


@pytest.mark.embedded
async def test_jobs_of_a_running_service_are_counted(batch: Any, changed: Any) -> None:
    made = await batch.submit("alices", "true")
    failed = await batch.submit("alices", "false")
    await eventually(lambda: {**changed(), "waited": 0, "ready": 0}.get("succeeded") == 1 == changed().get("failed"))
    found = changed()
    assert (found["admissions"], found["waits"]) == (2, 2)
    assert (await batch.ask("alices", "GET", f"/jobs/{made['id']}"))[1]["state"] == "succeeded"
    assert (await batch.ask("alices", "GET", f"/jobs/{failed['id']}"))[1]["state"] == "failed"
