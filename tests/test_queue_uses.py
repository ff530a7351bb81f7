"""How much of a queue's quotas is used, from the objects of each scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from patience import eventually
from samples import placement, site_with
from test_free_capacity import Watches, send_queues
from test_queue_rooms import Edit, in_queue, objects_of, without

from jupyter_research_spawner.batch.work_view import queue_usage
from jupyter_research_spawner.schedulers import SCHEDULERS, QueueUse, QuotaUse
from jupyter_research_spawner.watch import QueueQuotas, queue_objects, queue_quotas

GIB = 2**30


def use(kind: str, *edits: Edit, queue: str = "climate") -> QueueUse | None:
    return SCHEDULERS[kind].queue_uses(objects_of(kind, *edits))(placement(kind, options={}, queue=queue))


def shown(kind: str, *edits: Edit) -> list[tuple[Any, ...]] | None:
    """Return the bars of the queue climate: their titles and numbers."""
    found = use(kind, *edits)
    if found is None:
        return None
    bars = queue_usage("climate", "Climate", found).usage
    return [(bar.title, bar.used_text, bar.limit_text, bar.above_text) for bar in bars]


def test_kueue_has_used_and_quota_of_each_flavor_that_the_queue_has() -> None:
    """The quota of GPUs in the flavor cpu-nodes is 0."""
    assert shown("kueue") == [
        ("CPUs (cpu-nodes)", "12", "16", ""),
        ("Memory (cpu-nodes)", "48 GiB", "64 GiB", ""),
        ("CPUs (a100)", "16", "64", ""),
        ("Memory (a100)", "120 GiB", "480 GiB", ""),
        ("NVIDIA GPUs", "3", "4", ""),
    ]
    found = use("kueue")
    assert found is not None and found.waiting == 3


def test_kueue_borrows_above_the_quota() -> None:
    reserved = [{"name": "cpu-nodes", "resources": [{"name": "cpu", "total": "20500m"}]}]
    found = shown("kueue", in_queue("research", "status", "ClusterQueue", flavorsReservation=reserved))
    assert found is not None
    assert found[:2] == [
        ("CPUs (cpu-nodes)", "20.5", "16", "4.5"),
        ("Memory (cpu-nodes)", "0", "64 GiB", ""),
    ]


def test_volcano_has_allocated_and_capability() -> None:
    assert shown("volcano") == [
        ("CPUs", "8", "16", ""),
        ("Memory", "32 GiB", "64 GiB", ""),
        ("NVIDIA GPUs", "3", "4", ""),
    ]
    assert use("volcano", in_queue("climate", "spec", capability={})) == QueueUse(())


def test_kai_has_allocated_and_quota_or_limit() -> None:
    """It writes CPUs in thousandths and memory in millions of bytes."""
    assert shown("kai") == [("CPUs", "8", "16", ""), ("Memory", "32 GiB", "59.6 GiB", ""), ("GPUs", "2.5", "4", "")]
    limited = {"cpu": {"quota": -1, "limit": 32000}, "memory": {"quota": -1, "limit": -1}, "gpu": {"quota": 0}}
    assert use("kai", in_queue("climate", "spec", resources=limited)) == QueueUse(
        (QuotaUse("cpu", Decimal(8), Decimal(32)), QuotaUse("gpu", Decimal("2.5"), Decimal(0)))
    )


def test_kai_has_nothing_allocated_where_it_leaves_the_field_out() -> None:
    unused = [("CPUs", "0", "16", ""), ("Memory", "0", "59.6 GiB", ""), ("GPUs", "0", "4", "")]
    assert shown("kai", lambda objects: objects["Queue"]["climate"]["status"].pop("allocated")) == unused
    assert shown("kai", lambda objects: objects["Queue"]["climate"].pop("status")) == unused


@pytest.mark.parametrize(
    ("kind", "edit"),
    [
        ("kueue", without("LocalQueue")),
        ("kueue", without("ClusterQueue")),
        ("kueue", lambda objects: objects["LocalQueue"].clear()),
        ("kueue", lambda objects: objects["ClusterQueue"]["research"].pop("status")),
        ("volcano", without("Queue")),
        ("volcano", lambda objects: objects["Queue"]["climate"]["status"].pop("allocated")),
        ("kai", without("Queue")),
    ],
)
def test_nothing_is_said_that_the_objects_do_not_say(kind: str, edit: Edit) -> None:
    assert shown(kind)
    assert shown(kind, edit) is None


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watches]:
    found = Watches()
    monkeypatch.setattr(queue_objects, "follow", found.follow)
    monkeypatch.setattr(queue_quotas, "FIRST_ANSWER_SECONDS", 0.05)
    yield found


def quotas(*more: Any) -> QueueQuotas:
    return QueueQuotas(None, site_with(*more))  # type: ignore[arg-type]


async def test_a_page_reads_what_the_watches_have_brought(watches: Watches) -> None:
    found = quotas()
    try:
        assert (await found.report(["climate"])).queues == {}
        before = datetime.now(timezone.utc)
        send_queues(watches)
        await eventually(lambda: found._paths.answered == 4)
        report = await found.report(["teaching", "climate", "no-such-queue"])
        assert list(report.queues) == ["climate"], "teaching has no LocalQueue"
        assert report.as_of is not None and before <= report.as_of <= datetime.now(timezone.utc)
        assert len(watches.asked) == 4, "no request of a page"
        watches.send("clusterqueues", "lost")
        await eventually(lambda: found._paths.lost)
        assert (await found.report(["climate"])).queues == {}
    finally:
        found.close()


async def test_a_first_page_waits_until_the_objects_are_there(
    watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_quotas, "FIRST_ANSWER_SECONDS", 60)
    found = quotas()
    try:
        send_queues(watches)
        assert list((await found.report(["climate"])).queues) == ["climate"]
    finally:
        found.close()


async def test_without_rights_only_the_first_page_waits(watches: Watches, monkeypatch: pytest.MonkeyPatch) -> None:
    found = quotas()
    try:
        await found.report(["climate"])
        monkeypatch.setattr(queue_quotas, "FIRST_ANSWER_SECONDS", 600)
        assert (await asyncio.wait_for(found.report(["climate"]), 60)).queues == {}
    finally:
        found.close()


@pytest.mark.parametrize(
    ("more", "queues"),
    [({"availability": "none"}, ["climate"]), ({"scheduler": {"kind": "plain"}}, ["climate"]), ({}, [])],
)
async def test_nothing_is_watched_that_no_page_shows(watches: Watches, more: Any, queues: list[str]) -> None:
    found = quotas(more)
    assert (await found.report(queues)).queues == {}
    assert found._watching is None


async def test_objects_of_another_form_are_logged_once(watches: Watches, caplog: pytest.LogCaptureFixture) -> None:
    found = quotas()
    try:
        await found.report(["climate"])
        send_queues(watches)
        broken = {
            "metadata": {"name": "research"},
            "spec": {"resourceGroups": [{"flavors": [{"resources": [{}]}]}]},
            "status": {},
        }
        watches.send("clusterqueues", "modified", broken)
        await eventually(lambda: "[{}]" in str(found._objects.objects()))
        for _ in range(2):
            assert (await found.report(["climate"])).queues == {}
        assert [record.message for record in caplog.records] == [
            "The use of quotas cannot be computed, so My work does not show it"
        ]
    finally:
        found.close()


async def test_without_readers_the_watches_end_and_a_reader_starts_them_again(
    watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_quotas, "IDLE_SECONDS", 0.02)
    found = quotas()
    await found.report(["climate"])
    first = found._watching
    assert first is not None
    await eventually(first.done)
    monkeypatch.setattr(queue_quotas, "IDLE_SECONDS", 600)
    monkeypatch.setattr(queue_quotas, "FIRST_ANSWER_SECONDS", 60)
    send_queues(watches)
    assert list((await found.report(["climate"])).queues) == ["climate"]
    found.close()
