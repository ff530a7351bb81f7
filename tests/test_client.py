"""The client against a real HTTP server that keeps what it was asked, and the packed file as an image would run it."""

from __future__ import annotations

import ast
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_research_spawner.client import archive, research_jobs
from jupyter_research_spawner.client.research_jobs import (
    batch_client,
    batch_script,
    command,
    functions,
    job_following,
    report,
    terminal,
)

TOKEN = "0123456789abcdef-the-token"
PREFIX = "/services/batch"
NOW = datetime(2026, 11, 23, 18, 30, tzinfo=timezone.utc)
GOLDEN = Path(__file__).parent / "golden" / "client"
SOURCES = sorted(Path(research_jobs.__file__).parent.glob("*.py"))


def a_job(**changes: Any) -> dict[str, Any]:
    return {
        "id": "train-x7k2p",
        "name": "train",
        "kind": "job",
        "state": "queued",
        "message": "",
        "queue": "climate",
        "profile": "small",
        "priority": "normal",
        "image": "quay.io/jupyter/scipy-notebook:2026-10-01",
        "command": ["python", "train.py"],
        "workdir": "/home/alice/climate",
        "created": "2026-11-23T18:00:00Z",
        "started": None,
        "finished": None,
        "exit_code": None,
        "attempts": [],
        "wall_time_seconds": 28800,
        "wall_time_hard_seconds": 28800,
        "warnings": [],
        **changes,
    }


def an_attempt(pod: str = "train-x7k2p-a", **changes: Any) -> dict[str, Any]:
    return {"pod": pod, "started": None, "finished": None, "exit_code": None, "reason": "", **changes}


STARTED = "2026-11-23T18:10:00Z"
FINISHED = "2026-11-23T18:20:00Z"
RUNNING = a_job(state="running", started=STARTED, attempts=[an_attempt(started=STARTED)])


def an_ended_job(state: str, exit_code: int | None, **changes: Any) -> dict[str, Any]:
    attempt = an_attempt(started=STARTED, finished=FINISHED, exit_code=exit_code)
    ended = {"state": state, "started": STARTED, "finished": FINISHED, "exit_code": exit_code, "attempts": [attempt]}
    return a_job(**{**ended, **changes})


def an_error(status: int = 400, **changes: Any) -> Answer:
    error = {"code": "invalid", "field": None, "message": "No.", "hint": "", "status": status, "retry_after": None}
    return Answer(status, {"error": {**error, **changes}})


@dataclass(frozen=True)
class Answer:
    """A dict goes out as JSON, text as HTML, a list of bytes as chunks; None in it cuts the connection."""

    status: int
    body: dict[str, Any] | str | list[bytes | None]
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


class StandIn:
    """A batch service that says what a test told it to; the last answer to a request is given again and again."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: dict[tuple[str, str], list[Answer]] = defaultdict(list)
        self.between_pieces: Callable[[], object] = lambda: None
        embedded_cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                embedded_cluster.answer(self)

            do_POST = do_DELETE = do_GET

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}{PREFIX}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def says(self, method: str, path: str, *answers: Answer | dict[str, Any]) -> None:
        whole = [answer if isinstance(answer, Answer) else Answer(200, answer) for answer in answers]
        self.answers[method, PREFIX + path] = whole

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        body = json.loads(content) if content else None
        self.asked.append(Asked(handler.command, handler.path, dict(handler.headers), body))
        waiting_answers = self.answers[handler.command, handler.path]
        if not waiting_answers:
            waiting_answers.append(Answer(404, "<h1>nothing here</h1>"))
        self.send(handler, waiting_answers.pop(0) if len(waiting_answers) > 1 else waiting_answers[0])

    def send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if isinstance(answer.body, list):
            handler.send_header("Content-Type", "text/plain; charset=utf-8")
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            with suppress(ConnectionError):  # the reader had enough
                self.send_pieces(handler, answer.body)
            return
        content = (answer.body if isinstance(answer.body, str) else json.dumps(answer.body)).encode()
        if "Content-Length" in answer.headers:  # it promises more than it sends
            handler.close_connection = True
        else:
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def send_pieces(self, handler: BaseHTTPRequestHandler, pieces: list[bytes | None]) -> None:
        for number, piece in enumerate(pieces):
            if number:
                self.between_pieces()
            if piece is None:
                handler.close_connection = True
                return
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            handler.wfile.flush()
        handler.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def batch() -> Iterator[StandIn]:
    embedded_cluster = StandIn()
    yield embedded_cluster
    embedded_cluster.server.shutdown()
    embedded_cluster.server.server_close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home" / "alice"
    (home / "project").mkdir(parents=True)
    return home


@pytest.fixture
def notebook(batch: StandIn, home: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The environment of alice's notebook: on queue climate, with profile small, in ~/project."""
    variables = {
        "RESEARCH_BATCH_URL": batch.url,
        "JUPYTERHUB_API_TOKEN": TOKEN,
        "RESEARCH_QUEUE": "climate",
        "RESEARCH_PROFILE": "small",
        "JUPYTER_IMAGE_SPEC": "quay.io/jupyter/scipy-notebook:2026-10-01",
        "HOME": str(home),
        "COLUMNS": "80",
        # A proxy that nothing listens on: using it would fail.
        "http_proxy": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home / "project")
    monkeypatch.setattr(command, "_now", lambda: NOW)
    monkeypatch.setattr(job_following, "FIRST_PAUSE_SECONDS", 0.01)
    return batch


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def jobs(notebook: StandIn, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*words: str) -> Ran:
        try:
            code = command.main(words)
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        assert TOKEN not in out + err
        return Ran(code, out, err)

    return run


def test_submit_sends_the_command_untouched_and_the_notebooks_wishes(jobs, batch, home):
    batch.says("POST", "/jobs", Answer(201, a_job()))
    ran = jobs("submit", "--", "python -c 'x'", "--name", "--", "$(id)", "")
    assert ran == Ran(0, "train-x7k2p\n", "")
    [asked] = batch.asked
    assert (asked.method, asked.path) == ("POST", "/services/batch/jobs")
    assert asked.headers["Authorization"] == f"token {TOKEN}"
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.body == {
        "command": ["python -c 'x'", "--name", "--", "$(id)", ""],
        "inherited": {
            "image": "quay.io/jupyter/scipy-notebook:2026-10-01",
            "profile": "small",
            "queue": "climate",
            "workdir": [str(home / "project")],
        },
    }


def test_what_a_person_says_goes_before_what_the_notebook_has(jobs, batch, home):
    batch.says("POST", "/jobs", Answer(201, a_job()))
    said = ["--name", "train", "--profile", "a100", "--queue", "backfill", "--wall-time", "2d", "--image", "py:3"]
    ran = jobs("submit", *said, "--env", "A=1", "--env", "B=x=y", "--env=A=2", "--workdir", "../data", "--", "hostname")
    assert ran.code == 0
    assert batch.asked[0].body == {
        "name": "train",
        "command": ["hostname"],
        "image": "py:3",
        "profile": "a100",
        "queue": "backfill",
        "wall_time": "2d",
        "env": {"A": "2", "B": "x=y"},
        "workdir": str(home / "data"),
        "inherited": {
            "image": "quay.io/jupyter/scipy-notebook:2026-10-01",
            "profile": "small",
            "queue": "climate",
        },
    }


def test_what_the_notebook_does_not_know_is_left_to_the_service(jobs, batch, tmp_path, monkeypatch):
    batch.says("POST", "/jobs", Answer(201, a_job()))
    for name in ("RESEARCH_QUEUE", "RESEARCH_PROFILE", "JUPYTER_IMAGE_SPEC"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("JUPYTER_IMAGE", "fallback:1")
    assert jobs("submit", "--workdir", "~/x", "--", "hostname").code == 0
    assert batch.asked[0].body == {"command": ["hostname"], "workdir": "~/x", "inherited": {"image": "fallback:1"}}


def test_the_current_directory_is_told_without_links_below_home_and_as_the_shell_has_it(
    jobs, batch, home, tmp_path, monkeypatch
):
    batch.says("POST", "/jobs", Answer(201, a_job()))
    link, shell = tmp_path / "link", tmp_path / "shell"
    link.symlink_to(home)
    shell.symlink_to(home / "project")
    monkeypatch.setenv("HOME", f"{link}/")
    monkeypatch.setenv("PWD", str(shell))
    jobs("submit", "--", "hostname")
    monkeypatch.setenv("PWD", str(home))  # not the current directory
    odd = home / "two words $(id) é \u200b;'\""
    odd.mkdir()
    monkeypatch.chdir(odd)
    jobs("submit", "--", "hostname")
    neighbour = tmp_path / "home" / "alice2"
    neighbour.mkdir()
    monkeypatch.chdir(neighbour)
    jobs("submit", "--", "hostname")
    assert [asked.body["inherited"].get("workdir") for asked in batch.asked] == [
        [str(home / "project"), f"{link}/project", str(shell)],
        None,  # a character that is not visible
        [str(neighbour)],
    ]


def test_a_relative_directory_is_below_home_too_if_home_is_a_link(jobs, batch, home, tmp_path, monkeypatch):
    batch.says("POST", "/jobs", Answer(201, a_job()))
    link = tmp_path / "link"
    link.symlink_to(home)
    monkeypatch.setenv("HOME", str(link))
    jobs("submit", "--chdir", "../data", "--", "hostname")
    monkeypatch.chdir(tmp_path)
    jobs("submit", "--chdir", "data/", "--", "hostname")
    jobs("submit", "--chdir", f"{home}/project", "--", "hostname")
    monkeypatch.setenv("HOME", "")
    jobs("submit", "--chdir", ".", "--", "hostname")
    assert [asked.body["workdir"] for asked in batch.asked] == [
        f"{link}/data",
        f"{tmp_path}/data",
        f"{home}/project",
        str(tmp_path),
    ]


def test_a_relative_directory_needs_a_current_one(jobs, batch, home, monkeypatch):
    (home / "gone").mkdir()
    monkeypatch.chdir(home / "gone")
    (home / "gone").rmdir()
    ran = jobs("submit", "--chdir", "data", "--", "hostname")
    assert (ran.code, batch.asked) == (1, [])
    assert ran.err.startswith("job: --chdir: The directory 'data' is relative, and the current directory cannot be")


@pytest.mark.parametrize("name", ["gone", os.fsdecode(b"caf\xe9"), "two\nlines"])
def test_a_current_directory_that_cannot_be_told_is_left_out_and_a_line_says_so(jobs, batch, home, monkeypatch, name):
    batch.says("POST", "/jobs", Answer(201, a_job()))
    odd = home / name
    odd.mkdir()
    monkeypatch.chdir(odd)
    if name == "gone":
        odd.rmdir()
    ran = jobs("submit", "--", "hostname")
    assert "workdir" not in batch.asked[0].body["inherited"]
    assert (ran.code, ran.out) == (0, "train-x7k2p\n")
    assert ran.err.startswith("job: warning: The current directory was removed, or its path has characters that cannot")


def test_warnings_go_to_stderr_and_json_to_stdout(jobs, batch):
    answer = a_job(warnings=["You are in 17 groups."], newer_field=1)
    batch.says("POST", "/jobs", Answer(201, answer))
    assert jobs("submit", "--", "hostname") == Ran(0, "train-x7k2p\n", "job: warning: You are in 17 groups.\n")
    assert json.loads(jobs("submit", "--json", "--", "hostname").out) == answer


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["submit"], "job submit: no command; write it last, after '--', as in: "),
        (["submit", "--"], "job submit: no command; "),
        (["submit", "python", "train.py", "--epochs", "3"], "job submit: no command; write it last, after '--'"),
        (["submit", "--nam", "x", "--", "a"], "job submit: unrecognized arguments before the '--': --nam x."),
        (
            ["submit", "-t", "4:00:00", "--mem=4G", "--", "a"],
            "job submit: unrecognized arguments before the '--': -t 4:00:00 --mem=4G (instead of -t write --wall-time; "
            "instead of --mem write --profile, which has",
        ),
        (
            ["submit", "run.sh"],
            "job submit: no command; write it last, after '--', as in: job submit --name train -- "
            "python train.py, or submit a batch script, as in: job submit - < run.sh. See",
        ),
        (["submit", "-p", "gpu", "run.sh"], "job submit: no command; "),
        (["submit", "--env", "A", "--", "a"], "job submit: argument --env: 'A' is not of the form NAME=VALUE."),
        (["logs", "a", "--tail", "-1"], "job logs: argument --tail: "),
        (["list", "everything"], "job list: unrecognized arguments: everything."),
        (["cancel"], "job cancel: the following arguments are required: ID."),
        ([], "job: the following arguments are required: COMMAND."),
        (["\x1b[2J"], "job: argument COMMAND: invalid choice: '\\x1b[2J'"),
    ],
)
def test_wrong_usage_is_one_sentence_and_asks_nobody(jobs, batch, words, sentence):
    ran = jobs(*words)
    assert (ran.code, ran.out, batch.asked) == (2, "", [])
    assert ran.err.startswith(sentence)
    assert ran.err.count("\n") == 1


def test_help_and_version_fit_a_terminal(jobs):
    for words in (["--help"], *([name, "--help"] for name in ("submit", "list", "show", "logs", "cancel", "remove"))):
        ran = jobs(*words)
        assert (ran.code, ran.err) == (0, "")
        assert max(len(line) for line in ran.out.splitlines()) <= 80
    assert jobs("--version") == Ran(0, f"job {research_jobs.__version__}\n", "")


def test_the_version_is_the_products():
    setup = ConfigParser()
    setup.read(Path(__file__).parent.parent / "setup.cfg")
    assert research_jobs.__version__ == setup["metadata"]["version"]


def test_wait_prints_every_attempts_output_and_why_it_waits_and_exits_like_the_job(jobs, batch):
    waits = a_job(message="Waits for 4 CPUs in climate.")
    preempted = an_attempt("one", started=STARTED, finished=FINISHED, reason="Preempted by bob's job.")
    second = an_attempt("two", started=STARTED)
    batch.says("POST", "/jobs", Answer(201, a_job()))
    batch.says(
        "GET",
        "/jobs/train-x7k2p",
        waits,
        a_job(state="running", attempts=[an_attempt("one", started=STARTED)]),
        a_job(attempts=[preempted]),
        a_job(state="running", attempts=[preempted, second]),
        an_ended_job("failed", 7, message="The command ended with 7.", attempts=[preempted, second]),
    )
    batch.says("GET", "/jobs/train-x7k2p/logs?follow=true", Answer(200, [b"first\n"]), Answer(200, [b"sec", b"ond\n"]))
    ran = jobs("submit", "--wait", "--", "python", "train.py")
    assert (ran.code, ran.out) == (7, "first\nsecond\n")
    assert ran.err.splitlines() == [
        "job: submitted train-x7k2p",
        "job: train-x7k2p is queued",
        "job: train-x7k2p is queued: Waits for 4 CPUs in climate.",
        "job: train-x7k2p is queued",
        "job: train-x7k2p failed: The command ended with 7.",
    ]


@pytest.mark.parametrize(
    ("state", "exit_code", "expected"),
    [("succeeded", 0, 0), ("failed", 137, 137), ("failed", None, 1), ("failed", 0, 1), ("succeeded", None, 1)],
)
def test_a_job_that_ended_at_once_still_shows_its_output(jobs, batch, state, exit_code, expected):
    batch.says("POST", "/jobs", Answer(201, an_ended_job(state, exit_code)))
    batch.says("GET", "/jobs/train-x7k2p", an_ended_job(state, exit_code))
    batch.says("GET", "/jobs/train-x7k2p/logs?follow=false", Answer(200, [b"out\n"]))
    ran = jobs("submit", "--wait", "--", "true")
    assert (ran.code, ran.out) == (expected, "out\n")


def test_wait_with_json_keeps_stdout_for_the_job_at_its_end(jobs, batch):
    ended = an_ended_job("succeeded", 0)
    batch.says("POST", "/jobs", Answer(201, ended))
    batch.says("GET", "/jobs/train-x7k2p", ended)
    batch.says("GET", "/jobs/train-x7k2p/logs?follow=false", Answer(200, [b"out\n"]))
    ran = jobs("submit", "--wait", "--json", "--", "true")
    assert (ran.code, json.loads(ran.out)) == (0, ended)
    assert "out\n" in ran.err


def test_wait_survives_a_restart_of_the_service_and_a_broken_log(jobs, batch, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(job_following.time, "sleep", pauses.append)
    batch.says("POST", "/jobs", Answer(201, RUNNING))
    batch.says("GET", "/jobs/train-x7k2p/logs?follow=true", Answer(200, [b"begun\n", None]))
    away = Answer(503, "<html>proxy</html>", {"Retry-After": "7"})
    batch.says("GET", "/jobs/train-x7k2p", away, away, an_ended_job("succeeded", 0))
    ran = jobs("submit", "--wait", "--", "true")
    assert (ran.code, ran.out, pauses) == (0, "begun\n", [7, 7])
    assert "The connection was lost before the end of the output" in ran.err
    assert "'job logs train-x7k2p' prints all of it" in ran.err
    assert ran.err.count("is not ready (HTTP 503)") == 1


def test_wait_does_not_wait_for_ever_for_a_service_that_is_gone(jobs, batch, monkeypatch):
    monkeypatch.setattr(job_following.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(job_following, "PATIENCE_SECONDS", -1)
    batch.says("POST", "/jobs", Answer(201, a_job()))
    batch.says("GET", "/jobs/train-x7k2p", an_error(503, message="The cluster does not answer.", retry_after=9))
    ran = jobs("submit", "--wait", "--", "true")
    assert ran.code == 3
    assert ran.err.endswith("job: The cluster does not answer.\njob: try again in 9 s\n")


def test_ctrl_c_while_waiting_leaves_the_job_and_says_so(jobs, batch, monkeypatch, capsys):
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job_following.time, "sleep", interrupted)
    batch.says("POST", "/jobs", Answer(201, a_job()))
    with pytest.raises(KeyboardInterrupt):
        jobs("submit", "--wait", "--", "true")
    assert "train-x7k2p continues: " in capsys.readouterr().err
    assert [asked.method for asked in batch.asked] == ["POST"]


def test_wait_says_when_the_job_was_cancelled_meanwhile(jobs, batch):
    batch.says("POST", "/jobs", Answer(201, a_job()))
    batch.says("GET", "/jobs/train-x7k2p", an_error(404, code="not_found", message="There is no such job of yours."))
    ran = jobs("submit", "--wait", "--", "true")
    assert ran.code == 1
    assert ran.err.endswith("job: train-x7k2p no longer exists, because it was cancelled before it ended.\n")


SEVERAL = [
    a_job(
        message="Waits for 4 CPUs in queue climate; 2 jobs are before it.",
        reason="Resources",
        created="2026-11-23T18:17:57Z",
    ),
    a_job(id="sweep-01-q9x4d", name="sweep-01", state="running", started="2026-11-21T14:01:30Z"),
    a_job(
        id="postprocess-ensemble-members-m3k8w",
        name="postprocess-ensemble-members",
        state="queued",
        queue="backfill-students",
        message="Preempted by a job of queue climate; waits again.",
        started="2026-11-23T12:00:00Z",
        attempts=[an_attempt(started="2026-11-23T12:00:00Z", finished="2026-11-23T18:25:00Z")],
    ),
    an_ended_job("failed", 137, id="a-8hj2k", name="a", message="Killed: it used more than its 4 GiB of memory."),
    an_ended_job("failed", 2, id="b-8hj2k", name="b"),
    an_ended_job("succeeded", 0, id="c-8hj2k", name="大規模計算"),
    a_job(id="d-8hj2k", name="\x1b[2Jevil\nname\u202e", state="cancelling", message="line\r\n\x07bell"),
]


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_list_is_a_table_of_80_columns(jobs, batch):
    batch.says("GET", "/jobs", {"jobs": SEVERAL})
    ran = jobs("list")
    assert (ran.code, ran.err) == (0, "")
    assert max(terminal.cells(line) for line in ran.out.splitlines()) <= 80
    golden("list.txt", ran.out)


def test_list_says_where_a_waiting_job_stands_as_far_as_there_is_space(jobs, batch, monkeypatch):
    waiting = {"summary": "place 2 of 5, 1 more NVIDIA GPU", "place": 2}
    batch.says("GET", "/jobs", {"jobs": [a_job(reason="Resources", message="Waiting ...", waiting=waiting)]})
    monkeypatch.setenv("COLUMNS", "120")
    assert jobs("list").out.splitlines()[1].endswith("Resources: place 2 of 5, 1 more NVIDIA GPU")
    monkeypatch.setenv("COLUMNS", "80")
    assert "Resources: place 2" in jobs("list").out


def test_list_as_json_is_the_services_answer_and_cannot_steer_a_terminal(jobs, batch):
    batch.says("GET", "/jobs", {"jobs": SEVERAL})
    ran = jobs("list", "--json")
    assert json.loads(ran.out) == {"jobs": SEVERAL}
    assert ran.out.replace("\n", "").isprintable()


def test_list_reads_all_pages_and_shows_the_newest_first(jobs, batch):
    old, new, newest = (a_job(id=f"job-{day}", created=f"2026-11-0{day}T08:00:00Z") for day in (1, 2, 3))
    batch.says("GET", "/jobs", {"jobs": [new, old], "continue": "0:0.abc="})
    batch.says("GET", "/jobs?continue=0%3A0.abc%3D", {"jobs": [newest], "note": "Older ended jobs were removed."})
    ran = jobs("list")
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == ["job-3", "job-2", "job-1"]
    assert "Older ended jobs were removed." in ran.err


def test_list_without_an_end_is_given_up(jobs, batch, monkeypatch):
    monkeypatch.setattr(functions, "PAGES", 3)
    batch.says("GET", "/jobs", {"jobs": [], "continue": "0:0.abc"})
    batch.says("GET", "/jobs?continue=0%3A0.abc", {"jobs": [], "continue": "0:0.abc"})
    assert "has no end after 3 pages" in jobs("list").err


def test_no_jobs_is_said_on_stderr(jobs, batch):
    batch.says("GET", "/jobs", {"jobs": []})
    assert jobs("list") == Ran(0, "", "job: you have no jobs; 'job submit -- COMMAND' submits a job\n")


def test_show_is_everything_about_a_job(jobs, batch):
    answer = a_job(
        state="running",
        message="",
        command=["bash", "-c", "echo 'two words' && sleep 5", "\x1b]0;title\x07"],
        started="2026-11-23T18:20:00Z",
        wall_time_hard_seconds=86400,
        attempts=[
            an_attempt(
                "train-x7k2p-7hq2s",
                started="2026-11-23T18:02:00Z",
                finished="2026-11-23T18:10:05Z",
                exit_code=143,
                reason="Preempted by a job of priority normal in queue climate, which is entitled to the node",
            ),
            an_attempt("train-x7k2p-9d5lw", started="2026-11-23T18:20:00Z"),
        ],
        warnings=["You are in 17 groups, and NFS with AUTH_SYS carries 16: some files may be refused to this job."],
    )
    batch.says("GET", "/jobs/train-x7k2p", answer)
    ran = jobs("show", "train-x7k2p")
    assert (ran.code, ran.err) == (0, "")
    assert max(len(line) for line in ran.out.splitlines()) <= 80
    golden("show.txt", ran.out)
    assert json.loads(jobs("show", "--json", "train-x7k2p").out) == answer


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (an_ended_job("failed", 3, message="Exit 3.", attempts=[an_attempt(exit_code=3, reason="Exit 3.")]), 1),
        (
            a_job(message="Preempted. It waits to run again.", attempts=[an_attempt(reason="Preempted.")]),
            1,
        ),
        (
            an_ended_job(
                "failed", 3, message="Exit 3.", attempts=[an_attempt(reason="Exit 3."), an_attempt(reason="Exit 3.")]
            ),
            2,
        ),
        (an_ended_job("succeeded", 0, attempts=[an_attempt(reason="Exit 3.")]), 1),
    ],
)
def test_the_reason_of_the_last_attempt_is_shown_once(jobs, batch, job, told):
    batch.says("GET", "/jobs/train-x7k2p", job)
    shown = jobs("show", "train-x7k2p").out
    assert max(shown.count("Exit 3."), shown.count("Preempted.")) == told


def test_show_fits_a_terminal_with_the_longest_name(jobs, batch):
    pods = [an_attempt("x" * 46 + f"-x7k2p-7hq2{n}", started=STARTED, finished=FINISHED, exit_code=143) for n in "st"]
    pods[0]["started"] = "2026-11-20T18:10:00Z"
    batch.says("GET", "/jobs/train-x7k2p", an_ended_job("failed", 143, attempts=pods))
    lines = jobs("show", "train-x7k2p").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[1][-13:] for line in lines[-2:]] == ["x-x7k2p-7hq2s", "x-x7k2p-7hq2t"]


def test_the_reason_of_an_index_is_shown_once(jobs, batch):
    failed = an_index(3, "failed", **ENDED, exit_code=2, message="Exit 2.")
    attempts = [an_attempt("a-2-b", exit_code=2, reason="Exit 2.", index=3)]
    batch.says("GET", "/jobs/train-x7k2p", {**ARRAY, "indexes": [failed], "attempts": attempts})
    assert jobs("show", "train-x7k2p_3").out.count("Exit 2.") == 1


def test_what_could_steer_a_terminal_is_shown_as_its_escape():
    steering = "a\x1b[2J\r\n\t\x7f\x9b\u200b\u202e\u2028\ud800é大\\"
    assert terminal.visible(steering) == "a\\x1b[2J\\r\\n\\t\\x7f\\x9b\\u200b\\u202e\\u2028\\ud800é大\\"
    assert terminal.visible("a\n\r\t\x1b", keep="\n\r\t") == "a\n\r\t\\x1b"


@given(text=st.text(), width=st.integers(1, 30))
def test_nothing_unprintable_reaches_the_terminal_and_nothing_is_wider_than_its_column(text, width):
    shown = terminal.visible(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
    assert "\u202e" not in shown
    shown.encode("utf-8")
    assert terminal.cells(terminal.clipped(shown, width)) <= width


@given(seconds=st.integers(-5, 10**7))
def test_times_read_as_slurm_prints_them(seconds):
    days, _, clock = report.slurm_time(report.timedelta(seconds=seconds)).rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    total = sum(part * 60**power for power, part in enumerate(reversed(parts))) + int(days or 0) * 86400
    assert total == max(seconds, 0)


def test_logs_are_bytes_as_the_job_wrote_them(notebook, capfdbinary):
    notebook.says(
        "GET", "/jobs/train-x7k2p/logs?follow=false&tail=5", Answer(200, [b"caf\xc3", b"\xa9 \xff\x1b[1m\r\n"])
    )
    assert command.main(["logs", "train-x7k2p", "--tail", "5"]) == 0
    assert capfdbinary.readouterr().out == b"caf\xc3\xa9 \xff\x1b[1m\r\n"


def test_follow_says_why_there_is_nothing_yet_and_prints_what_comes_when_it_comes(jobs, batch, monkeypatch):
    seen: list[str] = []
    read_first = threading.Event()
    batch.between_pieces = lambda: read_first.wait(10)
    batch.says("GET", "/jobs/train-x7k2p", a_job(message="Waits for its turn."))
    batch.says("GET", "/jobs/train-x7k2p/logs?follow=true", Answer(200, [b"one\n", b"two\n"]))

    def printer(_: object) -> Callable[[bytes], None]:
        def write(piece: bytes) -> None:
            seen.append(piece.decode())
            read_first.set()

        return write

    monkeypatch.setattr(command, "_printer", printer)
    ran = jobs("logs", "-f", "train-x7k2p")
    assert (ran.code, ran.err) == (0, "job: train-x7k2p is queued: Waits for its turn.\n")
    assert seen == ["one\n", "two\n"]  # with a buffer in between, the second would wait for ever for the first


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (a_job(message="Waits."), "job: train-x7k2p is queued and has no output yet: Waits.\n"),
        (
            an_ended_job("failed", None, message="No program."),
            "job: train-x7k2p has failed without output: No program.\n",
        ),
        (an_ended_job("succeeded", 0), ""),
        (RUNNING, ""),
    ],
)
def test_logs_without_output_say_why(jobs, batch, job, words):
    batch.says("GET", "/jobs/train-x7k2p", job)
    batch.says("GET", "/jobs/train-x7k2p/logs?follow=false", Answer(200, []))
    assert jobs("logs", "train-x7k2p") == Ran(0, "", words)


def test_a_log_that_breaks_off_is_said(jobs, batch):
    batch.says("GET", "/jobs/train-x7k2p/logs?follow=false", Answer(200, [b"begun\n", None]))
    ran = jobs("logs", "train-x7k2p")
    assert (ran.code, ran.out) == (3, "begun\n")
    assert ran.err.startswith("job: The connection was lost before the end of the output")


def test_cancel_goes_on_after_a_refusal_and_remembers_it(jobs, batch):
    batch.says("DELETE", "/jobs/a-1", a_job(id="a-1", state="cancelling"))
    batch.says("DELETE", "/jobs/b-2", an_error(404, code="not_found", field="id", message="You have no job b-2."))
    batch.says("DELETE", "/jobs/c-3", an_ended_job("succeeded", 0, id="c-3"))
    ran = jobs("cancel", "a-1", "b-2", "c-3")
    errors = "job: You have no job b-2.\njob: c-3 has already ended; 'job remove c-3' deletes it\n"
    assert ran == Ran(1, "a-1 cancelling\nc-3 succeeded\n", errors)
    assert [asked.method for asked in batch.asked] == ["DELETE"] * 3


def test_a_job_that_has_ended_is_no_error_of_cancel_as_for_scancel(jobs, batch):
    batch.says("DELETE", "/jobs/c-3", an_ended_job("failed", 3, id="c-3"))
    assert jobs("cancel", "c-3").code == 0


def test_remove_deletes_ended_jobs_and_goes_on_after_a_refusal(jobs, batch):
    refusal = an_error(
        409,
        code="not-ended",
        field="id",
        message="Job b-2 has not ended: it is running.",
        hint="`job cancel b-2` ends it.",
    )
    batch.says("DELETE", "/jobs/a-1?remove=true", an_ended_job("failed", 3, id="a-1"))
    batch.says("DELETE", "/jobs/b-2?remove=true", refusal)
    batch.says("DELETE", "/jobs/c-3?remove=true", an_ended_job("succeeded", 0, id="c-3"))
    errors = "job: Job b-2 has not ended: it is running.\njob: 'job cancel b-2' ends it.\n"
    assert jobs("remove", "a-1", "b-2", "c-3") == Ran(1, "a-1 removed\nc-3 removed\n", errors)
    assert jobs("remove", "a-1_3").err == (
        "job: One index of a job array cannot be removed alone.\njob: 'job remove a-1' removes the whole array.\n"
    )
    assert [asked.method for asked in batch.asked] == ["DELETE"] * 3


@pytest.mark.parametrize("job_id", ["", ".", "..", "../hub", "a/b", "a?x", "A", "a\n", "\x1b"])
@pytest.mark.parametrize("command", ["show", "logs", "cancel", "remove"])
def test_what_cannot_be_an_id_never_becomes_a_path(jobs, batch, command, job_id):
    ran = jobs(command, job_id)
    assert (ran.code, ran.out, batch.asked) == (1, "", [])
    assert ran.err.startswith("job: You have no job ")
    assert ran.err.endswith("job: 'job list' prints the ids.\n")


def test_a_refusal_shows_field_sentence_and_way_out(jobs, batch):
    refusal = an_error(400, field="queue", message="Queue 'x\x1b' is not yours.", hint="Take climate or teaching.")
    batch.says("POST", "/jobs", refusal)
    ran = jobs("submit", "--queue", "x", "--", "a")
    assert ran == Ran(1, "", "job: --queue: Queue 'x\\x1b' is not yours.\njob: Take climate or teaching.\n")
    with pytest.raises(research_jobs.Refused) as refused:
        research_jobs.submit(["a"])
    assert {**vars(refused.value)} == {
        "code": "invalid",
        "field": "queue",
        "message": "Queue 'x\x1b' is not yours.",
        "hint": "Take climate or teaching.",
        "status": 400,
        "retry_after": None,
        "exit_code": 1,
    }


@pytest.mark.parametrize(
    ("field", "message", "hint", "told"),
    [
        (
            "wall_time",
            "wall_time: '8 h' is not a valid wall time.",
            "",
            "job: --wall-time: '8 h' is not a valid wall time.\n",
        ),
        (
            "env",
            "env.A-B: 'A-B' is not a valid name; remove it from env.",
            'Write env as a map: {"A": "2"}.',
            "job: --env A-B: 'A-B' is not a valid name; remove it from --env.\n"
            "job: Write --env NAME=VALUE, once for each variable.\n",
        ),
        (
            "workdir",
            "Working directory '/x' is not in your home.",
            "",
            "job: --chdir: Working directory '/x' is not in",
        ),
        ("array", "array: '9-1' is not a list of indexes.", "Leave array out.", "job: --array: '9-1' is not a list of"),
        ("command", "command: is missing.", "Send a list.", "job: COMMAND: is missing.\njob: Write it after '--', as"),
        ("quue", "There is no field 'quue'.", "Did you mean 'queue'?", "job: There is no field 'quue'.\n"),
        ("kind", "The site's settings set the variable A.", "", "job: The site's settings set the variable A.\n"),
        (
            "queue",
            "There is no queue 'x'.",
            "`job list`: x`y.",
            "job: --queue: There is no queue 'x'.\njob: 'job list': x`y",
        ),
        (None, "Put wall_time into env.X.", "", "job: Put --wall-time into env.X.\n"),
    ],
)
def test_a_refusal_names_options_and_no_prefix_twice(jobs, batch, field, message, hint, told):
    batch.says("POST", "/jobs", an_error(400, field=field, message=message, hint=hint))
    assert jobs("submit", "--", "a").err.startswith(told)


def test_not_ready_says_when_to_try_again(jobs, batch):
    batch.says("GET", "/jobs", an_error(503, message="The directory of users does not answer.", retry_after=30))
    ran = jobs("list")
    assert ran == Ran(3, "", "job: The directory of users does not answer.\njob: try again in 30 s\n")
    batch.says("GET", "/jobs", an_error(503, message="It is down.", hint="Try again in a minute.", retry_after=30))
    assert jobs("list").err == "job: It is down.\njob: Try again in a minute.\n"


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (Answer(200, "[" * 100_000), 1, "it is not a batch service"),
        (Answer(400, "[" * 100_000), 1, "answered HTTP 400"),
        (an_error(400, message=None), 1, "answered HTTP 400"),
        (an_error(503, retry_after=float("inf")), 3, "is not ready (HTTP 503)"),
        (Answer(403, {"status": 403, "message": "Forbidden"}), 1, "does not allow this notebook's token"),
        (Answer(401, "<html>log in</html>"), 1, "Restart your server to get a new token"),
        (Answer(404, "<html>hub</html>"), 1, "it is not a batch service"),
        (Answer(500, {"error": {"code": "x"}}), 1, "answered HTTP 500"),
        (Answer(502, "bad gateway"), 3, "is not ready (HTTP 502)"),
        (Answer(200, "<html>welcome</html>"), 1, "it is not a batch service"),
        (Answer(200, {"items": []}), 1, "not a list of jobs"),
        (Answer(200, {"jobs": [{"id": 3}]}), 1, "This client cannot read"),
        (Answer(200, {"jobs": [a_job(created="yesterday")]}), 1, "This client cannot read"),
        (Answer(400, {"error": {"echo": TOKEN, "token": f"token {TOKEN}"}}), 1, "answered HTTP 400"),
        (an_error(400, message=f"Your header was token {TOKEN}."), 1, "Your header was token [token]."),
    ],
)
def test_every_other_answer_is_a_sentence_too(jobs, batch, answer, code, words):
    batch.says("GET", "/jobs", answer)
    ran = jobs("list")
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert ran.err.count("\n") == 1


def test_a_redirect_is_not_followed_and_the_token_stays_here(jobs, batch):
    elsewhere = StandIn()
    batch.says("GET", "/jobs", Answer(302, "", {"Location": elsewhere.url + "/jobs"}))
    ran = jobs("list")
    elsewhere.server.shutdown()
    elsewhere.server.server_close()
    assert (ran.code, elsewhere.asked) == (1, [])
    assert "the token is not sent to another address" in ran.err


def test_nobody_at_the_address(jobs, batch, monkeypatch):
    monkeypatch.setenv("RESEARCH_BATCH_URL", "http://127.0.0.1:9/services/batch")
    ran = jobs("list")
    assert ran.code == 3
    assert "http://127.0.0.1:9/services/batch cannot be reached ([Errno 111] Connection refused)" in ran.err


def test_a_name_that_dns_cannot_have(jobs, monkeypatch):
    monkeypatch.setenv("RESEARCH_BATCH_URL", f"http://{'a' * 70}.example/services/batch")
    ran = jobs("list")
    assert ran.code == 3
    assert "cannot be reached" in ran.err


def test_an_answer_that_does_not_come_has_a_limit_and_a_submit_is_not_sent_twice(jobs, batch, monkeypatch):
    monkeypatch.setattr(batch_client, "ANSWER_SECONDS", 0.1)
    release = threading.Event()
    monkeypatch.setattr(batch, "send", lambda *_: release.wait(10))
    ran = jobs("submit", "--", "a")
    release.set()
    assert (ran.code, len(batch.asked)) == (3, 1)
    assert "did not answer (timed out)" in ran.err
    assert "may have been submitted: look at 'job list'" in ran.err


CUT = {"Content-Length": "500"}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(201, '{"id": ', CUT),
        Answer(201, [b'{"id": ', None]),
        Answer(502, "<html>bad gateway"),
        Answer(504, "<html>gateway timeout"),
    ],
)
def test_a_submission_without_an_answer_says_that_the_job_may_exist(jobs, batch, answer):
    batch.says("POST", "/jobs", answer)
    ran = jobs("submit", "--", "a")
    assert (ran.code, ran.out, len(batch.asked)) == (3, "", 1)
    assert ran.err.endswith("The job may have been submitted: look at 'job list' before trying again.\n")


def test_a_gateway_that_did_not_reach_the_service_has_submitted_nothing(jobs, batch):
    batch.says("POST", "/jobs", Answer(503, "<html>"))
    assert jobs("submit", "--", "a").err == f"job: The batch service at {batch.url} is not ready (HTTP 503).\n"


def test_an_answer_that_is_cut_off_is_not_taken_for_a_whole_one(jobs, batch):
    batch.says("GET", "/jobs", Answer(200, '{"jobs": []}', CUT))
    batch.says("GET", "/jobs/a-1/logs?follow=false", Answer(200, "one\n", {**CUT, "Content-Type": "text/plain"}))
    listed, logs = jobs("list"), jobs("logs", "a-1")
    assert (listed.code, listed.out, logs.code, logs.out) == (3, "", 3, "one\n")
    assert "The connection was lost while the batch service answered (the answer is incomplete)." in listed.err
    assert "The connection was lost before the end of the output (the answer is incomplete)." in logs.err


@pytest.mark.parametrize("answer", [Answer(200, "<html>log in</html>"), Answer(200, {"jobs": []})])
def test_a_page_that_is_not_the_output_of_a_job_is_not_printed(jobs, batch, answer):
    batch.says("GET", "/jobs/a-1/logs?follow=false", answer)
    ran = jobs("logs", "a-1")
    assert (ran.code, ran.out) == (1, "")
    assert "it is not a batch service" in ran.err


@pytest.mark.parametrize("missing", [["RESEARCH_BATCH_URL"], ["RESEARCH_BATCH_URL", "JUPYTERHUB_API_TOKEN"]])
def test_outside_of_a_notebook_it_says_what_is_missing(jobs, monkeypatch, missing):
    for name in missing:
        monkeypatch.delenv(name)
    ran = jobs("list")
    assert ran.code == 3
    assert f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set" in ran.err


@pytest.mark.parametrize(
    "url",
    ["ftp://hub", "hub:8000", "http://", "http://a:b@hub/x", "http://hub:x/", "http://hub/a b", "http://hub/?q", "/"],
)
def test_an_unusable_address_is_named_by_its_variable(jobs, monkeypatch, url):
    monkeypatch.setenv("RESEARCH_BATCH_URL", url)
    ran = jobs("list")
    assert ran.code == 1
    assert ran.err.startswith("job: RESEARCH_BATCH_URL is not a valid address of a service.")


def test_a_token_that_no_header_can_carry_is_not_quoted(jobs, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", f"{TOKEN}\nX: y")
    ran = jobs("list")
    assert ran.err.startswith("job: JUPYTERHUB_API_TOKEN is not a valid token.")


@pytest.mark.parametrize(
    ("words", "option", "hint"),
    [
        (["--", "cat", "BYTES"], "COMMAND", "job: Write these bytes into a script, and submit the script.\n"),
        (["--env", "A=BYTES", "--", "a"], "--env", "job: Write these bytes into a script, and submit the script.\n"),
        (["--name", "BYTES", "--", "a"], "--name", ""),
        (["--chdir", "/BYTES", "--", "a"], "--chdir", ""),
    ],
)
def test_bytes_that_are_not_text_are_refused_with_the_field(jobs, batch, words, option, hint):
    ran = jobs("submit", *(word.replace("BYTES", os.fsdecode(b"caf\xe9")) for word in words))
    assert (ran.code, batch.asked) == (1, [])
    assert ran.err == f"job: {option}: It has bytes that are not UTF-8, but a job's fields must be text.\n{hint}"


def test_an_empty_directory_is_not_the_current_one(jobs, batch):
    assert jobs("submit", "--chdir", "", "--", "a") == Ran(
        1, "", "job: --chdir: The directory must not be empty.\njob: Leave it out for the current one.\n"
    )
    assert batch.asked == []


def test_a_token_that_the_hub_does_not_know_has_a_way_out(jobs, batch):
    hint = "Send the header `Authorization: token ...`."
    batch.says("GET", "/jobs", an_error(401, code="unauthorized", message="The hub does not know you.", hint=hint))
    assert jobs("list").err.startswith("job: The hub does not know you.\njob: Restart your server to get a new token")


def test_functions_return_what_the_service_said_with_types(notebook):
    notebook.says("GET", "/jobs", {"jobs": [RUNNING]})
    notebook.says("GET", "/jobs/train-x7k2p", RUNNING)
    notebook.says("DELETE", "/jobs/train-x7k2p", RUNNING)
    notebook.says("GET", "/jobs/train-x7k2p/logs?follow=false&tail=2", Answer(200, [b"caf\xc3", b"\xa9\nlast"]))
    started = datetime(2026, 11, 23, 18, 10, tzinfo=timezone.utc)
    expected = research_jobs.Job(
        id="train-x7k2p",
        name="train",
        kind="job",
        state="running",
        message="",
        queue="climate",
        profile="small",
        priority="normal",
        image="quay.io/jupyter/scipy-notebook:2026-10-01",
        command=("python", "train.py"),
        workdir="/home/alice/climate",
        created=datetime(2026, 11, 23, 18, tzinfo=timezone.utc),
        started=started,
        finished=None,
        exit_code=None,
        attempts=(research_jobs.Attempt("train-x7k2p-a", started, None, None, ""),),
        wall_time=report.timedelta(hours=8),
        wall_time_hard=report.timedelta(hours=8),
        warnings=(),
        answer={},
    )
    assert research_jobs.list() == (expected,)
    assert research_jobs.show("train-x7k2p") == expected
    assert research_jobs.cancel("train-x7k2p") == expected
    assert [*research_jobs.logs("train-x7k2p", tail=2)] == ["café\n", "last"]
    assert TOKEN not in repr(batch_client.BatchClient(notebook.url, TOKEN))


@pytest.mark.parametrize(("command", "words"), [("python train.py", "is one string"), ([], "is empty")])
def test_a_command_from_python_is_a_list_of_words(notebook, command, words):
    with pytest.raises(research_jobs.Refused, match=words) as refused:
        research_jobs.submit(command)
    assert (refused.value.field, notebook.asked) == ("command", [])


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Where and as it lies in a pod: on the PATH, executable, read-only."""
    path = tmp_path / "bin" / "jobs"
    path.parent.mkdir()
    path.write_bytes(archive.build())
    path.chmod(0o555)
    return path


def environment(batch: StandIn, **more: str) -> dict[str, str]:
    """Nothing but what the client needs: no HOME, no USER, no locale."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    return {"PATH": path, "RESEARCH_BATCH_URL": batch.url, "JUPYTERHUB_API_TOKEN": TOKEN, **more}


def run(words: list[str | Path], batch: StandIn, **more: str) -> Ran:
    ran = subprocess.run(words, check=False, env=environment(batch, **more), capture_output=True, timeout=30)
    assert TOKEN.encode() not in ran.stdout + ran.stderr
    return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


def runs(python: str) -> bool:
    return subprocess.run([python, "-V"], check=False, capture_output=True).returncode == 0


def pythons() -> list[str]:
    """This one, and whichever others are on the PATH and run."""
    found = [shutil.which(f"python3.{minor}") for minor in range(8, 15)]
    return [sys.executable, *(path for path in found if path and runs(path))]


def test_the_same_source_gives_the_same_bytes(tmp_path, monkeypatch):
    first = archive.build()
    elsewhere = tmp_path / "research_jobs"
    shutil.copytree(Path(research_jobs.__file__).parent, elsewhere)
    os.utime(elsewhere / "command.py", (0, 0))
    (elsewhere / "functions.py").chmod(0o600)
    monkeypatch.setattr(research_jobs, "__file__", str(elsewhere / "__init__.py"))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert archive.build() == first
    (elsewhere / "functions.py").write_text("changed = 1\n")
    assert archive.build() != first


def test_it_holds_the_package_and_a_way_in(packed):
    assert packed.read_bytes().startswith(b"#!/usr/bin/env python3\nPK")
    with zipfile.ZipFile(packed) as content:
        assert content.testzip() is None
        assert {entry.date_time for entry in content.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert sorted(content.namelist()) == sorted(
            ["__main__.py", *(f"research_jobs/{path.name}" for path in SOURCES)]
        )


def test_it_needs_nothing_but_the_standard_library_of_python_3_8():
    for path in SOURCES:
        tree = ast.parse(path.read_text(), feature_version=(3, 8))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert {name.name.split(".")[0] for name in node.names} <= sys.stdlib_module_names
            if isinstance(node, ast.ImportFrom):
                assert node.level == 1 or (node.level == 0 and node.module.split(".")[0] in sys.stdlib_module_names)
    ast.parse(archive.MAIN, feature_version=(3, 4))


@pytest.mark.parametrize("python", pythons())
def test_any_python_runs_it_isolated(packed, batch, python):
    batch.says("GET", "/jobs", {"jobs": SEVERAL})
    batch.says("GET", "/jobs/train-x7k2p/logs?follow=false", Answer(200, [b"one\n", b"two\n"]))
    isolated = [python, "-I", "-W", "error", packed]  # a socket left open would be a warning
    ran = run([*isolated, "list"], batch)
    assert (ran.code, ran.err) == (0, "")
    assert "大規模" in ran.out
    assert run([*isolated, "logs", "train-x7k2p"], batch) == Ran(0, "one\ntwo\n", "")
    assert run([*isolated, "cancel", "unknown"], batch).err.count("\n") == 1


@pytest.mark.uid
def test_it_runs_by_its_shebang_from_a_directory_that_cannot_be_read(packed, batch, tmp_path):
    batch.says("POST", "/jobs", Answer(201, a_job()))
    gone = tmp_path / "gone"
    gone.mkdir()
    (gone / "json.py").write_text("raise SystemExit('the current directory was imported from')")
    submit = f"{packed} submit --"
    script = f"cd {gone} && {submit} a && chmod 0 . && {submit} b; chmod 700 {gone}; rm -r {gone}; {submit} 'c d'"
    ran = run(["sh", "-c", script], batch, HOME="/nowhere")
    assert (ran.code, ran.out, ran.err.count("\n")) == (0, "train-x7k2p\n" * 3, 1)
    assert "The current directory was removed" in ran.err
    here = {"workdir": [str(gone)]}
    assert [asked.body for asked in batch.asked] == [
        {"command": ["a"], "inherited": here},
        {"command": ["b"], "inherited": here},
        {"command": ["c d"]},
    ]


def test_the_file_on_the_path_can_be_imported(packed, batch):
    batch.says("POST", "/jobs", Answer(201, a_job()))
    script = textwrap.dedent(
        """
        import shutil, sys
        sys.path.insert(0, shutil.which("jobs"))
        import research_jobs
        print(research_jobs.submit(["hostname"]).created.year, research_jobs.__file__)
        """
    )
    ran = run([sys.executable, "-I", "-c", script], batch, PATH=str(packed.parent))
    assert ran == Ran(0, f"2026 {packed}/research_jobs/__init__.py\n", "")


def test_wait_and_exit_code_through_the_packed_file(packed, batch):
    batch.says("POST", "/jobs", Answer(201, RUNNING))
    batch.says("GET", "/jobs/train-x7k2p/logs?follow=true", Answer(200, [b"loss 0.1\n"]))
    batch.says("GET", "/jobs/train-x7k2p", an_ended_job("failed", 42))
    ran = run([packed, "submit", "--wait", "--", "a"], batch)
    assert (ran.code, ran.out) == (42, "loss 0.1\n")


SCRIPT = b"#!/bin/bash -eu\nset -o pipefail\necho \"$1\" '$HOME' | cat\n"


def submit_script(packed: Path, batch: StandIn, script: bytes, *words: str) -> Ran:
    batch.says("POST", "/jobs", Answer(201, a_job()))
    found = subprocess.run(
        [packed, "submit", *words], check=False, env=environment(batch), capture_output=True, input=script, timeout=30
    )
    return Ran(found.returncode, found.stdout.decode(), found.stderr.decode())


@pytest.mark.parametrize(
    ("words", "name", "arguments"),
    [
        (["-"], "script", []),
        (["--name", "-", "-", "a b", "--name", "-"], "-", ["a b", "--name", "-"]),
        (["-", "--", "-x"], "script", ["-x"]),
    ],
)
def test_a_script_is_read_from_stdin_and_runs_with_its_interpreter(packed, batch, tmp_path, words, name, arguments):
    assert submit_script(packed, batch, SCRIPT, *words) == Ran(0, "train-x7k2p\n", "")
    body = batch.asked[0].body
    assert (body["name"], body["command"][4:]) == (name, [SCRIPT.decode(), "/bin/bash", "-eu", *arguments])
    if arguments:
        ran = subprocess.run(body["command"], check=True, capture_output=True, env={"PATH": os.defpath})
        assert (ran.stdout.decode(), ran.stderr) == (f"{arguments[0]} $HOME\n", b"")


def test_a_script_runs_by_its_first_line_as_the_kernel_reads_it(packed, batch, tmp_path):
    script = b"#! /usr/bin/env -S python3 -u\nimport sys\nsys.exit(len(sys.argv) + 40)"
    assert submit_script(packed, batch, script, "-", "one").code == 0
    command = batch.asked[0].body["command"]
    assert subprocess.run(command, check=False, env={"PATH": os.environ["PATH"]}).returncode == 42
    # As in the kernel, a tab is a space too.
    assert submit_script(packed, batch, b"#!\t/bin/sh\t-e \nfalse\n", "-").code == 0
    assert batch.asked[-1].body["command"][5:] == ["/bin/sh", "-e"]
    missing = [*command[:5], "/no/such/shell", *command[6:]]
    assert subprocess.run(missing, check=False, capture_output=True).returncode == 127


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (b"", "The script on standard input is empty."),
        (b" \n\n", "The script on standard input is empty."),
        (b"echo hello\n", "This does not look like a batch script. The first line must start with #! followed by"),
        (b"#!\n", "This does not look like a batch script."),
        (b"\xef\xbb\xbf#!/bin/sh\n", "The script begins with a byte order mark (U+FEFF) instead of #!. Remove it"),
        ("#!/bin/sh\n".encode("utf-16"), "The script is UTF-16, and not UTF-8. Convert it: iconv"),
        (
            b"#!/bin/bash\r\necho hello\r\n",
            "The script has DOS line breaks (\\r\\n) instead of UNIX line breaks (\\n).",
        ),
        (b"\x7fELF\x02\x01\x00", "The script contains NUL bytes, so it is a program and not text."),
        (b"#!/bin/sh\necho caf\xe9\n", "The script is not UTF-8: byte 18 is invalid."),
        (b"#!/bin/sh\n" + b"#" * 131072, "The script is longer than 131071 bytes. Write it into a file in your home"),
    ],
)
def test_what_is_no_script_is_refused_in_the_words_of_sbatch(packed, batch, script, sentence):
    ran = submit_script(packed, batch, script, "-")
    assert (ran.code, ran.out, batch.asked, ran.err.count("\n")) == (1, "", [], 1)
    assert ran.err.startswith(f"job: {sentence}")


def test_a_script_of_the_largest_size_fits_one_argument(packed, batch):
    script = b"#!/bin/sh\nexit 3\n" + b"#" * (131071 - 17)
    assert submit_script(packed, batch, script, "-").code == 0
    assert subprocess.run(batch.asked[0].body["command"], check=False).returncode == 3


def test_options_of_sbatch_in_a_script_are_not_dropped_silently(packed, batch):
    ran = submit_script(packed, batch, b"#!/bin/sh\n#SBATCH --time=4:00:00\ntrue\n", "-")
    assert (ran.code, ran.err.count("\n")) == (0, 1)
    assert "the script's #SBATCH lines are not read" in ran.err


def test_a_standard_input_that_cannot_be_read_is_a_sentence(packed, batch, tmp_path):
    ran = run(["sh", "-c", f"{packed} submit - 0>{tmp_path}/x; {packed} submit - <&-"], batch)
    assert ran.err == (
        "job: The script on standard input cannot be read (Bad file descriptor).\n"
        "job: Standard input is closed. Write 'job submit - < run.sh' or a pipe.\n"
    )


def test_a_script_is_one_word_in_show(jobs, batch):
    words = batch_script.script_command(SCRIPT, ["a b"])
    batch.says("GET", "/jobs/train-x7k2p", a_job(command=words))
    assert "\nCommand    - 'a b'\n" in jobs("show", "train-x7k2p").out


@pytest.mark.parametrize(
    "script",
    [
        "echo data | (sleep 0.2; {})",
        "{} < data",
        "(sleep 0.2; {}) <<EOF\ndata\nEOF",
    ],
)
@pytest.mark.parametrize("words", ["submit -- cat", "submit"])
def test_data_on_standard_input_that_no_job_gets_is_an_error(packed, batch, tmp_path, script, words):
    (tmp_path / "data").write_text("data\n")
    ran = run(["sh", "-c", f"cd {tmp_path}; {script.format(f'{packed} {words}')}"], batch)
    assert (ran.code, ran.out, batch.asked, ran.err.count("\n")) == (2, "", [], 1)
    assert ran.err.startswith(
        "job submit: standard input has data, and a job does not get it. If it is a script, write"
    )
    assert "'< /dev/null'" in ran.err


@pytest.mark.parametrize(
    "script",
    [
        "{} < /dev/null",
        "{} <&-",
        "{} < empty",
        "sleep 5 | {}; kill $!",  # an open pipe without data, as in a cell of a notebook
        "true | (sleep 0.2; {})",  # the end of a pipe
        "while read line; do {}; done < data",
        "nohup {}",
    ],
)
def test_a_standard_input_without_data_for_the_job_is_fine_and_nothing_waits(packed, batch, tmp_path, script):
    batch.says("POST", "/jobs", Answer(201, a_job()))
    (tmp_path / "data").write_text("one\ntwo\n")
    (tmp_path / "empty").touch()
    words = ["bash", "-c", f"cd {tmp_path}; {script.format(f'{packed} submit -- cat')}"]
    begun = time.monotonic()
    with subprocess.Popen(words, env=environment(batch), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout and running.stderr
        assert running.stdout.readline() == b"train-x7k2p\n"
        assert time.monotonic() - begun < 4
        running.communicate()


def test_data_that_arrives_late_is_told(packed, batch):
    release = threading.Event()
    batch.says("POST", "/jobs", Answer(201, a_job()))
    send = batch.send
    batch.send = lambda *words: (release.wait(10), send(*words))  # type: ignore[method-assign]
    words = [packed, "submit", "--", "cat"]
    with subprocess.Popen(
        words, env=environment(batch), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdin and running.stderr
        while not batch.asked:
            time.sleep(0.01)
        running.stdin.write(b"late\n")
        running.stdin.flush()
        release.set()
        assert running.stderr.readline() == b"job: warning: standard input has data, and the job does not get it\n"
        assert running.wait(10) == 0


def test_an_output_that_cannot_be_written_is_a_sentence_and_the_id_is_not_lost(packed, batch):
    batch.says("GET", "/jobs", {"jobs": [a_job()]})
    batch.says("POST", "/jobs", Answer(201, a_job()))
    sentence = "job: the output cannot be written (No space left on device)\n"
    assert run(["sh", "-c", f"{packed} list >/dev/full"], batch) == Ran(1, "", sentence)
    ran = run(["sh", "-c", f"cd /; {packed} submit -- a </dev/null >/dev/full"], batch)
    assert ran == Ran(1, "", f"job: submitted train-x7k2p\n{sentence}")


def test_closed_streams_do_not_mix(packed, batch):
    batch.says("GET", "/jobs", {"jobs": [a_job()]})
    batch.says("POST", "/jobs", Answer(201, a_job(warnings=["A warning."])))
    assert run(["sh", "-c", f"{packed} list >&-"], batch) == Ran(0, "", "")
    assert run(["sh", "-c", f"{packed} submit -- a </dev/null 2>&-"], batch) == Ran(0, "train-x7k2p\n", "")


def test_ctrl_c_ends_a_followed_log_without_a_traceback(packed, batch):
    batch.says("GET", "/jobs/train-x7k2p", RUNNING)
    batch.says("GET", "/jobs/train-x7k2p/logs?follow=true", Answer(200, [b"one\n", b"never\n"]))
    release = threading.Event()
    batch.between_pieces = lambda: release.wait(20)
    words = [packed, "logs", "--follow", "train-x7k2p"]
    # Whoever starts these tests in the background has them ignore SIGINT, which programs inherit (sh(1), `&`).
    words = ["env", "--default-signal=INT", *words]
    with subprocess.Popen(words, env=environment(batch), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout and running.stderr
        assert running.stdout.readline() == b"one\n"
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 130
        assert running.stderr.read() == b""
    release.set()


def test_a_reader_that_has_enough_is_no_traceback(packed, batch):
    batch.says("GET", "/jobs/train-x7k2p/logs?follow=false", Answer(200, [b"x" * 65536 + b"\n"] * 20))
    assert run(["sh", "-c", f"{packed} logs train-x7k2p | head -c 1"], batch) == Ran(0, "x", "")


def test_a_log_on_a_terminal_cannot_steer_it(packed, batch):
    output = [b"50%\r100%\n\x1b]0;title\x07caf\xc3", b"\xa9\x9b\x7f\n"]
    batch.says("GET", "/jobs/train-x7k2p/logs?follow=false", Answer(200, output))
    ours, theirs = pty.openpty()
    subprocess.run([packed, "logs", "train-x7k2p"], check=True, env=environment(batch), stdout=theirs, timeout=30)
    os.close(theirs)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert shown == "50%\r100%\r\n\\x1b]0;title\\x07café�\\x7f\r\n"


def an_index(index: int, state: str, **changes: Any) -> dict[str, Any]:
    empty = {"message": "", "started": None, "finished": None, "exit_code": None, "attempts": 0}
    return {"index": index, "state": state, **empty, **changes}


ENDED = {"started": STARTED, "finished": FINISHED, "attempts": 1}
PREEMPTED = "Preempted: work of a higher priority needed its place."
ARRAY = a_job(
    kind="array",
    state="running",
    message="2/4 done, 1 failed",
    started=STARTED,
    array="1-7:2%2",
    counts={"succeeded": 1, "failed": 1, "running": 1, "queued": 1},
    indexes=[
        an_index(1, "succeeded", **ENDED, exit_code=0),
        an_index(3, "failed", **ENDED, exit_code=2, message="Container job ended with exit code 2: no such file."),
        an_index(5, "running", started=FINISHED, attempts=2),
        an_index(7, "queued"),
    ],
    attempts=[
        an_attempt("train-x7k2p-0-b", started=STARTED, finished=FINISHED, exit_code=0, index=1),
        an_attempt("train-x7k2p-2-c", started=STARTED, finished=FINISHED, exit_code=143, index=5, reason=PREEMPTED),
        an_attempt("train-x7k2p-2-d", started=FINISHED, index=5),
    ],
)


def test_an_array_is_submitted_with_the_indexes_of_sbatch(jobs, batch):
    batch.says("POST", "/jobs", Answer(201, ARRAY))
    assert jobs("submit", "--array", "1-7:2%2", "--", "hostname") == Ran(0, "train-x7k2p\n", "")
    assert (batch.asked[0].body["kind"], batch.asked[0].body["array"]) == ("array", "1-7:2%2")


def test_an_array_has_one_line_in_the_list_and_all_indexes_in_show(jobs, batch):
    batch.says("GET", "/jobs", {"jobs": [{**ARRAY, "attempts": [], "indexes": []}]})
    batch.says("GET", "/jobs/train-x7k2p", ARRAY)
    listed, shown, one = jobs("list"), jobs("show", "train-x7k2p"), jobs("show", "train-x7k2p_5")
    assert (listed.code, shown.code, one.code) == (0, 0, 0)
    golden("array.txt", "\n".join((listed.out, shown.out, one.out)))
    assert max(map(len, (listed.out + shown.out + one.out).splitlines())) <= 80


@pytest.mark.parametrize(
    "words", [["train-x7k2p_3"], ["train-x7k2p[3]"], ["train-x7k2p_[3]"], ["train-x7k2p", "--index", "3"]]
)
def test_the_output_of_one_index_is_named_as_in_slurm(jobs, batch, words):
    batch.says("GET", "/jobs/train-x7k2p/logs?follow=false&index=3", Answer(200, [b"third\n"]))
    assert jobs("logs", *words) == Ran(0, "third\n", "")


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        (ARRAY, "train-x7k2p has no index 4.", "'job show train-x7k2p' lists its indexes."),
        (RUNNING, "train-x7k2p is a single job and has no indexes.", "Leave the index out."),
    ],
)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_index_that_a_job_does_not_have_is_not_shown(jobs, batch, answer, message, hint, options):
    batch.says("GET", "/jobs/train-x7k2p", answer)
    assert jobs("show", "train-x7k2p_4", *options) == Ran(1, "", f"job: {message}\njob: {hint}\n")


def test_the_message_about_an_index_names_no_option_that_the_command_does_not_have(jobs, batch):
    refusal = an_error(404, code="no-such-index", field="index", message="a-1 has no index 9.", hint="`job show a-1`.")
    batch.says("DELETE", "/jobs/a-1?index=9", refusal)
    assert jobs("cancel", "a-1_9") == Ran(1, "", "job: a-1 has no index 9.\njob: 'job show a-1'.\n")


def test_an_ended_index_is_removed_with_its_array(jobs, batch):
    batch.says("DELETE", "/jobs/train-x7k2p?index=3", {**ARRAY, "state": "failed"})
    ran = jobs("cancel", "train-x7k2p_3")
    assert ran.err == "job: train-x7k2p_3 has already ended; 'job remove train-x7k2p' deletes the whole array\n"


def test_one_index_is_cancelled(jobs, batch):
    batch.says("DELETE", "/jobs/train-x7k2p?index=5", ARRAY)
    assert jobs("cancel", "train-x7k2p_5") == Ran(0, "train-x7k2p_5 running\n", "")


SWEEP = {**{key: value for key, value in ARRAY.items() if key != "array"}, "kind": "sweep"}


def test_another_kind_with_indexes_is_shown_like_an_array(jobs, batch):
    batch.says("GET", "/jobs/train-x7k2p", SWEEP)
    shown = jobs("show", "train-x7k2p").out
    assert "Wall time  8:00:00 for each index\n" in shown
    assert "\n3      failed " in shown
    assert "train-x7k2p-2-d" in jobs("show", "train-x7k2p_5").out


@pytest.mark.parametrize("array", [ARRAY, SWEEP], ids=["array", "sweep"])
def test_wait_for_an_array_prints_no_output_and_ends_with_the_highest_exit_code(jobs, batch, array):
    batch.says("POST", "/jobs", Answer(201, {**array, "indexes": [], "attempts": []}))
    batch.says("GET", "/jobs/train-x7k2p", {**array, "state": "failed", "exit_code": 2, "message": "1 of 4 failed: 3."})
    ran = jobs("submit", "--wait", "--array", "1-7:2%2", "--", "hostname")
    assert (ran.code, ran.out) == (2, "")
    assert "train-x7k2p failed: 1 of 4 failed: 3." in ran.err
