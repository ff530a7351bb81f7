"""The phases of a start: exactly one is current, and the times come from the pod and its events."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from samples import decide, person, site_with

from jupyter_research_spawner.shape import Json
from jupyter_research_spawner.site import Hub
from jupyter_research_spawner.spawner.page_times import describe_minutes, short_time
from jupyter_research_spawner.spawner.pending_page import DECIDING, pending_page
from jupyter_research_spawner.spawner.pod_wait import PodWait
from jupyter_research_spawner.spawner.start import Start
from jupyter_research_spawner.spawner.start_phases import PHASES, StartPhase, find_phases

MAIN = "notebook"
SITE = site_with({"scheduler": {"kind": "plain"}, "time_zone": "Europe/Berlin"})
CREATED, SCHEDULED, PULLED, STARTED = (
    f"2026-11-29T{time}Z" for time in ("10:00:00", "10:06:00", "10:07:30", "10:07:31")
)
WAITS = "0/3 nodes are available: 3 Insufficient cpu."


def at(written: str) -> datetime:
    return datetime.fromisoformat(written.replace("Z", "+00:00"))


def starting() -> Start:
    decided = decide(SITE, person("alice"), profile="small")
    slot: Any = SimpleNamespace(starts_ahead=0)
    return Start(decided, slot, PodWait(decided, Hub(), MAIN))


def pod(*, has_node: bool = False, phase: str = "Pending", **container: Any) -> Json:
    found = {"status": "True", "lastTransitionTime": SCHEDULED} if has_node else {"status": "False", "message": WAITS}
    status: Json = {"phase": phase, "podIP": "10.0.0.1", "conditions": [{"type": "PodScheduled", **found}]}
    if not has_node:
        status["conditions"][0]["reason"] = "Unschedulable"
    if container:
        status["containerStatuses"] = [{"name": MAIN, **container}]
    metadata = {"name": "jupyter-alice", "creationTimestamp": CREATED}
    return {"metadata": metadata, "spec": {"nodeName": "node-1"} if has_node else {}, "status": status}


def event(reason: str, time: str) -> Json:
    return {"reason": reason, "lastTimestamp": time, "type": "Normal", "message": reason}


WAITING = {"state": {"waiting": {"reason": "ContainerCreating"}}}
RUNNING = {"state": {"running": {"startedAt": STARTED}}, "started": True}
PULLING, HAS_PULLED = event("Pulling", SCHEDULED), event("Pulled", PULLED)


@pytest.mark.parametrize(
    ("found", "events", "current", "begun"),
    [
        (None, [], "queue", None),
        (pod(), [], "queue", CREATED),
        (pod(has_node=True), [], "image", SCHEDULED),
        (pod(has_node=True, **WAITING), [PULLING], "image", SCHEDULED),
        (pod(has_node=True, **WAITING), [PULLING, HAS_PULLED], "starting", PULLED),
        (pod(has_node=True, phase="Running", ready=False, **RUNNING), [PULLING, HAS_PULLED], "starting", PULLED),
        (pod(has_node=True, phase="Running", ready=False, **RUNNING), [], "starting", STARTED),
        (pod(has_node=True, phase="Running", ready=True, **RUNNING), [HAS_PULLED], "ready", None),
    ],
)
def test_one_phase_is_current_and_those_before_it_are_done(
    found: Json | None, events: list[Json], current: str, begun: str | None
) -> None:
    start = starting()
    if found is not None:
        start.wait.observe(found)
    phases = find_phases(start, events)
    index = [phase.name for phase in phases].index(current)  # type: ignore[arg-type]
    assert [phase.name for phase in phases] == list(PHASES)
    assert [phase.state for phase in phases] == ["done"] * index + ["current"] + ["later"] * (5 - index)
    assert all(phase.begun is None and phase.ended is None for phase in phases[index + 1 :])
    if found is not None:
        assert phases[index].begun == (at(begun) if begun else None)


def test_a_done_phase_ends_where_the_next_known_one_begins() -> None:
    start = starting()
    start.wait.observe(pod(has_node=True, **WAITING))
    assert find_phases(start, [PULLING, HAS_PULLED])[:4] == (
        StartPhase("decided", "done", at(CREATED), at(CREATED)),
        StartPhase("queue", "done", at(CREATED), at(SCHEDULED)),
        StartPhase("node", "done", at(SCHEDULED), at(SCHEDULED)),
        StartPhase("image", "done", at(SCHEDULED), at(PULLED)),
    )


def test_a_start_without_a_plan_is_being_decided() -> None:
    phases = find_phases(None, [])
    assert [phase.state for phase in phases] == ["current", *["later"] * 5]


def test_times_that_are_not_valid_are_left_out() -> None:
    start = starting()
    broken = pod(has_node=True, **WAITING)
    broken["metadata"]["creationTimestamp"] = "yesterday"
    broken["status"]["conditions"][0]["lastTransitionTime"] = "2026-11-29T10:00:00"
    start.wait.observe(broken | {"metadata": {**broken["metadata"], "creationTimestamp": None}})
    assert start.wait.last_pod is not None
    start.wait.last_pod["metadata"]["creationTimestamp"] = "yesterday"
    assert [phase.begun for phase in find_phases(start, [])[1:4]] == [start.decided, None, None]


async def place() -> None:
    return None


def server(start: Start | None, events: list[Json] | None = None) -> Any:
    return SimpleNamespace(current_start=start, events=events or [], lost_since=None, find_place=place)


async def test_the_page_has_the_state_without_javascript() -> None:
    start = starting()
    start.wait.observe(pod())
    start.notes.append("Your waiting server was replaced.")
    page = await pending_page(server(start, [event("FailedScheduling", CREATED)]), SITE)
    assert page.is_queued
    assert page.headline.startswith("Waiting in queue climate since 29 Nov 10:00 UTC.")
    assert (page.offer, page.queue) == ("Small", "climate")
    assert "CPU" in page.decided
    assert page.notes == ("Your waiting server was replaced.",)
    (line,) = page.log
    assert (line["message"], line["time"]["at"]) == ("FailedScheduling", CREATED)
    assert line["time"]["text"].endswith("11:00:00")
    current = page.phases[1]
    assert (current["name"], current["state"], current["begun"]["at"]) == ("queue", "current", CREATED)


async def test_the_page_of_a_start_without_a_plan_says_so() -> None:
    page = await pending_page(server(None), SITE)
    assert (page.headline, page.decided, page.is_queued) == (DECIDING, "", False)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(seconds=-5), "less than a minute"),
        (timedelta(seconds=59), "less than a minute"),
        (timedelta(minutes=12), "12 min"),
        (timedelta(hours=7, minutes=12, seconds=40), "7 h 12 min"),
        (timedelta(days=2, hours=3, minutes=9), "2 d 3 h"),
        (timedelta(days=2, minutes=9), "2 d"),
    ],
)
def test_durations_have_two_units(duration: timedelta, text: str) -> None:
    assert describe_minutes(duration) == text


def test_a_time_of_another_day_has_its_date() -> None:
    zone, now = ZoneInfo("Europe/Berlin"), at("2026-11-29T10:00:00Z")
    assert short_time(now, zone, now) == "11:00"
    assert short_time(now - timedelta(days=1), zone, now) == "28 Nov 11:00"
    # A day begins at midnight of the site's time zone.
    assert short_time(datetime(2026, 11, 28, 23, 30, tzinfo=timezone.utc), zone, now) == "00:30"
