"""The log line about each start, and how a start is counted."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import REGISTRY
from samples import decide, person, site_with

from jupyter_research_spawner.pod.overlay import PLAN, USER_NAME
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.spawner.hub_errors import HubRefusal
from jupyter_research_spawner.spawner.pacing import Pacing
from jupyter_research_spawner.spawner.pod_wait import PodWait
from jupyter_research_spawner.spawner.start import Start
from jupyter_research_spawner.spawner.start_recorder import StartRecorder, json_log, text_line

Json = dict[str, Any]
SITE = site_with()
DECIDED = decide(SITE, person("alice"))
LABELS = {"kind": "notebook", "scheduler": DECIDED.scheduler, "profile": DECIDED.profile}


def pod(user: str = "alice", run_id: str = "r-of-the-pod", admitted: str = "2026-11-23T12:05:00Z") -> Json:
    conditions = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": admitted}] if admitted else []
    return {
        "metadata": {
            "name": "jupyter-alice",
            "uid": "12345678-aaaa",
            "creationTimestamp": "2026-11-23T12:00:00Z",
            "annotations": {USER_NAME: user, PLAN: json.dumps({"run_id": run_id})},
        },
        "status": {"conditions": conditions},
    }


@dataclass(eq=False)
class Server:
    """A spawner as the recorder sees it."""

    found: Json | None = None
    name: str = ""
    user_name: str = "alice"
    lines: list[str] = field(default_factory=list)
    current_start: Start | None = None

    def __post_init__(self) -> None:
        slot = Pacing(1).new_slot()
        self.current_start = Start(DECIDED, slot, PodWait(DECIDED, SITE.hub, "notebook"))
        self.user = type("User", (), {"name": self.user_name})
        self.log = type("Log", (), {"info": lambda log, text, *args: self.lines.append(text % args)})()

    def _reflected_pod(self) -> Json | None:
        return self.found


async def recorded(server: Server, outcome: Any, recorder: StartRecorder | None = None) -> dict[str, str]:
    """Record a start whose future ends with `outcome`: a URL, an exception, or None for cancelled."""
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    (recorder or StartRecorder(SITE)).record_when_done(server, future)  # type: ignore[arg-type]
    if outcome is None:
        future.cancel()
    elif isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
    await asyncio.wait([future])
    await asyncio.sleep(0)
    (line,) = server.lines
    return dict(part.split("=", 1) for part in line.split(" "))


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"research_spawner_{name}", labels) or 0.0


async def test_a_start_is_one_line_with_the_run_id_of_the_pod_and_is_counted() -> None:
    wait, ready = value("queue_wait_seconds_sum", **LABELS), value("time_to_ready_seconds_count", **LABELS)
    admitted = value("admissions_total", kind="notebook", queue=DECIDED.queue)
    line = await recorded(Server(pod()), "http://10.0.0.1:8888")
    assert line.pop("decided").endswith("Z")
    assert line.pop("ready").endswith("Z")
    assert line == {
        "event": "start",
        "run_id": "r-of-the-pod",
        "user": "alice",
        "server": "",
        "profile": DECIDED.profile,
        "queue": DECIDED.queue,
        "scheduler": DECIDED.scheduler,
        "namespace": DECIDED.namespace,
        "pod": DECIDED.shape.name,
        "pod_uid": "12345678-aaaa",
        "created": "2026-11-23T12:00:00Z",
        "admitted": "2026-11-23T12:05:00Z",
        "outcome": "ready",
        "code": "",
    }
    assert value("queue_wait_seconds_sum", **LABELS) == wait + 300
    assert value("time_to_ready_seconds_count", **LABELS) == ready + 1
    assert value("admissions_total", kind="notebook", queue=DECIDED.queue) == admitted + 1


@pytest.mark.parametrize(
    ("found", "outcome", "words"),
    [
        (
            None,
            HubRefusal(Refusal("missing-in-cluster", "No claim.")),
            ("refused", "missing-in-cluster", DECIDED.run_id),
        ),
        (pod(), HubRefusal(Refusal("boot-limit", "Too slow.")), ("failed", "boot-limit", "r-of-the-pod")),
        (pod(), None, ("cancelled", "", "r-of-the-pod")),
        (pod(), RuntimeError("from a hook"), ("failed", "hook-error", "r-of-the-pod")),
        (
            pod(user="bob"),
            HubRefusal(Refusal("pod-name-taken", "Taken.")),
            ("refused", "pod-name-taken", DECIDED.run_id),
        ),
    ],
    ids=["refused", "failed", "cancelled", "hook", "pod of another user"],
)
async def test_the_line_says_how_the_start_ended(found: Json | None, outcome: Any, words: tuple[str, ...]) -> None:
    before = value("time_to_ready_seconds_count", **LABELS)
    server = Server(found)
    if found is not None and found["metadata"]["annotations"][USER_NAME] == "alice":
        assert server.current_start is not None
        server.current_start.wait.observe({**found, "spec": {}})
    line = await recorded(server, outcome)
    assert (line["outcome"], line["code"], line["run_id"]) == words
    assert line["ready"] == ""
    assert line["pod_uid"] == ("" if words[2] == DECIDED.run_id else "12345678-aaaa")
    assert value("time_to_ready_seconds_count", **LABELS) == before


async def test_a_deleted_pod_is_known_from_the_last_observation() -> None:
    server = Server(None)
    assert server.current_start is not None
    server.current_start.wait.observe({**pod(admitted=""), "spec": {}})
    line = await recorded(server, HubRefusal(Refusal("queue-limit", "Too long.")))
    assert (line["pod_uid"], line["run_id"], line["admitted"]) == ("12345678-aaaa", "r-of-the-pod", "")


@pytest.mark.parametrize("status", [{}, None, {"conditions": [{"type": "PodScheduled", "status": "True"}]}])
async def test_a_pod_without_status_or_times_is_logged(status: Any) -> None:
    found = {**pod(), "status": status}
    found["metadata"] = {**found["metadata"], "creationTimestamp": None}
    line = await recorded(Server(found), "http://10.0.0.1:8888")
    assert (line["created"], line["admitted"], line["outcome"]) == ("", "", "ready")


async def test_text_of_users_cannot_forge_a_line_or_a_field() -> None:
    name = 'x\noutcome=ready user="root"\r\u2028\x1b[2J'
    server = Server(pod(user=name), name=name, user_name=name)
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    StartRecorder(SITE).record_when_done(server, future)  # type: ignore[arg-type]
    future.set_result("http://10.0.0.1:8888")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (line,) = server.lines
    assert line.isascii()
    assert line.isprintable()
    assert f"user={json.dumps(name)} server={json.dumps(name)} profile=" in line


def test_plain_values_have_no_quotes_and_others_are_json() -> None:
    assert (
        text_line({"a": "2026-11-23T12:00:00Z", "b": "", "c": "two words"}) == 'a=2026-11-23T12:00:00Z b= c="two words"'
    )


async def test_the_line_is_json_where_the_site_asks_for_it(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(pod(), name="a\nb")
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with caplog.at_level(logging.INFO, json_log.name):
        StartRecorder(site_with({"hub": {"start_log": "json"}})).record_when_done(server, future)  # type: ignore[arg-type]
        future.set_result("http://10.0.0.1:8888")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    (record,) = caplog.records
    assert server.lines == []
    assert "\n" not in record.getMessage()
    found = json.loads(record.getMessage())
    assert (found["event"], found["server"], found["run_id"], found["outcome"]) == (
        "start",
        "a\nb",
        "r-of-the-pod",
        "ready",
    )


async def test_a_start_whose_pod_has_no_node_counts_as_queued() -> None:
    recorder, server = StartRecorder(SITE), Server(pod(admitted=""))
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    recorder.record_when_done(server, future)  # type: ignore[arg-type]
    assert queued() == 0
    assert server.current_start is not None
    server.current_start.wait.observe({**pod(admitted=""), "spec": {}})
    assert queued() == 1
    server.current_start.wait.observe({**pod(), "spec": {"nodeName": "node-1"}})
    assert queued() == 0
    future.cancel()
    await asyncio.wait([future])
    await asyncio.sleep(0)
    assert queued() == 0


def queued() -> float:
    return value("queued_workloads", kind="notebook", queue=DECIDED.queue)
