"""The batch service and administrators' acceptance of uids: two processes with one ConfigMap, and failures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Client, connected, small_site
from embedded_cluster import NAMESPACE
from patience import eventually
from test_restart import service

from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.site import Site
from jupyter_research_spawner.watch import AcceptedUids, accepted_uids
from jupyter_research_spawner.watch.api_server import ApiError, ApiServer

pytestmark = pytest.mark.embedded
DAY = timedelta(days=1)


@pytest.fixture
def batch_site(tmp_path: Path) -> Site:
    write(tmp_path, 20001)
    files = {name: str(tmp_path / name) for name in ("passwd", "group")}
    people = {"kind": "static", **files}
    return small_site({"identity": {"sources": {"people": people}, "cache": {"found": "1s", "reload": "1s"}}})


def write(at: Path, uid: int, climate: str = "") -> None:
    passwd = f"alice:x:{uid}:20600::/home/alice:/bin/sh\n"
    for file, text in (("passwd", passwd), ("group", f"students:x:20600:\nclimate:x:20500:{climate}\n")):
        (at / "new").write_text(text)
        (at / "new").replace(at / file)


async def submitted(batch: Client, **wishes: Any) -> tuple[int, str]:
    body = {"command": ["true"], "profile": "small", "queue": "backfill", **wishes}
    status, answer = await batch.ask("alices", "POST", "/jobs", body)
    return status, answer["error"]["code"] if "error" in answer else ""


async def test_two_processes_agree_after_an_acceptance(cluster, hub, batch_site, tmp_path):
    """As in a rolling update, or the hub and the service."""
    async with service(cluster, hub, batch_site) as one, service(cluster, hub, batch_site) as other:
        cluster.api.calls.clear()
        assert [await submitted(one), await submitted(other)] == [(201, ""), (201, "")]
        assert not cluster.api.calls["get", "configmaps"]
        write(tmp_path, 20009)
        await asyncio.sleep(1.1)
        assert [await submitted(one), await submitted(other)] == [(403, "uid-changed")] * 2
        client = await connected(cluster.kubeconfig)
        try:
            await AcceptedUids(ApiServer(client), NAMESPACE, DAY).add("alice", "alice", 20009)
        finally:
            await client.close()

        async def both() -> bool:
            return [await submitted(one), await submitted(other)] == [(201, "")] * 2

        await eventually(both, every=0.5)


async def test_refused_submission_asks_the_directory_again(cluster, hub, batch_site, tmp_path):
    site = batch_site.model_copy(
        update={
            "identity": batch_site.identity.model_copy(
                update={"cache": batch_site.identity.cache.model_copy(update={"found": timedelta(hours=1)})}
            )
        }
    )
    async with service(cluster, hub, site) as batch:
        assert await submitted(batch, queue="climate") == (403, "queue-not-yours")
        write(tmp_path, 20001, climate="alice")
        await asyncio.sleep(1.1)
        assert await submitted(batch, queue="climate") == (201, "")


class Answers:
    """An API server that gives this answer, or raises it, and counts the requests."""

    def __init__(self, answer: Mapping[str, Any] | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, Any]] = []

    async def ask(self, method: str, path: str, *, body: Any = None, **_: Any) -> Mapping[str, Any]:
        self.asked.append((method, path, body))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        ApiError(404, "not found"),
        ApiError(403, "forbidden"),
        Refusal("cluster-down", "The cluster does not answer.", status=503),
        {},
        {"data": None},
        {"data": {"alice": "20009"}},
        {"data": {"bob": '{"hub_user": "alice", "uid": 20009, "at": "2999-01-01T00:00:00+00:00"}'}},
    ],
)
async def test_nothing_is_accepted_if_it_cannot_be_read_and_it_is_read_once_in_a_while(answer, monkeypatch):
    server: Any = Answers(answer)
    accepted = AcceptedUids(server, NAMESPACE, DAY)
    found = await asyncio.gather(*(accepted.of(name) for name in ("alice", "bob") * 20))
    assert (set(found), len(server.asked)) == ({None}, 1)
    monkeypatch.setattr(accepted_uids, "CACHE_SECONDS", 0.0)
    await accepted.of("alice")
    assert len(server.asked) == 2


async def test_entries_that_are_no_longer_valid_are_removed_with_the_next_one():
    new = '{"hub_user": "bob", "uid": 20002, "at": "2999-01-01T00:00:00+00:00"}'
    server: Any = Answers({"data": {"old": "x", "future": new}})
    await AcceptedUids(server, NAMESPACE, DAY).add("alice", "alice@example.edu", 20009)
    method, path, body = server.asked[-1]
    assert (method, path) == ("PATCH", f"/api/v1/namespaces/{NAMESPACE}/configmaps/research-accepted-uids")
    entry = body["data"].pop("alice")
    assert body == {"data": {"old": None, "future": None}}
    assert entry.startswith('{"hub_user": "alice@example.edu", "uid": 20009, "at": "2')
