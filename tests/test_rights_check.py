"""When the hub decides again about notebooks that wait or run: spawner/rights_check.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from samples import NOW, decide, person, site_with

from jupyter_research_spawner.plan import Plan, Verdict, groups_text
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.shape import Json
from jupyter_research_spawner.spawner import progress, rights_check
from jupyter_research_spawner.spawner.background import first_result
from jupyter_research_spawner.spawner.change_signal import ChangeSignal
from jupyter_research_spawner.spawner.rights_check import (
    check_while_running,
    granted_to,
    has_begun,
    is_bound,
    withdrawn,
)
from jupyter_research_spawner.spawner.start import Start
from jupyter_research_spawner.watch.pod_end import End

PLAN = decide(site_with(), person("alice"), queue="backfill")
FEWER = replace(
    PLAN,
    identity=replace(PLAN.identity, groups=tuple(group for group in PLAN.identity.groups if group.name != "climate")),
)
LOCKED = Refusal("account-locked", "Your account is locked.", status=403)
DOWN = Refusal("source-down", "The directory does not answer.", status=503)
MAIN = "notebook"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights_check, "RECHECK_SECONDS", 0.1)


@dataclass
class Rights:
    """What deciding again results in, which a test can change; `asked` counts how often it was decided."""

    now: Plan | Refusal = PLAN
    asked: int = 0

    async def decide(self) -> Plan:
        self.asked += 1
        if isinstance(self.now, Refusal):
            raise self.now
        return self.now


def waiting(node: str | None = None, **state: Any) -> Json:
    statuses = [{"name": MAIN, **state}] if state else []
    return {"metadata": {}, "spec": {"nodeName": node}, "status": {"containerStatuses": statuses}}


def start() -> Start:
    found: Any = SimpleNamespace(plan=PLAN, changes=ChangeSignal())
    return found  # type: ignore[no-any-return]


async def verdict(
    rights: Rights, pod: Callable[[], Json | None], seconds: float = 5, of: Start | None = None
) -> Verdict:
    return await asyncio.wait_for(withdrawn(of or start(), pod, rights.decide, MAIN), seconds)


@pytest.mark.parametrize(("now", "expected"), [(LOCKED, Verdict(refusal=LOCKED)), (FEWER, None)])
async def test_a_waiting_notebook_is_decided_again(now: Plan | Refusal, expected: Verdict | None) -> None:
    found = await verdict(Rights(now), waiting)
    assert found == (expected or found)
    assert bool(found.changes) is (expected is None)


async def test_a_waiting_notebook_stays_while_nothing_is_known_or_changed() -> None:
    for now in (PLAN, DOWN):
        rights = Rights(now)
        with pytest.raises(asyncio.TimeoutError):
            await verdict(rights, waiting, 0.35)
        assert 2 <= rights.asked <= 5


async def test_a_pod_is_decided_again_as_soon_as_it_is_bound_and_not_after_its_container_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rights_check, "RECHECK_SECONDS", 3600)
    rights, pod, begun = Rights(), waiting(), start()
    task = asyncio.ensure_future(verdict(rights, lambda: pod, of=begun))

    async def change() -> None:
        begun.changes.notify()
        for _ in range(5):  # the task continues within a few iterations of the event loop
            await asyncio.sleep(0)

    await change()
    assert rights.asked == 0
    pod["spec"]["nodeName"] = "node-1"
    await change()
    assert rights.asked == 1
    pod["status"]["containerStatuses"] = [{"name": MAIN, "state": {"running": {}}}]
    rights.now = LOCKED
    await change()
    assert (rights.asked, task.done()) == (1, False)
    task.cancel()


async def test_a_start_whose_container_has_begun_is_not_decided_any_more() -> None:
    rights = Rights(LOCKED)
    pod = waiting("node-1", state={"running": {}})
    with pytest.raises(asyncio.TimeoutError):
        await verdict(rights, lambda: pod, 0.3)
    assert rights.asked == 0


async def test_hundreds_of_notebooks_are_not_decided_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights_check, "RECHECK_SECONDS", 60.0)
    pauses = [rights_check._first_pause() for _ in range(400)]
    assert 30 <= min(pauses) < 35
    assert 55 < max(pauses) <= 60
    assert len({round(pause) for pause in pauses}) > 20


def test_bound_and_begun() -> None:
    assert not is_bound(None)
    assert not is_bound(waiting())
    assert is_bound(waiting("node-1"))
    assert not has_begun(None, MAIN)
    assert not has_begun(waiting("node-1", state={"waiting": {"reason": "PodInitializing"}}), MAIN)
    assert has_begun(waiting("node-1", state={"running": {}}), MAIN)
    assert has_begun(waiting("node-1", state={"waiting": {}}, lastState={"terminated": {}}), MAIN)
    assert not has_begun(waiting("node-1", state={"running": {}}), "other")


@dataclass
class Server:
    """A running server with the rights of PLAN."""

    rights: Rights
    notice: str = ""
    told: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    runs: bool = True

    def find_running_pod(self) -> Json | None:
        annotations = {"research-spawner/plan": PLAN.written, "research-spawner/groups": groups_text(PLAN)}
        return {"metadata": {"annotations": annotations}} if self.runs else None

    async def decide_as_accepted(self) -> Plan:
        return await self.rights.decide()

    def tell(self, notice: str) -> None:
        self.notice = notice
        self.told.append(notice)

    async def end_with(self, end: End) -> None:
        self.ended.append(end.message)


def counted(outcome: str) -> float:
    labels = {"kind": "notebook", "outcome": outcome}
    return REGISTRY.get_sample_value("research_spawner_rights_changed_total", labels) or 0.0


async def test_the_user_of_a_running_notebook_is_told_once_of_each_change() -> None:
    server = Server(Rights())
    changed, refused = counted("running-changed"), counted("running-refused")
    task = asyncio.ensure_future(check_while_running(server, stops=False))
    for now in (FEWER, LOCKED, DOWN, PLAN):
        server.rights.now = now
        await asyncio.sleep(0.35)
    server.runs = False
    await asyncio.wait_for(task, 5)
    assert server.told == [
        "Your rights have changed. Group climate is no longer yours. "
        "It keeps the rights that it started with until you stop it.",
        "You may no longer start it, but it continues to run. Your account is locked.",
        "",
    ]
    assert server.ended == []
    assert (counted("running-changed") - changed, counted("running-refused") - refused) == (1, 1)


async def test_a_running_notebook_is_stopped_only_if_its_user_is_refused() -> None:
    server = Server(Rights(FEWER))
    before = counted("running-stopped")
    task = asyncio.ensure_future(check_while_running(server, stops=True))
    await asyncio.sleep(0.35)
    assert (len(server.told), server.ended) == (1, [])
    server.rights.now = LOCKED
    await asyncio.wait_for(task, 5)
    assert server.ended == ["It was stopped, because you may no longer run it. Your account is locked."]
    assert counted("running-stopped") == before + 1


def test_what_a_pod_was_granted_is_read_from_its_annotations() -> None:
    pod = Server(Rights()).find_running_pod()
    assert pod is not None
    found = granted_to(pod)
    assert found is not None
    assert ("climate", 20500) in found.groups
    assert granted_to({"metadata": {}}) is None


async def test_the_first_result_cancels_the_others() -> None:
    cancelled = []

    async def never() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return ""

    async def soon() -> str:
        await asyncio.sleep(0)
        return "done"

    async def fails() -> str:
        raise LOCKED

    assert await first_result(never(), soon()) == "done"
    with pytest.raises(Refusal):
        await first_result(fails(), never())
    assert cancelled == [True, True]
    both = asyncio.ensure_future(first_result(never(), never()))
    await asyncio.sleep(0.01)
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both
    assert len(cancelled) == 4


async def test_the_progress_shows_notes_and_the_events_of_the_new_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LONGEST_PAUSE_SECONDS", 0.01)

    def event(text: str) -> Json:
        return {"lastTimestamp": "now", "eventTime": None, "type": "Normal", "message": text}

    wait = SimpleNamespace(is_queued=False, message="", last_pod=None, main="notebook")
    first: Any = SimpleNamespace(
        plan=replace(PLAN, warnings=()),
        slot=SimpleNamespace(starts_ahead=0),
        wait=wait,
        notes=[],
        is_over=False,
        decided=NOW,
        progress=ChangeSignal(),
    )
    server: Any = SimpleNamespace(current_start=first, events=[event("one"), event("two")], lost_since=None)
    shown = []
    async for update in progress.stream_progress(server):
        if "stage" in update:  # the sentence about the start, and not a note or an event
            continue
        shown.append(update["message"])
        if len(shown) == 2:
            second = SimpleNamespace(**{**vars(first), "notes": ["Your rights have changed."]})
            server.current_start, server.events = second, [event("three")]
        if len(shown) == 4:
            server.current_start.is_over = True
    assert shown == ["[Normal] one", "[Normal] two", "Your rights have changed.", "[Normal] three"]
