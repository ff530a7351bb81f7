"""The hub is told at once that a running server's pod has ended, and of many that end together a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from patience import eventually

from jupyter_research_spawner.shape import Json
from jupyter_research_spawner.spawner import end_watch
from jupyter_research_spawner.spawner.end_watch import MAX_NOTIFYING, EndWatch, has_ended
from jupyter_research_spawner.spawner.pod_changes import PodChange, pod_listeners

MAIN = "notebook"
RUNNING = {"running": {"startedAt": "2026-11-23T12:00:00Z"}}


def pod(phase: str = "Running", state: Json = RUNNING, name: str = MAIN, **metadata: Any) -> Json:
    return {
        "metadata": {"uid": "first", **metadata},
        "spec": {"restartPolicy": "OnFailure"},
        "status": {"phase": phase, "containerStatuses": [{"name": name, "state": state}]},
    }


def exited(code: int) -> Json:
    return {"terminated": {"exitCode": code}}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (PodChange(pod(), is_deleted=False), False),
        (PodChange(pod("Pending", {"waiting": {}}), is_deleted=False), False),
        (PodChange(pod(), is_deleted=True), True),
        (PodChange(pod("Failed", exited(1)), is_deleted=False), True),
        (PodChange(pod("Succeeded", exited(0)), is_deleted=False), True),
        (PodChange(pod(state=exited(0)), is_deleted=False), True),  # a sidecar runs on
        (PodChange(pod(state=exited(137)), is_deleted=False), False),  # the kubelet starts the container again
        (PodChange(pod(state=exited(0), name="sidecar"), is_deleted=False), False),
        (PodChange(pod(deletionTimestamp="2026-11-23T12:00:00Z"), is_deleted=False), False),  # it still runs
        (PodChange(pod(state=exited(137), deletionTimestamp="now", finalizers=["a/b"]), is_deleted=False), True),
        (PodChange({"metadata": {}}, is_deleted=False), False),
    ],
)
def test_which_changes_are_the_end_of_a_notebook(change: PodChange, expected: bool) -> None:
    assert has_ended(change, MAIN) is expected


@dataclass
class Server:
    """A running server. `poll_and_notify` calls `polled`."""

    polled: Callable[[], Any]
    pod_name: str = "jupyter-alice"
    namespace: str = "jhub"
    pending: str | None = None
    ready: bool = True
    log: Any = None
    _log_name: str = "alice"
    _callbacks: list[Any] = field(default_factory=lambda: ["user_stopped"])

    def _is_own(self, pod: Json) -> bool:
        return bool(pod["metadata"]["uid"] == "first")

    async def poll_and_notify(self) -> int | None:
        await self.polled()
        return 1


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end_watch, "SECONDS_BETWEEN_LOOKS", 0.001)


def announce(name: str = "jupyter-alice", found: Json | None = None) -> None:
    pod_listeners.announce(("jhub", name), PodChange(found or pod(), is_deleted=True))


class Polls:
    """Counts polls, and how many run at once. Each waits until `go` is set."""

    def __init__(self) -> None:
        self.count = self.now = self.most = 0
        self.go = asyncio.Event()

    async def __call__(self) -> None:
        self.count, self.now = self.count + 1, self.now + 1
        self.most = max(self.most, self.now)
        await self.go.wait()
        self.now -= 1


async def idle() -> None:
    """Let all tasks continue until each waits."""
    for _ in range(50):
        await asyncio.sleep(0.001)


async def test_a_running_server_is_polled_once_when_its_pod_is_gone() -> None:
    polls = Polls()
    polls.go.set()
    watch = EndWatch(Server(polls), MAIN, asyncio.Semaphore(1))
    watch.begin()
    watch.begin()
    announce()
    announce()
    await eventually(lambda: polls.count)
    await idle()
    assert polls.count == 1
    watch.begin()  # the poll has found the server running
    announce()
    await eventually(lambda: polls.count == 2)
    watch.begin()
    watch.end()
    announce()
    await idle()
    assert polls.count == 2


@pytest.mark.parametrize(
    "server",
    [{"pending": "stop", "ready": False}, {"ready": False}, {"_callbacks": []}],
    ids=["the hub stops it", "it does not run", "the hub has not registered it yet"],
)
async def test_a_server_that_does_not_run_is_not_polled(server: Json) -> None:
    polls = Polls()
    watch = EndWatch(Server(polls, **server), MAIN, asyncio.Semaphore(1))
    watch.begin()
    announce()
    await idle()
    assert polls.count == 0


async def test_another_pod_of_the_same_name_is_not_the_servers() -> None:
    polls = Polls()
    watch = EndWatch(Server(polls), MAIN, asyncio.Semaphore(1))
    watch.begin()
    announce(found=pod(uid="second"))
    await idle()
    assert polls.count == 0
    watch.end()


async def test_a_server_whose_start_is_not_finished_is_polled_afterwards() -> None:
    polls = Polls()
    polls.go.set()
    server = Server(polls, pending="spawn", ready=False)
    watch = EndWatch(server, MAIN, asyncio.Semaphore(1))
    watch.begin()
    announce()
    await idle()
    assert polls.count == 0
    server.pending, server.ready = None, True
    await eventually(lambda: polls.count == 1)


async def test_when_a_node_is_lost_a_few_servers_are_polled_at_a_time() -> None:
    polls, slots = Polls(), asyncio.Semaphore(MAX_NOTIFYING)
    for number in range(300):
        EndWatch(Server(polls, pod_name=f"jupyter-{number}"), MAIN, slots).begin()
    for number in range(300):
        announce(f"jupyter-{number}")
    await eventually(lambda: polls.count == MAX_NOTIFYING)
    await idle()
    assert polls.count == MAX_NOTIFYING
    polls.go.set()
    await eventually(lambda: polls.count == 300)
    assert polls.most == MAX_NOTIFYING


async def test_a_poll_that_fails_does_not_keep_the_others_from_being_polled() -> None:
    class Log:
        def exception(self, *_: Any) -> None: ...

    async def fail() -> None:
        raise RuntimeError("the hub's database is locked")

    polls, slots = Polls(), asyncio.Semaphore(1)
    polls.go.set()
    EndWatch(Server(fail, log=Log()), MAIN, slots).begin()
    EndWatch(Server(polls), MAIN, slots).begin()
    announce()
    await eventually(lambda: polls.count == 1)
