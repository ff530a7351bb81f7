"""The moments of a job's replacement that no timing reaches reliably: the old and the new job exist at once."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import Any

import pytest
import samples
from prometheus_client import REGISTRY

from jupyter_research_spawner.batch.job_planning import composed, plan_now
from jupyter_research_spawner.batch.job_service import JobService
from jupyter_research_spawner.batch.rights_action import RightsActions
from jupyter_research_spawner.batch.rights_record import ID, RENEWED
from jupyter_research_spawner.batch.unfinished_job import unfinished
from jupyter_research_spawner.jobs import parse_submission
from jupyter_research_spawner.schedulers import NO_OBJECTS
from jupyter_research_spawner.watch import NodeCache, QueuePlaces

SITE = samples.site_with({"scheduler": {"kind": "plain"}})
Json = dict[str, Any]


def stored(name: str, **labels: str) -> Json:
    """Return a waiting job of alice as the API server returns it."""
    submission = parse_submission({"command": ["true"]})
    job = composed(SITE, plan_now(SITE, samples.person("alice"), submission.plan_request("alice")), submission)
    job["metadata"] |= {"name": name, "uid": f"uid-of-{name}", "creationTimestamp": "2026-11-23T12:00:00Z"}
    job["metadata"]["labels"] |= labels
    return dict(json.loads(json.dumps({**job, "status": {}})))


class Store:
    """Both jobs, of which `create` finds that the new one exists already."""

    def __init__(self, *jobs: Json) -> None:
        self.jobs = {job["metadata"]["name"]: job for job in jobs}
        self.deleted: list[str] = []

    async def jobs_with_id(self, owner: object, job_id: str) -> list[Json]:
        return list(self.jobs.values())

    async def find(self, name: str) -> Json | None:
        return copy.deepcopy(self.jobs.get(name))

    async def create(self, manifest: Json) -> Json | None:
        return None if manifest["metadata"]["name"] in self.jobs else manifest

    async def delete(self, job: Json) -> Json | None:
        self.deleted.append(job["metadata"]["name"])
        return None

    async def pods_of_job(self, job: Json) -> list[Json]:
        return []

    async def events(self, **fields: str) -> list[Json]:
        return []


@pytest.fixture
def store() -> Store:
    return Store(stored("old"), stored("new", **{ID: "old"}))


NO_OWNED = SimpleNamespace(of=lambda obj: NO_OBJECTS)
NO_PLACES = QueuePlaces(None, None, "jhub")  # type: ignore[arg-type]
NO_NODES = NodeCache(None, can_grow=True)  # type: ignore[arg-type]


async def test_cancel_deletes_the_old_job_first_so_that_no_other_is_made_from_it(store):
    service = JobService(SITE, None, None, store, NO_OWNED, NO_PLACES, NO_NODES)
    assert (await service.cancel("alice", "old"))["state"] == "cancelling"
    assert store.deleted == ["old", "new"]


def counted() -> float:
    labels = {"kind": "job", "outcome": "waiting-renewed"}
    return REGISTRY.get_sample_value("research_spawner_rights_changed_total", labels) or 0.0


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_replacement_is_counted_only_by_the_instance_that_created_it(store, *, is_first):
    made = copy.deepcopy(store.jobs["new"])
    made["metadata"]["annotations"][RENEWED] = "Group climate is no longer yours."
    if is_first:
        del store.jobs["new"]
    before = counted()
    known = unfinished(store.jobs["old"])
    await RightsActions(SITE, None, None, store, NO_OWNED, 60)._replace(known, store.jobs["old"], made)
    assert (counted() - before, store.deleted) == (is_first, ["old"])
