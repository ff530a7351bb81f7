"""How "My work" reads jobs: in pages, once, and afterwards only what has changed."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from conftest import PREFIX, Client, connected, small_site, told
from embedded_cluster import NAMESPACE
from patience import eventually
from test_pages import Browser

from jupyter_research_spawner.batch import job_store, work_reader
from jupyter_research_spawner.batch.app import running
from jupyter_research_spawner.embedded import Cluster
from jupyter_research_spawner.embedded.apimachinery.api_resources import JOB
from jupyter_research_spawner.pod.overlay import USER_NAME

pytestmark = pytest.mark.embedded


def add_ended(cluster: Cluster, like: dict[str, Any], numbers: range, **annotations: str) -> None:
    """Store copies of an ended job, as if they had been submitted one second after the other."""
    for number in numbers:
        job = copy.deepcopy(like)
        name = f"old-{number:05}"
        job["metadata"] = {
            "name": name,
            "namespace": NAMESPACE,
            "labels": like["metadata"]["labels"],
            "annotations": {**like["metadata"]["annotations"], **annotations},
        }
        for key in ("selector", "manualSelector"):
            job["spec"].pop(key, None)
        labels = job["spec"]["template"]["metadata"]["labels"]
        for key in [key for key in labels if key.endswith(("controller-uid", "job-name"))]:
            del labels[key]
        made = cluster.store.create(JOB, NAMESPACE, job)

        def end(stored: dict[str, Any], state: str = "Failed" if number % 10 == 0 else "Complete") -> None:
            at = stored["metadata"]["creationTimestamp"]
            stored["status"] = {
                "conditions": [{"type": state, "status": "True", "lastTransitionTime": at, "message": "It ended."}]
            }

        cluster.store.modify(JOB, made, end)


@pytest_asyncio.fixture
async def ended(batch: Client, cluster: Cluster) -> dict[str, Any]:
    """A stored job of alice that has ended."""
    job = await batch.submit("alices", "true")

    async def done() -> bool:
        return (await batch.ask("alices", "GET", f"/jobs/{job['id']}"))[1]["state"] == "succeeded"

    await eventually(done)
    return dict(next(iter(cluster.store.list(JOB))))


async def test_five_thousand_jobs_are_read_in_pages_and_then_only_what_changes(cluster, hub):
    client = await connected(cluster.kubeconfig)
    options, site = told(hub.api_url), small_site({"batch": {"keep_jobs": 10_000, "max_size": "1Gi"}})

    @asynccontextmanager
    async def service() -> AsyncIterator[Client]:
        async with running(options, site, client) as port, aiohttp.ClientSession() as session:
            yield Client(session, f"http://127.0.0.1:{port}{PREFIX.rstrip('/')}")

    try:
        async with service() as batch:
            last = await batch.submit("alices", "true")

            async def done() -> bool:
                return (await batch.ask("alices", "GET", f"/jobs/{last['id']}"))[1]["state"] == "succeeded"

            await eventually(done)
        ended = dict(next(iter(cluster.store.list(JOB))))
        add_ended(cluster, ended, range(4999))
        add_ended(cluster, ended, range(5000, 5010), **{USER_NAME: "bob"})
        async with service() as batch:
            await eventually(lambda: cluster.api.calls["watch", "jobs"] >= 2)
            await shows_five_thousand_jobs(cluster, batch, last["id"])
    finally:
        await client.close()


async def shows_five_thousand_jobs(cluster: Cluster, batch: Client, last: str) -> None:
    """The jobs are the ended job `last` of alice and 4,999 copies of it, and some of bob."""
    alice = Browser(batch, "alices")
    cluster.api.calls.clear()
    page = await alice.get("/?sort=name&page=100")
    assert "4,951 to 5,000 of 5,000" in page.text
    assert (page.names[0], page.names[-1]) == ("job:old-04950", f"job:{last}")
    assert len(page.text) < 100_000
    assert cluster.api.calls["list", "jobs"] == -(-5010 // job_store.PAGE)

    cluster.api.calls.clear()
    failed = await alice.get("/?state=failed&page=3")
    assert "101 to 150 of 500 (5,000 in all)" in failed.text
    newest = await batch.submit("alices", "true")
    from_submission = cluster.api.calls["list", "jobs"]

    async def is_shown() -> bool:
        return f"job:{newest['id']}" in (await alice.get("/")).names

    await eventually(is_shown)
    assert cluster.api.calls["list", "jobs"] == from_submission


async def test_a_job_that_is_removed_or_belongs_to_another_is_not_shown(batch, cluster, ended):
    add_ended(cluster, ended, range(3))
    alice = Browser(batch, "alices")
    assert len((await alice.get("/")).names) == 4
    job = cluster.store.get(JOB, NAMESPACE, "old-00001")
    cluster.store.modify(JOB, job, lambda stored: stored["metadata"]["annotations"].update({USER_NAME: "bob"}))
    cluster.store.delete(JOB, cluster.store.get(JOB, NAMESPACE, "old-00002"))

    async def shown() -> bool:
        return "job:old-00002" not in (await alice.get("/")).names

    await eventually(shown)
    assert "job:old-00000" in (await alice.get("/")).names


async def test_what_cannot_be_read_is_read_the_next_time(batch, cluster, ended, monkeypatch):
    alice = Browser(batch, "alices")
    await alice.get("/")
    page_of = job_store.JobStore.find

    async def fails(*_: Any) -> None:
        raise job_store.not_found("x")

    monkeypatch.setattr(job_store.JobStore, "find", fails)
    add_ended(cluster, ended, range(1))

    async def has_failed() -> bool:
        return (await alice.get("/")).status == 404

    await eventually(has_failed)
    monkeypatch.setattr(job_store.JobStore, "find", page_of)
    assert "job:old-00000" in (await alice.get("/")).names


async def test_rows_in_memory_are_limited(batch, cluster, ended, monkeypatch):
    add_ended(cluster, ended, range(30))
    add_ended(cluster, ended, range(30, 60), **{USER_NAME: "bob"})
    monkeypatch.setattr(work_reader, "ROWS_KEPT", 40)
    kept: list[int] = []
    forget = work_reader.WorkReader._forget

    def counted(reader: work_reader.WorkReader) -> None:
        forget(reader)
        kept.append(sum(len(known.entries) for known in reader._known.values()))

    monkeypatch.setattr(work_reader.WorkReader, "_forget", counted)
    for token in ("alices", "bobs", "alices"):
        assert (await Browser(batch, token).get("/")).status == 200
    assert max(kept) <= 40
    assert "There are too many jobs" not in (await Browser(batch, "alices").get("/")).text
    monkeypatch.setattr(work_reader, "KEEP_SECONDS", -1.0)
    await Browser(batch, "bobs").get("/")
    assert kept[-1] == 0
    monkeypatch.setattr(work_reader, "ROWS_OF_SCOPE", 20)
    page = await Browser(batch, "alices").get("/")
    assert "There are too many jobs to show all of them." in page.text
    assert len(page.names) == 20
