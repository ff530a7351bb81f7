"""follow() through bookmarks, 410 Gone, the normal end of a watch, and an API server that is down."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.watch import follow as module
from jupyter_research_spawner.watch.api_server import ApiError
from jupyter_research_spawner.watch.follow import Change, follow

DOWN = Refusal("cluster-down", "The cluster does not answer at the moment.", status=503)


class Over(BaseException):
    """The script has no more answers."""


class Scripted:
    """Answers each list and watch with the next of `script`: an exception is raised, a list of events is one watch."""

    def __init__(self, *script: Any) -> None:
        self._script = list(script)
        self.requests: list[tuple[str, str]] = []

    def _next(self) -> Any:
        if not self._script:
            raise Over
        answer = self._script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def for_repeated_requests(self) -> Scripted:
        return self

    async def ask(self, method: str, path: str, *, query: Mapping[str, str]) -> dict[str, Any]:
        self.requests.append(("list", ""))
        answer: dict[str, Any] = self._next()
        return answer

    async def watch_events(
        self, path: str, query: Mapping[str, str], silence_seconds: float
    ) -> AsyncIterator[dict[str, Any]]:
        self.requests.append(("watch", query["resourceVersion"]))
        for event in self._next():
            yield event


def listed(version: int, *names: str) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "items": [{"metadata": {"name": name}} for name in names]}


def event(kind: str, version: int, name: str = "a") -> dict[str, Any]:
    return {"type": kind, "object": {"metadata": {"name": name, "resourceVersion": str(version)}}}


GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}}


async def changes(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    async def no_pause(_seconds: float) -> None:
        return None

    monkeypatch.setattr(module.asyncio, "sleep", no_pause)
    found: list[Change] = []
    with pytest.raises(Over):
        async for change in follow(server, "/api/v1/pods", {}):  # type: ignore[arg-type]
            found.append(change)  # noqa: PERF401 - the changes before the exception count
    return [(change.kind, [obj["metadata"]["name"] for obj in change.objects]) for change in found]


async def test_it_yields_the_list_and_then_the_changes(monkeypatch):
    server = Scripted(listed(5, "a"), [event("MODIFIED", 6), event("BOOKMARK", 9)], [event("DELETED", 10)])
    assert await changes(server, monkeypatch) == [("listed", ["a"]), ("modified", ["a"]), ("deleted", ["a"])]
    # The next watch begins at the last resourceVersion, bookmarks included.
    assert server.requests == [("list", ""), ("watch", "5"), ("watch", "9"), ("watch", "10")]


@pytest.mark.parametrize("failure", [[GONE], DOWN, ApiError(410, "Gone"), ApiError(403, "no"), [{"type": "ADDED"}]])
async def test_it_lists_again_after_a_watch_failed(monkeypatch, failure):
    server = Scripted(listed(5, "a"), failure, listed(8, "b"), [event("ADDED", 9, "c")])
    assert await changes(server, monkeypatch) == [("listed", ["a"]), ("listed", ["b"]), ("added", ["c"])]


async def test_it_repeats_a_failed_list(monkeypatch):
    server = Scripted(DOWN, {}, ApiError(401, "Unauthorized"), listed(5))
    assert await changes(server, monkeypatch) == [("lost", []), ("listed", [])]


@pytest.mark.parametrize("failure", [[], ApiError(403, "no")], ids=["ends at once", "no right to watch"])
async def test_the_pauses_grow_while_no_watch_works(monkeypatch, failure):
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(module.random, "uniform", lambda *_: 1.0)
    server = Scripted(*[answer for _ in range(8) for answer in (listed(5), failure)])
    monkeypatch.setattr(module.asyncio, "sleep", pause)
    with pytest.raises(Over):
        async for _ in follow(server, "/api/v1/pods", {}):  # type: ignore[arg-type]
            pass
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


async def test_a_long_list_is_read_in_pages_and_only_what_is_kept_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = listed(7, "a", "b"), listed(7, "c")
    first["metadata"]["continue"] = "the-token"
    server = Scripted(first, second)
    queries: list[Mapping[str, str]] = []
    real = server.ask

    async def ask(method: str, path: str, *, query: Mapping[str, str]) -> dict[str, Any]:
        queries.append(dict(query))
        return await real(method, path, query=query)

    monkeypatch.setattr(server, "ask", ask)
    watching = follow(
        server,  # type: ignore[arg-type]
        "/apis/batch/v1/jobs",
        {"labelSelector": "ours"},
        page=2,
        keep=lambda obj: obj["metadata"]["name"] != "a",
    )
    change = await anext(watching)
    assert [obj["metadata"]["name"] for obj in change.objects] == ["b", "c"]
    assert queries == [
        {"labelSelector": "ours", "limit": "2"},
        {"labelSelector": "ours", "limit": "2", "continue": "the-token"},
    ]
    with pytest.raises(Over):
        await anext(watching)
    assert server.requests[-1] == ("watch", "7")


async def test_a_caller_can_hear_that_nothing_changed_and_keep_less_of_each_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Scripted(listed(5, "a"), [event("BOOKMARK", 9), event("ADDED", 10, "b")])
    monkeypatch.setattr(module, "SHORTEST_WATCH_SECONDS", 0)
    found = []
    with pytest.raises(Over):
        async for change in follow(
            server,  # type: ignore[arg-type]
            "/api/v1/pods",
            {},
            slim=lambda obj: {"only": obj["metadata"]["name"]},
            confirms=True,
        ):
            found.append((change.kind, change.objects))  # noqa: PERF401 - the changes before the exception count
    # The last one is the end of the watch, which the API server ends regularly.
    assert found == [
        ("listed", ({"only": "a"},)),
        ("confirmed", ()),
        ("added", ({"only": "b"},)),
        ("confirmed", ()),
    ]
    assert server.requests[-1] == ("watch", "10"), "the resourceVersion is read before the rest is left out"
