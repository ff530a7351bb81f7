"""The bars of "My work" with the quotas of queues, from the watches of the scheduler's objects."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from typing import Any

import pytest
from conftest import small_site
from test_free_capacity import Watches
from test_pages import Browser, events, until

from jupyter_research_spawner.schedulers import FindUse, Objects, QueueKind, QueueUse, QuotaUse, plain
from jupyter_research_spawner.watch import queue_objects

pytestmark = pytest.mark.embedded


def uses(objects: Objects) -> FindUse:
    """The embedded cluster has kube-scheduler only, so these queues are those of a scheduler that does not exist."""
    queues = {found["metadata"]["name"]: found for found in objects.by_kind.get("Queue", ())}

    def use(placement: Any) -> QueueUse | None:
        found = queues.get(placement.queue)
        if found is None:
            return None
        return QueueUse(
            (QuotaUse("cpu", Decimal(found["status"]["used"]), Decimal(found["spec"]["quota"])),), waiting=3
        )

    return use


def queue(name: str, used: int) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"quota": 16}, "status": {"used": used}}


@pytest.fixture
def has_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "queue_kinds", (QueueKind("example.com/v1", "Queue"),))
    monkeypatch.setattr(plain, "queue_uses", uses)


@pytest.fixture
def watches(has_queues: None, monkeypatch: pytest.MonkeyPatch) -> Watches:
    found = Watches()
    monkeypatch.setattr(queue_objects, "follow", found.follow)
    return found


@pytest.fixture
def batch_site(has_queues: None):
    return small_site({"queues": {"climate": {"title": "Climate <group>"}}})


@pytest.fixture
def alice(batch):
    return Browser(batch, "alices")


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


async def test_the_queues_of_work_that_has_not_ended_have_bars(watches, batch, alice):
    page = await alice.get("/")
    assert "quotas of these queues" not in page.text
    assert watches.asked == []
    await batch.submit("alices", "sleep", "600", queue="climate")
    ended = await batch.submit("alices", "true", queue="backfill")
    await until(batch, ended["id"], "succeeded")
    watches.send("queues", "listed", queue("climate", 12), queue("backfill", 5), queue("teaching", 7))
    page = await alice.get("/")
    assert "Climate &lt;group&gt; climate 3 waiting CPUs 12 of 16" in words(page.text)
    assert '<meter min="0" max="16.0" high="14.4" optimum="0" value="12.0"' in page.text
    assert re.search(r"the work of all users uses, read at \d+ \w+ \d\d:\d\d\.", page.text)
    assert "5 of 16" not in page.text
    assert "5 of 16" in (await alice.get("/?queue=backfill")).text
    assert "7 of 16" not in (await alice.get("/?queue=teaching")).text
    assert "12 of 16" in (await alice.get("/?queue=climate&state=failed")).text
    assert "12 of 16" not in (await Browser(batch, "bobs").get("/")).text


async def test_an_open_page_follows_them(watches, batch):
    await batch.submit("alices", "sleep", "600", queue="climate")
    watches.send("queues", "listed", queue("climate", 12))
    async with batch.session.get(f"{batch.url}/events", headers={"Authorization": "token alices"}) as response:
        stream = events(response)
        for change, expected in (
            (None, "CPUs 12 of 16 12 of 16"),
            (("modified", queue("climate", 20)), "20 of 16 20 of 16 4 above its quota"),
            (("lost",), ""),
        ):
            if change is not None:
                watches.send("queues", *change)
            while True:
                parts = await asyncio.wait_for(anext(stream), 30)
                if expected in words(parts["queues"]) and bool(parts["queues"].strip()) is bool(expected):
                    break


async def test_without_the_right_the_page_has_no_bars_and_the_log_names_it_once(has_queues, batch, alice, caplog):
    await batch.submit("alices", "sleep", "600", queue="climate")
    for _ in range(3):
        page = await alice.get("/")
        assert page.status == 200
        assert "quotas of these queues" not in page.text
    failed = [record.message for record in caplog.records if "/apis/example.com/v1/queues failed" in record.message]
    assert len(failed) == 1
