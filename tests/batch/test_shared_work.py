"""Course staff see the jobs of their class, owners of a queue see those in it, and nobody else sees another's job.

In the sample site alice is on the staff of the class stats-101, of which bob is a student and carol is not.
"""

from __future__ import annotations

import copy
from typing import Any

import aiohttp
import pytest
from conftest import PREFIX, Client, connected, small_site, told
from embedded_cluster import NAMESPACE
from patience import eventually
from test_pages import Browser, events

from jupyter_research_spawner.batch.app import running
from jupyter_research_spawner.batch.job_store import Owner
from jupyter_research_spawner.batch.work_scopes import ScopeSelection, WorkScope, shared_scopes
from jupyter_research_spawner.embedded.apimachinery.api_resources import JOB
from jupyter_research_spawner.identity.resolver import Resolver
from jupyter_research_spawner.pod.overlay import GROUPS
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.site import Site

pytestmark = pytest.mark.embedded

OWNED = {"queues": {"backfill": {"owners": {"students": True, "climate": False}}}}
CLASS, QUEUE = "/?of=class:stats-101", "/?of=queue:backfill"
SECRET = "the-secret-of-bob"


@pytest.fixture
def batch_site() -> Site:
    return small_site(OWNED)


async def ended(batch: Client, who: str, *command: str, **wishes: Any) -> str:
    """Submit a job, wait until it has ended, and return its id."""
    job = await batch.submit(who, *command, **wishes)

    async def is_over() -> bool:
        return (await batch.ask(who, "GET", f"/jobs/{job['id']}"))[1]["state"] in ("succeeded", "failed")

    await eventually(is_over)
    return str(job["id"])


@pytest.mark.parametrize(
    ("groups", "keys"),
    [
        ((), []),
        (("climate",), []),
        (("students",), ["queue:backfill"]),
        (("stats101-staff", "students"), ["class:stats-101", "queue:backfill"]),
        (("stats101-f26",), []),
    ],
)
def test_groups_give_scopes(batch_site: Site, groups: tuple[str, ...], keys: list[str]) -> None:
    assert [scope.key for scope in shared_scopes(batch_site, groups)] == keys


async def test_staff_see_the_jobs_of_the_class_and_no_other_jobs_of_its_students(batch):
    of_class = await batch.submit("bobs", "true", queue="teaching", profile="small")
    await batch.submit("bobs", "true", queue="backfill")
    own = await batch.submit("alices", "true")
    alice = Browser(batch, "alices")
    page = await alice.get(CLASS)
    assert (page.status, page.names) == (200, [f"job:{of_class['id']}"])
    assert "<h1>Class stats-101</h1>" in page.text and '<td role="cell" class="user">bob</td>' in page.text
    mine = await alice.get("/")
    assert mine.names == [f"job:{own['id']}"]
    assert f'href="{PREFIX}?of=class%3Astats-101"' in mine.text and "queue%3Abackfill" not in mine.text
    assert (await alice.get(f"/jobs/{of_class['id']}/page")).status == 404
    assert (await alice.get(f"/jobs/{of_class['id']}/page?of=class:stats-101")).status == 200
    assert (await alice.get(f"/jobs/{own['id']}/page?of=class:stats-101")).status == 404


async def test_owners_of_a_queue_see_the_jobs_in_it(batch):
    in_queue = await batch.submit("bobs", "true", queue="backfill")
    elsewhere = await batch.submit("alices", "true", queue="climate")
    carol = Browser(batch, "carols")
    page = await carol.get(QUEUE)
    assert (page.status, page.names) == (200, [f"job:{in_queue['id']}"])
    assert (await carol.get(f"/jobs/{in_queue['id']}/page?of=queue:backfill")).status == 200
    assert (await carol.get(f"/jobs/{elsewhere['id']}/page?of=queue:backfill")).status == 404


async def test_nobody_else_sees_them(batch):
    job = await batch.submit("bobs", "true", queue="backfill")
    in_class = await batch.submit("bobs", "true", queue="teaching", profile="small")
    alice, bob, carol = (Browser(batch, token) for token in ("alices", "bobs", "carols"))
    for browser, scope, found in (
        (alice, "queue:backfill", job),
        (bob, "class:stats-101", in_class),
        (carol, "class:stats-101", in_class),
        (carol, "queue:climate", job),
        (carol, "own:bob", job),
        (carol, "bob", job),
    ):
        for path in (f"/?of={scope}", f"/jobs/{found['id']}/page?of={scope}"):
            refused = await browser.get(path)
            assert (refused.status, found["id"] in refused.text) == (404, False), (scope, path)
        for path in (f"/events?of={scope}", f"/jobs/{found['id']}/events?of={scope}"):
            async with batch.session.get(
                f"{batch.url}{path}", headers={"Authorization": f"token {browser.token}"}
            ) as response:
                assert response.status == 404


async def test_output_command_and_messages_of_others_are_not_shown(batch):
    script = f"echo {SECRET}; exit 3"
    job_id = await ended(batch, "bobs", "sh", "-c", script, queue="backfill", env={"TOKEN": SECRET})
    array = await ended(batch, "bobs", "sh", "-c", script, queue="backfill", kind="array", array="0-1")
    own = await Browser(batch, "bobs").get(f"/jobs/{job_id}/page")
    assert own.text.count(SECRET) >= 3  # or the following says nothing
    carol = Browser(batch, "carols")
    for path in (
        QUEUE,
        f"/jobs/{job_id}/page?of=queue:backfill",
        f"/jobs/{array}/page?of=queue:backfill",
        f"/jobs/{array}/page?of=queue:backfill&index=1",
    ):
        page = await carol.get(path)
        assert (page.status, SECRET in page.text) == (200, False), path
    page = await carol.get(f"/jobs/{job_id}/page?of=queue:backfill")
    assert "<dt>Directory</dt>" in own.text and "<dt>Image</dt>" in own.text
    assert "<dt>Directory</dt>" not in page.text and "<dt>Image</dt>" not in page.text
    assert "NonZeroExitCode" in page.text and "Its output is shown to its user only." in page.text
    assert "<form" not in page.text and "Manifest" not in page.text and "Runs as" not in page.text
    async with batch.session.get(
        f"{batch.url}/jobs/{job_id}/events?of=queue:backfill", headers={"Authorization": "token carols"}
    ) as response:
        parts = await anext(events(response))
    assert SECRET not in str(parts) and "<form" not in str(parts)
    for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/logs", f"/jobs/{job_id}/logs?of=queue:backfill"):
        assert (await carol.get(path)).status == 404
    # A valid token of carol's own pages changes nothing.
    own_job = await batch.submit("carols", "sleep", "60", profile="small", queue="backfill")
    assert (await carol.press(f"/jobs/{own_job['id']}/page", "cancel")).status == 303
    token = carol.cookies["_xsrf"]
    for action in ("again", "cancel", "remove"):
        refused = await carol.ask("POST", f"/jobs/{job_id}/page/{action}?of=queue:backfill", data={"_xsrf": token})
        assert refused.status == 404


async def test_output_of_others_is_shown_where_the_site_allows_it(cluster, hub):
    client = await connected(cluster.kubeconfig)
    site = small_site(OWNED, {"batch": {"show_output_of_others": True}})
    try:
        async with running(told(hub.api_url), site, client) as port, aiohttp.ClientSession() as session:
            batch = Client(session, f"http://127.0.0.1:{port}{PREFIX.rstrip('/')}")
            job_id = await ended(batch, "bobs", "sh", "-c", f"echo {SECRET}", queue="backfill")
            page = await Browser(batch, "carols").get(f"/jobs/{job_id}/page?of=queue:backfill")
            assert page.text.count(SECRET) == 1  # not in the command
            assert "<form" not in page.text
    finally:
        await client.close()


async def test_a_page_of_a_queue_is_told_of_new_jobs(batch):
    async with batch.session.get(
        f"{batch.url}/events?of=queue:backfill", headers={"Authorization": "token carols"}
    ) as response:
        stream = events(response)
        assert "There are no jobs." in (await anext(stream))["rows"]
        job = await batch.submit("bobs", "true", queue="backfill")
        assert f'data-key="job:{job["id"]}"' in (await anext(stream))["rows"]


async def test_without_an_identity_nothing_of_others_is_shown_and_ones_own_jobs_are(batch, monkeypatch):
    own = await batch.submit("alices", "true")

    async def down(*_: Any) -> None:
        raise Refusal("source-down", "The directory does not answer.", status=503)

    monkeypatch.setattr(Resolver, "resolve", down)
    alice = Browser(batch, "alices")
    assert (await alice.get("/")).names == [f"job:{own['id']}"]
    assert (await alice.get(CLASS)).status == 404


async def test_jobs_of_others_in_the_queue_and_profile_of_a_class_are_not_of_the_class(batch, cluster, batch_site):
    job = await batch.submit("bobs", "true", queue="teaching", profile="small")
    stored = cluster.store.get(JOB, NAMESPACE, job["id"])
    selection = ScopeSelection(batch_site, WorkScope("class", "stats-101"), Owner("alice", "alice"))
    assert selection.owns(stored)
    for groups in ("students:20600", "", "not valid"):
        other = copy.deepcopy(stored)
        other["spec"]["template"]["metadata"]["annotations"][GROUPS] = groups
        assert not selection.owns(other)
    del other["spec"]["template"]["metadata"]["annotations"][GROUPS]
    assert not selection.owns(other)
