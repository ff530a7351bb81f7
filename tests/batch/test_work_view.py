"""What the page "My work" shows of rows, and how it filters, sorts and pages them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import site_with

from jupyter_research_spawner.api_object import format_time
from jupyter_research_spawner.batch.job_view import attempt_views, index_page, job_facts, plain_text
from jupyter_research_spawner.batch.work_view import (
    COLUMNS,
    PERIODS,
    ROWS_ON_PAGE,
    STATES,
    WorkQuery,
    WorkRow,
    format_clock,
    format_moment,
    select,
    server_row,
    usage,
)
from jupyter_research_spawner.pod.overlay import PLAN
from jupyter_research_spawner.watch import Phase

NOW = datetime(2026, 11, 29, 13, 0, tzinfo=timezone.utc)


def ago(**time: float) -> str:
    return format_time(NOW - timedelta(**time))


def row(job_id: str = "fit-1", state: str = "running", **changes: Any) -> WorkRow:
    found = WorkRow(
        kind="job",
        id=job_id,
        name="fit",
        about="",
        href=f"/services/batch/jobs/{job_id}/page",
        state=state,
        message="",
        profile="Small",
        queue="climate",
        created=ago(hours=2),
        started=None if state == "queued" else ago(hours=1),
        finished=ago(minutes=30) if state in ("failed", "succeeded") else None,
        limit_seconds=3600,
    )
    return replace(found, **changes)


def shown(rows: list[WorkRow], **query: Any) -> list[str]:
    return [found.id for found in select(rows, WorkQuery(**query), NOW).rows]


def test_time_is_that_of_the_wait_of_the_run_or_of_the_whole_run() -> None:
    assert row(state="queued").seconds(NOW) == 7200
    assert row(state="running").seconds(NOW) == 3600
    assert row(state="succeeded").seconds(NOW) == 1800
    assert row(state="failed", started=None).seconds(NOW) is None
    assert row(state="running", started="not a time", created=None).seconds(NOW) is None
    assert row(state="running", started=ago(hours=-1)).seconds(NOW) == 0  # the clocks of two machines differ


def test_rows_are_filtered_by_each_field_and_by_all_together() -> None:
    rows = [
        row("a", "queued", queue="backfill"),
        row("b", "running", name="Render Films"),
        row("c", "succeeded"),
        row("d4", "failed", finished=ago(days=2), created=ago(days=3)),
    ]
    assert shown(rows, state="running") == ["b"]
    assert shown(rows, queue="backfill") == ["a"]
    assert shown(rows, name="films") == ["b"]
    assert shown(rows, name="D4") == ["d4"]
    assert set(shown(rows, period="1h")) == {"a", "b", "c"}
    assert set(shown(rows, period="7d")) == {"a", "b", "c", "d4"}
    assert shown(rows, period="24h", state="failed") == []
    found = select(rows, WorkQuery(queue="climate", state="failed"), NOW)
    assert (found.total, found.matching) == (4, 1)
    assert found.states == {"running": 1, "failed": 1, "succeeded": 1}
    assert found.queues == ("backfill", "climate")


def test_rows_are_sorted_by_each_column_in_both_directions() -> None:
    rows = [
        row("a", "queued", name="z", user="b", queue="A", profile="Large", created=ago(hours=5), limit_seconds=60),
        row("b", "running", name="Y", user="A", queue="c", profile="a100", created=ago(hours=4), limit_seconds=7200),
        row("c", "failed", name="x", user="c", queue="B", profile="Small", created=ago(hours=3), limit_seconds=3600),
    ]
    expected = {
        "name": "cba",
        "user": "bac",
        "state": "bac",
        "profile": "bac",
        "queue": "acb",
        "submitted": "abc",
        "time": "cba",
        "limit": "acb",
    }
    assert expected.keys() == COLUMNS.keys()
    for column, order in expected.items():
        assert "".join(shown(rows, sort=column)) == order, column
        assert "".join(shown(rows, sort=f"-{column}")) == order[::-1], column
    assert "".join(shown(rows)) == "cba"


def test_pages_have_all_rows_once_and_the_last_page_comes_for_a_later_one() -> None:
    rows = [row(f"job-{number:05}", "succeeded", created=ago(minutes=number)) for number in range(5_000)]
    pages = [select(rows, WorkQuery(page=page), NOW) for page in range(1, 101)]
    assert [found.id for page in pages for found in page.rows] == [found.id for found in rows]
    assert {page.pages for page in pages} == {100}
    assert (pages[0].first, pages[0].last, pages[99].first, pages[99].last) == (1, ROWS_ON_PAGE, 4951, 5000)
    assert select(rows, WorkQuery(page=999_999), NOW) == pages[99]
    empty = select([], WorkQuery(), NOW)
    assert (empty.first, empty.last, empty.pages) == (0, 0, 1)


@given(
    st.dictionaries(
        st.sampled_from(["name", "state", "queue", "period", "sort", "page", "other"]),
        st.text(max_size=300) | st.sampled_from([*STATES, *PERIODS, *COLUMNS, "-name", "3", "0", "-1", "99999999"]),
    )
)
def test_any_address_is_a_query_and_a_query_is_an_address(arguments: dict[str, str]) -> None:
    query = WorkQuery.parse(arguments)
    again = WorkQuery.parse(dict(parse_qsl(query.address().removeprefix("?"), errors="surrogatepass")))
    assert again == query
    select([row()], query, NOW)


def test_a_heading_sorts_and_a_second_click_turns_the_order() -> None:
    query = WorkQuery(page=3, state="running")
    assert WorkQuery.parse(dict(parse_qsl(query.sorted_by("limit")[1:]))) == WorkQuery(state="running", sort="-limit")
    assert query.sorted_by("submitted") == "?state=running&sort=submitted"
    assert (query.direction("submitted"), query.direction("name")) == ("descending", "none")


SERVER = {"name": "", "full_name": "alice/", "url": "/user/alice/", "ready": True, "started": "2026-11-29T12:00:00.5Z"}


@pytest.mark.parametrize(
    ("model", "phase", "state", "message"),
    [
        ({}, None, "running", ""),
        ({"ready": False, "pending": "spawn"}, None, "starting", ""),
        ({"ready": False, "pending": "spawn"}, Phase("queued", "Second in queue."), "queued", "Second in queue."),
        ({"ready": False, "pending": "spawn"}, Phase("starting", "The image is pulled."), "starting", None),
        ({"ready": True, "pending": "stop"}, Phase("running"), "cancelling", "It is being stopped."),
    ],
)
def test_state_of_a_server_comes_from_the_hub_and_its_reason_from_its_pod(
    model: dict[str, Any], phase: Phase | None, state: str, message: str | None
) -> None:
    found = server_row("", {**SERVER, **model}, None, phase, {}, "/hub/")
    assert found.state == state
    assert message is None or found.message == message


def test_a_server_has_the_name_that_its_user_has_written() -> None:
    def named(model: dict[str, Any]) -> tuple[str, str]:
        found = server_row("gro-e-1", {**SERVER, **model}, None, None, {}, "/hub/")
        return found.name, found.key

    assert named({"display_name": "Größe & 1"}) == ("Größe & 1", "server:gro-e-1")
    # JupyterHub 5 has no display names, and a server can be without one.
    assert named({}) == named({"display_name": None}) == ("gro-e-1", "server:gro-e-1")


def test_address_of_a_server_is_never_a_script() -> None:
    assert server_row("", SERVER, None, None, {}, "/hub/").href == "/user/alice/"
    assert server_row("", {**SERVER, "url": "javascript:alert(1)"}, None, None, {}, "/hub/").href == "/hub/"
    starting = {**SERVER, "ready": False, "full_name": "a/b@x/gpu"}
    assert server_row("gpu", starting, None, None, {}, "/hub/").href == "/hub/spawn-pending/a/b@x/gpu"


def test_output_is_shown_as_a_terminal_shows_it() -> None:
    assert plain_text(b"\x1b[31mred\x1b[0m\r\n 10%\r 50%\r100%\nend\r\n") == "red\n100%\nend\n"
    assert plain_text(b"\x1b]0;title\x07\xff\xfe") == "��"


@pytest.mark.parametrize(
    ("seconds", "written"), [(None, ""), (0, "0:00:00"), (3661, "1:01:01"), (86399, "23:59:59"), (90061, "1d 01:01:01")]
)
def test_clock(seconds: int | None, written: str) -> None:
    assert format_clock(seconds) == written


def test_moment_is_in_the_time_zone_of_the_site() -> None:
    zone = ZoneInfo("America/Los_Angeles")
    assert format_moment("2026-11-29T05:05:00Z", zone, NOW) == "28 Nov 21:05"
    assert format_moment("2026-01-01T05:05:00Z", zone, NOW) == "2025-12-31 21:05"
    assert format_moment(None, zone, NOW) == ""


def test_usage_has_numbers_and_says_when_it_is_high() -> None:
    jobs, ended, size = usage(180, 5, 1_600_000, 200, 100, 8 * 2**20)
    assert (jobs.used_text, jobs.limit_text, jobs.is_high) == ("180", "200", True)
    assert (ended.used, ended.limit, ended.is_high) == (5, 100, False)
    assert (size.used_text, size.limit_text) == ("1.5", "8 MiB")


def attempt(**changes: Any) -> dict[str, Any]:
    return {"pod": "p", "started": None, "finished": None, "exit_code": None, "reason": "", **changes}


def test_attempts_have_their_own_states_and_a_waiting_pod_is_none_yet() -> None:
    attempts = [
        attempt(started=ago(hours=3), finished=ago(hours=2), reason="Preempted: other work needed its place."),
        attempt(started=ago(hours=1), finished=ago(minutes=1), exit_code=3, reason="It ended with exit code 3."),
        attempt(started=ago(minutes=30)),
        attempt(),
    ]
    found = attempt_views({"attempts": attempts[:3], "state": "running"})
    assert [(one.number, one.state) for one in found] == [(1, "failed"), (2, "failed"), (3, "running")]
    assert [one.seconds(NOW) for one in found] == [3600, 3540, 1800]
    assert len(attempt_views({"attempts": attempts, "state": "queued"})) == 3


def test_resources_of_a_job_are_those_of_the_form_while_its_profile_has_them() -> None:
    def shown(written: str, profile: str = "big") -> str:
        job = {"metadata": {"annotations": {PLAN: json.dumps({"resources": written})}}}
        found = {"profile": profile, "queue": "climate", "priority": "normal", "image": "", "workdir": ""}
        return dict(job_facts(found, job, site, is_own=False))["Resources"]

    gpu = {"kind": "whole", "count": 4, "title": "NVIDIA A100, 80 GB"}
    site = site_with({"profiles": {"big": {"like": "small", "title": "Big", "cpu": 8, "memory": "256Gi", "gpu": gpu}}})
    written = str(site.profiles["big"].resources())
    assert shown(written) == "8 CPU, 256 GiB, 4 NVIDIA A100, 80 GB"
    assert shown(written, "gone") == written == "8 CPU, 256Gi, 4 GPU (nvidia.com/gpu)"
    assert shown("8 CPU, 128Gi, 4 GPU (nvidia.com/gpu)") == "8 CPU, 128Gi, 4 GPU (nvidia.com/gpu)"


def test_indexes_are_paged() -> None:
    found = {"indexes": [{"index": index} for index in range(120)]}
    page = index_page(found, 3)
    assert [one["index"] for one in page.indexes] == list(range(100, 120))
    assert (page.first, page.last, page.total, page.pages) == (101, 120, 120, 3)
    assert index_page(found, 99) == page
    assert index_page({}, 1).indexes == ()


@pytest.mark.parametrize(
    ("job_id", "name", "own_name"),
    [
        ("fit-x7k2p", "fit", ""),
        ("render-films-x7k2p", "Render Films!", ""),
        ("job-x7k2p", "été", "été"),
        ("a-long-name-that-is-c-x7k2p", "a-long-name-that-is-cut", ""),
    ],
)
def test_the_users_name_of_a_job_is_shown_where_its_id_does_not_say_it(job_id: str, name: str, own_name: str) -> None:
    assert row(job_id, name=name).own_name == own_name
