"""Whether any node is large enough for a pod is decided from allocatable less the DaemonSets that run on every node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from patience import eventually

from jupyter_research_spawner.schedulers import Limit, QueueStatus
from jupyter_research_spawner.shape import Json
from jupyter_research_spawner.watch import NodeCache, node_cache
from jupyter_research_spawner.watch.follow import Change
from jupyter_research_spawner.watch.node_sizes import (
    NodeSizes,
    daemon_set_amounts,
    node_amounts,
    node_sizes,
    pod_requests,
)


def container(cpu: str, **fields: Any) -> Json:
    return {"resources": {"requests": {"cpu": cpu}}, **fields}


def pod(cpu: str, **more: str) -> Json:
    return {"containers": [{"resources": {"requests": {"cpu": cpu, **more}}}]}


def node(name: str, **allocatable: str) -> Json:
    return {"metadata": {"name": name, "labels": {"a": "b"}}, "status": {"allocatable": allocatable, "images": ["x"]}}


def daemon_set(cpu: str, wanted: int, name: str = "agent") -> Json:
    return {
        "metadata": {"name": name, "namespace": "monitoring"},
        "spec": {"template": {"spec": pod(cpu)}},
        "status": {"desiredNumberScheduled": wanted},
    }


SMALL, LARGE = node("a", cpu="16", memory="64Gi"), node("b", cpu="48", memory="32Gi")


def sizes(*nodes: Json, daemon_sets: Any = (), can_grow: bool = True) -> NodeSizes:
    of_sets = None if daemon_sets is None else [daemon_set_amounts(found) for found in daemon_sets]
    return node_sizes([node_amounts(found) for found in nodes], of_sets, can_grow=can_grow)


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": [container("1"), container("500m")]}, "1.5"),
        ({"containers": [container("1")], "initContainers": [container("4")]}, "4"),
        ({"containers": [container("3")], "initContainers": [container("2", restartPolicy="Always")]}, "5"),
        (
            {
                "containers": [container("1")],
                "initContainers": [container("2", restartPolicy="Always"), container("4")],
            },
            "6",
        ),
        ({"containers": [container("1")], "overhead": {"cpu": "250m"}}, "1.25"),
        ({"containers": [{"resources": {"limits": {"cpu": "2"}}}]}, "2"),
    ],
)
def test_the_request_of_a_pod_is_what_a_node_must_have_free(spec: Json, cpu: str) -> None:
    assert pod_requests(spec) == {"cpu": Decimal(cpu)}
    assert pod_requests({}) == {}


@pytest.mark.parametrize(
    ("spec", "limits"),
    [
        (pod("48"), None),
        (pod("16", memory="64Gi"), None),
        (pod("49"), (Limit("cpu", "49", "48"),)),
        (pod("1", **{"nvidia.com/gpu": "1"}), (Limit("nvidia.com/gpu", "1", ""),)),
        (pod("17", memory="64Gi"), ()),
    ],
)
def test_a_pod_that_fits_on_no_node_is_told_of_which_resource_there_is_less(spec: Json, limits: Any) -> None:
    found = sizes(SMALL, LARGE).why_none(pod_requests(spec))
    assert limits is None if found is None else found.limits == limits
    if limits == ():
        assert found is not None
        assert [one.resource for one in found.together] == ["cpu", "memory"]


def test_only_daemon_sets_of_every_node_are_subtracted() -> None:
    sets = [daemon_set("1", 2, "everywhere"), daemon_set("40", 1, "on-one-node")]
    assert sizes(SMALL, LARGE, daemon_sets=sets).why_none(pod_requests(pod("47"))) is None
    found = sizes(SMALL, LARGE, daemon_sets=sets).why_none(pod_requests(pod("48")))
    assert found is not None
    assert (found.limits, found.is_exact) == ((Limit("cpu", "48", "47"),), True)
    unknown = sizes(SMALL, LARGE, daemon_sets=None).why_none(pod_requests(pod("49")))
    assert unknown is not None and not unknown.is_exact


def test_of_equal_nodes_only_one_is_compared() -> None:
    many = [node(str(number), cpu="16", memory=f"{60 + number % 3}Gi") for number in range(1000)]
    assert len(sizes(*many, LARGE).nodes) == 2


def test_nothing_is_said_without_nodes_or_if_the_scheduler_says_it_itself() -> None:
    waiting = QueueStatus("queued", "nodes")
    assert sizes().with_largest(waiting, pod("999")) == waiting
    itself = QueueStatus("unschedulable", "too-large", limits=(Limit("cpu", "999", "4"),))
    assert sizes(SMALL).with_largest(itself, pod("999")) == itself
    running = QueueStatus("running")
    assert sizes(SMALL).with_largest(running, pod("999")) == running
    told = sizes(SMALL, can_grow=False).with_largest(waiting, pod("999"))
    assert told.phase == "unschedulable"
    assert told.largest is not None and not told.largest.can_grow


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> dict[str, asyncio.Queue[Change]]:
    """What each watch delivers, by its path."""
    queues: dict[str, asyncio.Queue[Change]] = {
        node_cache.NODES: asyncio.Queue(),
        node_cache.DAEMON_SETS: asyncio.Queue(),
    }

    async def follow(server: Any, path: str, query: Any) -> AsyncIterator[Change]:
        while True:
            yield await queues[path].get()

    monkeypatch.setattr(node_cache, "follow", follow)
    return queues


async def test_the_watches_start_with_the_first_reader_and_keep_only_sizes(changes: Any) -> None:
    cache = NodeCache(None, can_grow=True)  # type: ignore[arg-type]
    assert not await cache.has_been_listed(), "nobody has read it"
    assert cache.sizes().nodes == ()
    changes[node_cache.NODES].put_nowait(Change("listed", (SMALL, LARGE)))
    assert await cache.has_been_listed()
    assert not await cache.has_been_listed(), "it came before"
    assert cache.sizes().nodes == (node_amounts(SMALL), node_amounts(LARGE))
    assert not cache.sizes().is_exact
    changes[node_cache.DAEMON_SETS].put_nowait(Change("listed", (daemon_set("1", 2),)))
    await eventually(lambda: cache.sizes().is_exact)
    changes[node_cache.NODES].put_nowait(Change("deleted", (LARGE,)))
    await eventually(lambda: cache.sizes().nodes == (node_amounts(SMALL),))
    cache.close()


async def test_without_readers_the_watches_end_and_a_reader_starts_them_again(
    changes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_cache, "IDLE_SECONDS", 0.01)
    cache = NodeCache(None, can_grow=True)  # type: ignore[arg-type]
    cache.sizes()
    first = cache._watching
    assert first is not None
    await eventually(first.done)
    monkeypatch.setattr(node_cache, "IDLE_SECONDS", 600)
    changes[node_cache.NODES].put_nowait(Change("listed", (SMALL,)))
    await eventually(lambda: cache.sizes().nodes == (node_amounts(SMALL),))
    cache.close()
