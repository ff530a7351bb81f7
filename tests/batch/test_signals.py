"""A job that is cancelled or over its wall time: its programs get SIGTERM, and time to save."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import Client, small_site
from patience import eventually

from jupyter_research_spawner.site import Site

pytestmark = pytest.mark.embedded

PROGRAM = """
import os, signal, sys, time
home = os.environ["HOME"]
def save(*_):
    open(home + "/saved-" + sys.argv[1], "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
open(home + "/ready-" + sys.argv[1], "w").close()
time.sleep(600)
"""


@pytest.fixture
def batch_site() -> Site:
    return small_site({"profiles": {"small": {"pod": {"terminationGracePeriodSeconds": 60}}}})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    found = tmp_path / "home" / "alice"
    (found / "program.py").write_text(PROGRAM)
    (found / "run.sh").write_text(f"#!/bin/bash\n{sys.executable} $HOME/program.py script\necho after\n")
    (found / "run.sh").chmod(0o755)
    return found


@pytest.mark.parametrize(
    ("name", "command", "wishes"),
    [
        ("program", [sys.executable, "/home/alice/program.py", "program"], {}),
        ("shell", ["bash", "-c", f"{sys.executable} $HOME/program.py shell; echo after"], {}),
        ("script", ["./run.sh"], {"workdir": "~"}),
        ("array", ["bash", "-c", f"{sys.executable} $HOME/program.py array; echo after"], {"array": "7"}),
    ],
    ids=["program", "shell", "script", "array"],
)
async def test_the_program_of_a_cancelled_job_can_save(
    batch: Client, home: Path, name: str, command: list[str], wishes: dict[str, str]
) -> None:
    kind = {"kind": "array"} if "array" in wishes else {}
    submitted = await batch.submit("alices", *command, **kind, **wishes)
    await eventually((home / f"ready-{name}").exists)
    status, answer = await batch.ask("alices", "DELETE", f"/jobs/{submitted['id']}")
    assert status in (200, 202, 204), answer
    await eventually((home / f"saved-{name}").exists)


async def test_the_program_of_a_job_over_its_wall_time_can_save(batch: Client, home: Path) -> None:
    command = ["bash", "-c", f"{sys.executable} $HOME/program.py late; echo after"]
    await batch.submit("alices", *command, wall_time="8s")
    await eventually((home / "saved-late").exists)
