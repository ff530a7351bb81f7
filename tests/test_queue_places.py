"""Kueue's visibility API is asked once in five seconds for each LocalQueue, and only when somebody asks."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.schedulers import SCHEDULERS, Objects, Place
from jupyter_research_spawner.shape import Json
from jupyter_research_spawner.watch import QueuePlaces, queue_places
from jupyter_research_spawner.watch.api_server import ApiError

KUEUE = SCHEDULERS["kueue"]
PATH = "/apis/visibility.kueue.x-k8s.io/v1beta2/namespaces/jhub/localqueues/{}/pendingworkloads"


def workload(name: str, queue: str = "climate", reserved: str = "False") -> Objects:
    waits = {"type": "QuotaReserved", "status": reserved, "reason": "Pending", "message": "something new"}
    found: Json = {
        "metadata": {"name": name},
        "spec": {"active": True, "queueName": queue},
        "status": {"conditions": [waits]},
    }
    return Objects({"Workload": [found]})


def item(name: str, local: Any, cluster: Any) -> Json:
    return {"metadata": {"name": name}, "positionInLocalQueue": local, "positionInClusterQueue": cluster}


class Server:
    """The API server: `answers` are by path, an exception is raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {PATH.format(queue): answer for queue, answer in answers.items()}
        self.asked: list[str] = []

    async def ask(self, method: str, path: str) -> Json:
        self.asked.append(path)
        await asyncio.sleep(0)
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        return {"items": answer}


def places(server: Server) -> QueuePlaces:
    return QueuePlaces(server, KUEUE.ORDER, "jhub")  # type: ignore[arg-type]


async def place_of(found: QueuePlaces, objects: Objects) -> Place | None:
    (added,) = await found.added([objects])
    return KUEUE.status({}, added, ()).place


async def test_a_workload_has_its_place_in_its_queue_and_among_all_of_the_quota() -> None:
    server = Server(climate=[item("first", 0, 0), item("mine", 1, 6)])
    assert await place_of(places(server), workload("mine")) == Place(2, 2, 7)
    assert await place_of(places(server), workload("unlisted")) is None
    server = Server(climate=[item("mine", "1", None)])
    assert await place_of(places(server), workload("mine")) is None, "an API of another form"


async def test_the_jobs_of_a_list_cost_one_request_for_each_queue() -> None:
    server = Server(climate=[item(f"w{number}", number, number) for number in range(50)], teaching=[])
    asked = [workload(f"w{number}") for number in range(50)] + [workload("other", "teaching")]
    found = places(server)
    both = await asyncio.gather(found.added(asked), found.added(asked))
    assert sorted(server.asked) == [PATH.format("climate"), PATH.format("teaching")]
    stands = [KUEUE.status({}, objects, ()).place for objects in both[0]]
    assert stands == [*(Place(number, 50, number) for number in range(1, 51)), None]


async def test_after_five_seconds_the_order_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(queue_places.time, "monotonic", lambda: now)
    server = Server(climate=[item("mine", 1, 1)])
    found = places(server)
    await place_of(found, workload("mine"))
    now = 104.9
    await place_of(found, workload("mine"))
    assert len(server.asked) == 1
    now, server.answers[PATH.format("climate")] = 105.1, [item("mine", 0, 0)]
    assert await place_of(found, workload("mine")) == Place(1, 1, 1)
    assert len(server.asked) == 2


async def test_nothing_is_asked_for_what_has_no_workload_or_is_admitted() -> None:
    server = Server()
    assert await places(server).added([Objects(), workload("mine", reserved="True")]) == [
        Objects(),
        workload("mine", reserved="True"),
    ]
    assert await QueuePlaces(server, None, "jhub").added([workload("mine")]) == [workload("mine")]  # type: ignore[arg-type]
    assert server.asked == []


@pytest.mark.parametrize("status", [403, 404])
async def test_an_absent_api_means_no_place_and_is_logged_once_with_the_right(
    status: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(queue_places.time, "monotonic", lambda: now)
    server = Server(climate=ApiError(status, "no"), teaching=ApiError(status, "no"))
    found = places(server)
    with caplog.at_level(logging.WARNING):
        for queue in ("climate", "teaching", "climate"):
            assert await place_of(found, workload("mine", queue)) is None
            now += 10
    (warning,) = caplog.messages
    assert "right to get localqueues/pendingworkloads in visibility.kueue.x-k8s.io" in warning
    assert len(server.asked) == 2, "each queue once, and not again within minutes"


async def test_an_api_that_does_not_answer_means_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    down = Server(climate=Refusal("cluster-down", "The cluster does not answer.", status=503))
    assert await place_of(places(down), workload("mine")) is None

    async def hang(method: str, path: str) -> Json:
        await asyncio.sleep(3600)
        return {}

    monkeypatch.setattr(down, "ask", hang)
    monkeypatch.setattr(queue_places, "ANSWER_SECONDS", 0.01)
    assert await place_of(places(down), workload("mine")) is None
