"""When a notebook ends, and how the hub ends it: pod/deadline.py, watch/cluster_clock.py and spawner/wall_time.py."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from patience import eventually
from samples import raw_site, site_with
from tornado import web

from jupyter_research_spawner.cli.lint import advice
from jupyter_research_spawner.pod.deadline import DEADLINE, Deadline, deadline_of
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.settings import SettingsError
from jupyter_research_spawner.shape import Json
from jupyter_research_spawner.site import load
from jupyter_research_spawner.spawner import deadline_writer, wall_time
from jupyter_research_spawner.spawner.deadline_writer import DeadlineWriter
from jupyter_research_spawner.spawner.wall_time import enforce_wall_time
from jupyter_research_spawner.spawner.wall_time_pages import WallTimeHandler
from jupyter_research_spawner.watch.api_server import ApiError
from jupyter_research_spawner.watch.cluster_clock import (
    SECONDS_AFTER_FAILURE,
    SECONDS_BETWEEN_READS,
    ClusterClock,
)
from jupyter_research_spawner.watch.pod_end import End

START = datetime(2026, 11, 29, 8, 0, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
NOTICES = (HOUR, timedelta(minutes=10))
DOWN = Refusal("cluster-down", "The cluster does not answer.", status=503)


def running(soft: int = 8 * 3600, hard: int = 24 * 3600, ends: str | None = None, started: str | None = None) -> Json:
    annotations = {"research-spawner/wall-time": str(soft)}
    if ends is not None:
        annotations[DEADLINE] = json.dumps({"ends_at": ends})
    return {
        "metadata": {
            "name": "jupyter-alice",
            "namespace": "jhub",
            "uid": "1",
            "resourceVersion": "1",
            "annotations": annotations,
        },
        "spec": {"activeDeadlineSeconds": hard},
        "status": {"phase": "Running", "startTime": started or "2026-11-29T08:00:00Z"},
    }


def deadline(**over: Any) -> Deadline:
    found = deadline_of(running(**over))
    assert found is not None
    return found


def test_the_wall_time_counts_from_the_start_of_the_pod() -> None:
    assert deadline() == Deadline(START, 8 * HOUR, START + 8 * HOUR, START + 24 * HOUR)


@pytest.mark.parametrize(
    ("ends", "hours"),
    [
        ("2026-11-29T18:00:00Z", 10),
        ("2026-11-29T19:00:00+01:00", 10),
        ("2027-11-29T18:00:00Z", 24),
        ("2026-11-29T09:00:00Z", 8),
        ("2026-11-29T18:00:00", 8),
        ("soon", 8),
    ],
    ids=["extended", "in another zone", "after the hard end", "before the soft end", "without a zone", "not a time"],
)
def test_an_extension_is_read_from_the_annotation(ends: str, hours: int) -> None:
    assert deadline(ends=ends).ends == START + hours * HOUR


@pytest.mark.parametrize("text", ["", "[]", "{", '{"ends_at": null}', '{"ends_at": 7}'])
def test_an_annotation_that_is_not_valid_changes_nothing(text: str) -> None:
    pod = running()
    pod["metadata"]["annotations"][DEADLINE] = text
    assert deadline_of(pod) == deadline()


def test_a_pod_that_no_kubelet_has_accepted_has_no_deadline() -> None:
    pod = running()
    del pod["status"]
    assert deadline_of(pod) is None
    for part, key in (("spec", "activeDeadlineSeconds"), ("metadata", "annotations")):
        pod = running()
        del pod[part][key]
        assert deadline_of(pod) is None
    assert deadline_of({}) is None


def test_a_hook_can_shorten_the_hard_wall_time() -> None:
    assert deadline(hard=3600) == Deadline(START, HOUR, START + HOUR, START + HOUR)


def test_the_deadline_file_has_both_ends_and_the_notices() -> None:
    assert json.loads(deadline().annotation(NOTICES)) == {
        "ends_at": "2026-11-29T16:00:00Z",
        "hard_ends_at": "2026-11-30T08:00:00Z",
        "ends_at_seconds": 1795968000,
        "hard_ends_at_seconds": 1796025600,
        "notices_seconds": [3600, 600],
    }
    assert "\n" not in deadline().annotation(NOTICES)


def test_the_deadline_file_has_the_page_that_extends_the_notebook_while_it_can_be_extended() -> None:
    page = "/hub/research-spawner/wall-time?server="
    assert json.loads(deadline().annotation(NOTICES, page))["extend_path"] == page
    last = deadline().extended(START + 24 * HOUR)
    assert "extend_path" not in json.loads(last.annotation(NOTICES, page))


def test_the_choices_are_one_more_wall_time_and_the_hard_end() -> None:
    first = deadline()
    assert first.choices() == (START + 16 * HOUR, START + 24 * HOUR)
    assert first.extended(START + 20 * HOUR).choices() == (START + 24 * HOUR,)
    assert first.extended(START + 24 * HOUR).choices() == ()
    assert first.choices(latest=START + 9 * HOUR) == (START + 9 * HOUR,)
    assert first.choices(latest=START) == ()


@dataclass
class Times:
    """A clock of the API server, and the monotonic clock of a hub whose own date nobody reads."""

    now: datetime | Refusal = START
    monotonic: float = 0.0
    asked: int = 0

    async def read(self) -> datetime:
        self.asked += 1
        if isinstance(self.now, Refusal):
            raise self.now
        return self.now

    def clock(self) -> ClusterClock:
        return ClusterClock(self.read, lambda: self.monotonic)


async def test_the_clock_asks_the_api_server_now_and_then() -> None:
    times = Times()
    clock = times.clock()
    assert await clock.now() == START
    times.monotonic += SECONDS_BETWEEN_READS - 1
    assert await clock.now() == START + timedelta(seconds=SECONDS_BETWEEN_READS - 1)
    assert times.asked == 1
    times.monotonic += 1
    times.now = START + HOUR
    assert await clock.now() == START + HOUR
    assert times.asked == 2


async def test_the_time_is_unknown_until_the_api_server_answers() -> None:
    times = Times(now=DOWN)
    clock = times.clock()
    assert await clock.now() is None
    assert await clock.now() is None
    assert times.asked == 1
    times.monotonic += SECONDS_AFTER_FAILURE
    times.now = START
    assert await clock.now() == START
    times.now = DOWN
    times.monotonic += SECONDS_BETWEEN_READS + 5
    assert await clock.now() == START + timedelta(seconds=SECONDS_BETWEEN_READS + 5)


@dataclass
class Cluster:
    """An API server with one pod, as DeadlineWriter uses it."""

    pod: Json | None
    now: datetime
    fails: Exception | None = None
    requests: list[str] = field(default_factory=list)

    async def time(self) -> datetime:
        return self.now

    async def ask(self, method: str, path: str, *, body: Json | None = None, content_type: str = "") -> Json:
        assert path == "/api/v1/namespaces/jhub/pods/jupyter-alice"
        self.requests.append(method)
        if self.fails is not None:
            raise self.fails
        if self.pod is None:
            raise ApiError(404, "not found")
        if body is not None:
            metadata = self.pod["metadata"]
            if any(body["metadata"][key] != metadata[key] for key in ("uid", "resourceVersion")):
                raise ApiError(409, "the object has been modified")
            metadata["annotations"] |= body["metadata"]["annotations"]
        return copy.deepcopy(self.pod)


@dataclass
class Server:
    """A spawner whose reflector shows `seen`; None ends the watch of the wall time."""

    seen: Json | None
    wall_time_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    extend_path: str = ""
    ended: list[str] = field(default_factory=list)

    def find_running_pod(self) -> Json | None:
        return self.seen

    async def end_with(self, end: End) -> None:
        self.ended.append(end.message)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall_time, "LONGEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(wall_time, "SHORTEST_PAUSE_SECONDS", 0.01)


def later(pod: Json) -> Json:
    pod["metadata"]["resourceVersion"] = "2"
    return pod


def writer(cluster: Cluster) -> DeadlineWriter:
    return DeadlineWriter(cluster, NOTICES)  # type: ignore[arg-type]


async def test_the_hub_ends_a_notebook_after_its_soft_wall_time() -> None:
    cluster = Cluster(running(), START + 8 * HOUR)
    server = Server(running())
    await enforce_wall_time(server, writer(cluster))
    assert server.ended == ["It was stopped, because its wall time of 8h was over."]


async def test_it_does_not_end_a_notebook_before() -> None:
    cluster = Cluster(running(), START + 8 * HOUR - timedelta(seconds=30))
    server = Server(running())
    watch = asyncio.ensure_future(enforce_wall_time(server, writer(cluster)))
    await eventually(lambda: cluster.requests.count("PATCH") > 2)
    server.seen = None
    await watch
    assert server.ended == []
    assert "GET" not in cluster.requests


async def test_a_late_watch_does_not_hide_an_extension() -> None:
    cluster = Cluster(later(running(ends="2026-11-29T18:00:00Z")), START + 9 * HOUR)
    server = Server(running())
    watch = asyncio.ensure_future(enforce_wall_time(server, writer(cluster)))
    await eventually(lambda: cluster.requests.count("GET") > 2)
    server.seen = None
    await watch
    assert server.ended == []
    assert deadline_of(cluster.pod or {}) == deadline(ends="2026-11-29T18:00:00Z")


async def test_a_written_deadline_is_not_written_again() -> None:
    pod = running()
    pod["metadata"]["annotations"][DEADLINE] = deadline().annotation(NOTICES)
    cluster = Cluster(pod, START)
    await writer(cluster).announce(pod, deadline())
    assert cluster.requests == []
    await writer(cluster).announce(running(), deadline())
    assert cluster.requests == ["PATCH"]


async def test_a_missing_right_is_said_once_and_the_notebook_ends_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = Cluster(running(), START, fails=ApiError(403, 'pods is forbidden: cannot patch resource "pods"'))
    deadlines = writer(cluster)
    await deadlines.announce(running(), deadline())
    await deadlines.announce(running(), deadline())
    assert cluster.requests == ["PATCH"]
    assert [record.getMessage() for record in caplog.records] == [
        "The hub has no right to patch pods in namespace jhub, so deadline files are empty and users cannot extend the "
        "wall time. Notebooks end after their soft wall time. Apply the role research-deadlines, which "
        '`research-spawner manifests` prints: HTTP 403: pods is forbidden: cannot patch resource "pods"'
    ]
    with pytest.raises(Refusal, match="cannot be extended here"):
        await deadlines.write(running(), deadline())
    cluster.fails = None
    cluster.now = START + 8 * HOUR
    server = Server(running())
    await enforce_wall_time(server, deadlines)
    assert len(server.ended) == 1


async def test_a_deadline_that_cannot_be_written_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(running(), START, fails=DOWN)
    deadlines = writer(cluster)
    for fails in (DOWN, DOWN, None, DOWN):
        cluster.fails = fails
        await deadlines.announce(running(), deadline())
    assert cluster.requests == 4 * ["PATCH"]
    assert len([record for record in caplog.records if "could not be written" in record.getMessage()]) == 2


async def test_a_deadline_is_written_some_time_after_the_right_for_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(running(), START, fails=ApiError(403, "pods is forbidden"))
    deadlines = writer(cluster)
    await deadlines.announce(running(), deadline())
    cluster.fails = None
    await deadlines.announce(running(), deadline())
    assert cluster.requests == ["PATCH"]
    later = time.monotonic() + deadline_writer.SECONDS_AFTER_FORBIDDEN
    monkeypatch.setattr(deadline_writer, "time", SimpleNamespace(monotonic=lambda: later))
    await deadlines.announce(running(), deadline())
    assert cluster.requests == ["PATCH", "PATCH"]


async def test_a_notebook_continues_while_its_pod_cannot_be_read() -> None:
    cluster = Cluster(running(), START + 9 * HOUR, fails=DOWN)
    server = Server(running())
    watch = asyncio.ensure_future(enforce_wall_time(server, writer(cluster)))
    await eventually(lambda: cluster.requests.count("GET") > 2)
    assert server.ended == []
    cluster.fails = None
    await watch
    assert len(server.ended) == 1


async def test_a_replaced_pod_is_not_ended() -> None:
    other = running()
    other["metadata"]["uid"] = "2"
    server = Server(running())
    await enforce_wall_time(server, writer(Cluster(other, START + 9 * HOUR)))
    assert server.ended == []


def advised(settings: Json) -> dict[str, str]:
    """Return the advice of lint about notices and grace periods, by path."""
    found = {problem.path: problem.message for problem in advice(site_with(settings), START)}
    return {path: found[path] for path in ("hub.stop_limit", "profiles.small.wall_time") if path in found}


def test_lint_names_notices_and_grace_periods_that_do_not_fit() -> None:
    assert advised({"profiles": {"small": {"wall_time": "8h"}}}) == {}
    assert advised({"profiles": {"small": {"wall_time": "30m"}}}) == {
        "profiles.small.wall_time": "is 30m, so its users see the first notice when the notebook starts: "
        "hub.first_notice is 1h"
    }
    slow = {"pod": {"terminationGracePeriodSeconds": 120}}
    assert advised({"hub": {"stop_limit": "121s"}, "profiles": {"small": slow}}) == {}
    found = advised({"hub": {"stop_limit": "2m"}, "profiles": {"small": slow}})["hub.stop_limit"]
    assert found.startswith("is 2m, but pods of profile ")
    assert "may take 120 seconds to end (terminationGracePeriodSeconds)" in found


def test_the_last_notice_must_be_last() -> None:
    with pytest.raises(SettingsError, match="last_notice must be shorter than first_notice"):
        load({**raw_site(), "hub": {"first_notice": "10m", "last_notice": "10m"}})


class Spawners(dict[str, str]):
    """JupyterHub's spawners of a user: it creates one when it is asked for (jupyterhub.user._SpawnerDict)."""

    def __missing__(self, name: str) -> str:
        return f"spawner {name!r}"


def test_the_page_knows_a_stopped_server_after_a_restart_of_the_hub() -> None:
    user = SimpleNamespace(orm_spawners={"": None}, spawners=Spawners())

    def found(name: str) -> Any:
        handler = SimpleNamespace(current_user=user, get_argument=lambda *_: name)
        return WallTimeHandler._own_spawner(handler)  # type: ignore[arg-type]

    assert found("") == "spawner ''"
    with pytest.raises(web.HTTPError):
        found("other")
