"""OwnedObjectCache finds a scheduler's objects by their owner and keeps no pod spec."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_research_spawner.schedulers import Kind, Objects
from jupyter_research_spawner.watch import OwnedObjectCache, owned_objects
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
def events(monkeypatch: pytest.MonkeyPatch) -> list[Change]:
    """The changes that the watch delivers, in order."""
    changes: list[Change] = []

    async def follow(server: Any, path: str, query: Any) -> Any:
        assert path == "/apis/kueue.x-k8s.io/v1beta2/namespaces/jhub/workloads"
        for change in changes:
            yield change

    monkeypatch.setattr(owned_objects, "follow", follow)
    return changes


async def reasons(events: list[Change], *changes: Change) -> dict[str, list[str]]:
    """Return the Workload reasons cached for pod-a and for a pod of job-b after `changes`."""
    events[:] = changes
    found = OwnedObjectCache(None, "jhub", [WORKLOAD])  # type: ignore[arg-type]
    await found.run()

    def of(obj: dict[str, Any]) -> list[str]:
        kept = found.of(obj).by_kind.get("Workload", ())
        return [one["status"]["conditions"][0]["reason"] for one in kept]

    return {"pod-a": of(owned("pod-a")), "pod of job-b": of(owned("pod-b-1", "job-b"))}


async def test_objects_of_the_pod_and_of_its_job_are_found(events):
    listed = Change("listed", (workload("w1", "pod-a"), workload("w2", "job-b", "Admitted")))
    assert await reasons(events, listed) == {"pod-a": ["Pending"], "pod of job-b": ["Admitted"]}


async def test_modified_and_deleted_events_update_the_cache(events):
    listed = Change("listed", (workload("w1", "pod-a"), workload("w2", "job-b")))
    changed = Change("modified", (workload("w1", "pod-a", "Inadmissible"),))
    gone = Change("deleted", (workload("w2", "job-b"),))
    assert await reasons(events, listed, changed, gone) == {"pod-a": ["Inadmissible"], "pod of job-b": []}


async def test_objects_missing_from_a_new_list_are_dropped(events):
    listed, later = Change("listed", (workload("w1", "pod-a"),)), Change("listed", (workload("w2", "job-b"),))
    assert await reasons(events, listed, later) == {"pod-a": [], "pod of job-b": ["Pending"]}


async def test_no_pod_spec_is_kept(events):
    events[:] = [Change("listed", (workload("w1", "pod-a"),))]
    found = OwnedObjectCache(None, "jhub", [WORKLOAD])  # type: ignore[arg-type]
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


async def test_lost_objects_stay(events):
    events[:] = [Change("listed", (workload("w1", "pod-a"),)), Change("lost")]
    cache = OwnedObjectCache(None, "jhub", [WORKLOAD])  # type: ignore[arg-type]
    await cache.run()
    assert cache.of(owned("pod-a")).by_kind


async def test_owners_are_told_of_created_changed_deleted_and_vanished_objects(events: list[Change]) -> None:
    def owned_by(name: str, uid: str) -> dict[str, Any]:
        found = workload(uid, f"uid of {name}")
        found["metadata"]["ownerReferences"][0]["name"] = name
        return found

    events[:] = [
        Change("listed", (owned_by("a", "w1"), owned_by("b", "w2"))),
        Change("modified", (owned_by("b", "w2"),)),
        Change("deleted", (owned_by("b", "w2"),)),
        Change("listed"),
    ]
    told: list[tuple[str, str]] = []
    await OwnedObjectCache(None, "jhub", [WORKLOAD], lambda *owner: told.append(owner)).run()  # type: ignore[arg-type]
    assert told == [("jhub", name) for name in ("a", "b", "b", "b", "a")]
