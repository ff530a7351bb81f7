"""SIGTERM and the programs of a job: jobs/signal_forwarding.py, with the shells of this machine."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from patience import eventually
from samples import decide, person, site_with

from jupyter_research_spawner.jobs import job
from jupyter_research_spawner.jobs.request import JobRequest
from jupyter_research_spawner.jobs.signal_forwarding import MARK, SCRIPT, forwarding_words

SHELLS = {"dash": ["dash"], "bash": ["bash"], "busybox": ["busybox", "sh"]}
PRESENT = {name: words for name, words in SHELLS.items() if shutil.which(words[0])}
# Writes `ready` when it can be stopped, and `saved` some time after SIGTERM.
PROGRAM = """
import pathlib, signal, sys, time
here = pathlib.Path(sys.argv[1])
def save(*_):
    time.sleep(0.5)
    (here / "saved").write_text("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
(here / "ready").write_text(str(signal.getsignal(signal.SIGINT) is signal.default_int_handler))
time.sleep(600)
"""


@pytest.fixture(params=PRESENT.values(), ids=list(PRESENT))
def shell(request: pytest.FixtureRequest) -> list[str]:
    return list(request.param)


class Running:
    """A command of a job, as the container's shell runs it."""

    def __init__(self, shell: list[str], command: list[str], script: str = SCRIPT, **env: str) -> None:
        words = [*shell, "-c", script, MARK, *command]
        self.process = subprocess.Popen(words, start_new_session=True, env={**ENVIRONMENT, **env})

    def exit_code(self) -> int:
        return self.process.wait(60)


ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


@pytest.fixture
def python(tmp_path: Path) -> Iterator[list[str]]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    yield [sys.executable, str(program), str(tmp_path)]


@pytest.mark.parametrize(
    "command",
    ["{python}; echo after", "true && {python} | cat", "{python} & wait", "sh -c '{python}; :'; :"],
    ids=["then", "pipe", "background", "nested"],
)
async def test_a_program_below_a_shell_can_save_before_its_job_ends(
    shell: list[str], command: str, python: list[str], tmp_path: Path
) -> None:
    words = " ".join(python)
    running = Running(shell, ["bash", "-c", command.format(python=words)])
    await eventually((tmp_path / "ready").exists)
    running.process.send_signal(signal.SIGTERM)
    assert running.exit_code() != 0
    assert (tmp_path / "saved").read_text() == "saved"


async def test_a_program_keeps_its_exit_code_and_its_sigint(
    shell: list[str], python: list[str], tmp_path: Path
) -> None:
    running = Running(shell, python)
    await eventually((tmp_path / "ready").exists)
    running.process.send_signal(signal.SIGTERM)
    assert running.exit_code() == 0
    assert (tmp_path / "ready").read_text() == "True"


@pytest.mark.parametrize("before", ["RESEARCH_PROGRAM=$!", 'kill -0 "$RESEARCH_PROGRAM" ||'], ids=["start", "end"])
async def test_a_slow_shell_neither_loses_a_sigterm_nor_an_exit_code(
    shell: list[str], before: str, python: list[str], tmp_path: Path
) -> None:
    """The program is ready before the shell knows its number, or has ended before the shell looks whether it has."""
    assert SCRIPT.count(before) == 1
    running = Running(shell, python, SCRIPT.replace(before, f"sleep 2; {before}"))
    await eventually((tmp_path / "ready").exists)
    running.process.send_signal(signal.SIGTERM)
    assert running.exit_code() == 0
    assert (tmp_path / "saved").read_text() == "saved"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "exit 0"], 0),
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", 'test "$1" = "a b"', "sh", "a b"], 0),
        (["sh", "-c", 'test "$RESEARCH_PROFILE" = small -a -z "$RESEARCH_PROGRAM"'], 0),
        (["/no/such/program"], 127),
    ],
    ids=["succeeds", "fails", "killed", "words", "variables", "missing"],
)
def test_the_exit_code_is_that_of_the_command(shell: list[str], command: list[str], code: int) -> None:
    assert Running(shell, command, RESEARCH_PROFILE="small").exit_code() == code


def test_without_setsid_the_command_runs_too(shell: list[str], tmp_path: Path) -> None:
    for name in {"sh", "true", "sleep", shell[0]}:
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    if shell[0] != "busybox":  # busybox is setsid itself
        assert Running(shell, ["sh", "-c", "exit 5"], PATH=str(tmp_path)).exit_code() == 5


@pytest.mark.parametrize(
    ("command", "is_forwarded"),
    [
        (["bash", "-c", "python train.py; echo done"], True),
        (["/bin/sh", "run.sh"], True),
        (["./run.sh"], True),
        (["bin/train"], True),
        (["/home/alice/run.sh"], True),
        (["/project/climate/run.sh"], True),
        (["python", "train.py"], False),
        (["/usr/bin/python3", "train.py"], False),
        (["/homes/run.sh"], False),
    ],
)
def test_only_shells_and_files_of_users_are_forwarded_to(command: list[str], is_forwarded: bool) -> None:
    assert bool(forwarding_words(command, ["/home/alice", "/project/climate"])) is is_forwarded


def test_a_job_keeps_the_users_command_as_it_is() -> None:
    site = site_with()
    request = JobRequest(command=["bash", "-c", "echo $HOME"])
    decided = decide(site, person("alice"), "job")
    manifest = job.manifest(decided, request, site.batch)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["command"][0] == "/bin/sh"
    assert container["args"] == ["bash", "-c", "echo $$HOME"]
    assert job.request_fields(manifest)["command"] == ["bash", "-c", "echo $HOME"]
