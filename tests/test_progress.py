"""What the page of a starting server shows: one sentence, a bar that rises by stage, and raw events in its log only."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from samples import decide, person, site_with

from jupyter_research_spawner.schedulers import Place
from jupyter_research_spawner.shape import Json
from jupyter_research_spawner.site import Hub
from jupyter_research_spawner.spawner import progress
from jupyter_research_spawner.spawner.pod_wait import PodWait
from jupyter_research_spawner.spawner.start import Start
from jupyter_research_spawner.wording import find_moments

MAIN = "notebook"
PLAIN = {"scheduler": {"kind": "plain"}}
SAID = "0/3 nodes are available: 3 Insufficient cpu."


def pod(node: str = "", phase: str = "Pending", **container: Any) -> Json:
    said = {"status": "True"} if node else {"status": "False", "reason": "Unschedulable", "message": SAID}
    status: Json = {"phase": phase, "podIP": "10.0.0.1", "conditions": [{"type": "PodScheduled", **said}]}
    if container:
        status["containerStatuses"] = [{"name": MAIN, **container}]
    return {"metadata": {"name": "jupyter-alice"}, "spec": {"nodeName": node}, "status": status}


def event(reason: str, message: str, at: str | None = "2026-11-23T12:00:07.123456Z") -> Json:
    return {"reason": reason, "lastTimestamp": at, "eventTime": None, "type": "Normal", "message": message}


def starting() -> Start:
    decided = decide(site_with(PLAIN), person("alice"), profile="small")
    slot: Any = SimpleNamespace(starts_ahead=0)
    return Start(decided, slot, PodWait(decided, Hub(), MAIN))


async def second_of_five() -> Place:
    return Place(2, 5)


def starting_server(start: Start) -> Any:
    return SimpleNamespace(current_start=start, events=[], find_place=second_of_five, lost_since=None)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LONGEST_PAUSE_SECONDS", 0.01)


async def test_a_raw_event_goes_to_the_log_and_the_sentence_stays_above_it() -> None:
    start = starting()
    start.wait.observe(pod())
    server = starting_server(start)
    shown = []
    async for update in progress.stream_progress(server):
        shown.append(update)
        if len(shown) == 1:
            server.events = [event("FailedScheduling", SAID)]
        start.is_over = len(shown) == 3
    sentence = shown[0]["message"]
    assert sentence == "Waiting in queue climate, at place 2 of 5. It starts when a node has enough free CPUs."
    assert [(told["message"], told.get("log_only", False), told.get("repeats", False)) for told in shown] == [
        (sentence, False, False),
        (f"12:00:07 UTC [Normal] {SAID}", True, False),
        (sentence, False, True),
    ]


async def test_what_was_known_before_an_outage_of_the_api_server_is_called_old_until_it_answers() -> None:
    start = starting()
    start.wait.observe(pod())
    server = starting_server(start)
    shown, times = [], []
    async for update in progress.stream_progress(server):
        shown.append(update["message"])
        times.append(update["times"])
        server.lost_since = datetime(2026, 11, 23, 12, tzinfo=timezone.utc) if len(shown) == 1 else None
        start.is_over = len(shown) == 3
    old = "This can be out of date: the Kubernetes API server has not answered the hub since 23 Nov 12:00 UTC."
    assert shown == [shown[0], f"{shown[0]} {old}", shown[0]]
    # The page shows them in the browser's time zone.
    year = find_moments("23 Nov 12:00 UTC", datetime.now(timezone.utc))[0][1].year
    assert times == [[], [{"text": "23 Nov 12:00 UTC", "at": f"{year}-11-23T12:00:00Z"}], []]


@pytest.mark.parametrize("at", [None, "yesterday"])
def test_an_event_without_a_valid_time_is_shown_without_one(at: str | None) -> None:
    assert progress.format_event(event("Pulled", "Pulled it", at)) == "[Normal] Pulled it"


async def test_the_bar_rises_with_each_stage_of_a_start() -> None:
    start = starting()
    server = starting_server(start)
    creating = {"state": {"waiting": {"reason": "ContainerCreating"}}}
    stages = [
        (pod(), []),
        (pod("node-1"), []),
        (pod("node-1", **creating), ["Pulling"]),
        (pod("node-1", **creating), ["Pulling", "Pulled"]),
        (pod("node-1", "Running", ready=False, state={"running": {}}), ["Pulling", "Pulled"]),
    ]
    seen: list[int] = []
    start.wait.observe(stages[0][0])
    async for update in progress.stream_progress(server):
        if "progress" not in update or update["progress"] in seen[-1:]:
            continue
        seen.append(update["progress"])
        if len(seen) == len(stages):
            start.is_over = True
        else:
            found, reasons = stages[len(seen)]
            start.wait.observe(found)
            server.events = [event(reason, reason) for reason in reasons]
    assert seen == [10, 30, 45, 60, 75]
