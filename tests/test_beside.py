"""What a scheduler keeps about pods and jobs is found by whom it belongs to, and without what pods contain."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_research_spawner.schedulers import Kind, Objects
from jupyter_research_spawner.watch import Beside, beside
from jupyter_research_spawner.watch.follow import Change

WORKLOAD = Kind("kueue.x-k8s.io/v1beta2", "Workload")


def workload(uid: str, owner: str, reason: str = "Pending") -> dict[str, Any]:
    return {
        "metadata": {"name": uid, "uid": uid, "ownerReferences": [{"uid": owner}], "managedFields": ["long"]},
        "spec": {"active": True, "podSets": [{"template": {"spec": {"containers": [{"env": "a token"}]}}}]},
        "status": {"conditions": [{"type": "QuotaReserved", "reason": reason}]},
    }


def owned(uid: str, *owners: str) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "ownerReferences": [{"uid": owner} for owner in owners]}}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Change]:
    """What the cluster tells, one after the other."""
    changes: list[Change] = []

    async def follow(server: Any, path: str, query: Any) -> Any:
        assert path == "/apis/kueue.x-k8s.io/v1beta2/namespaces/jhub/workloads"
        for change in changes:
            yield change

    monkeypatch.setattr(beside, "follow", follow)
    return changes


async def reasons(told: list[Change], *changes: Change) -> dict[str, list[str]]:
    """Of pod-a, and of a pod of job-b, after these changes."""
    told[:] = changes
    found = Beside(None, "jhub", [WORKLOAD])  # type: ignore[arg-type]
    await found.run()

    def of(obj: dict[str, Any]) -> list[str]:
        kept = found.of(obj).by_kind.get("Workload", ())
        return [one["status"]["conditions"][0]["reason"] for one in kept]

    return {"pod-a": of(owned("pod-a")), "pod of job-b": of(owned("pod-b-1", "job-b"))}


async def test_it_belongs_to_the_pod_or_to_the_pods_job(told):
    listed = Change("listed", (workload("w1", "pod-a"), workload("w2", "job-b", "Admitted")))
    assert await reasons(told, listed) == {"pod-a": ["Pending"], "pod of job-b": ["Admitted"]}


async def test_it_is_as_it_was_last_told(told):
    listed = Change("listed", (workload("w1", "pod-a"), workload("w2", "job-b")))
    changed = Change("modified", (workload("w1", "pod-a", "Inadmissible"),))
    gone = Change("deleted", (workload("w2", "job-b"),))
    assert await reasons(told, listed, changed, gone) == {"pod-a": ["Inadmissible"], "pod of job-b": []}


async def test_what_went_while_nobody_watched_is_gone(told):
    listed, later = Change("listed", (workload("w1", "pod-a"),)), Change("listed", (workload("w2", "job-b"),))
    assert await reasons(told, listed, later) == {"pod-a": [], "pod of job-b": ["Pending"]}


async def test_nothing_of_a_pods_environment_is_kept(told):
    told[:] = [Change("listed", (workload("w1", "pod-a"),))]
    found = Beside(None, "jhub", [WORKLOAD])  # type: ignore[arg-type]
    await found.run()
    assert found.of(owned("pod-a")) == Objects(
        {
            "Workload": [
                {
                    "metadata": {"name": "w1", "uid": "w1", "ownerReferences": [{"uid": "pod-a"}]},
                    "spec": {"active": True},
                    "status": {"conditions": [{"type": "QuotaReserved", "reason": "Pending"}]},
                }
            ]
        }
    )
