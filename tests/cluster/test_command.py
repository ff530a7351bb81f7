"""`make cluster` and `make cluster-down`: one is left up, whoever started it, and goes with all that it had."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import belongings
from rig import processes, programs
from rig.api import until

RIG = Path(programs.__file__).parents[1]
A_QUICK_ONE = "test_an_unknown_field_is_refused"


def test_a_cluster_is_left_up_and_ended(state: Path) -> None:
    said = command("up", state)
    kubeconfig = said.split("export KUBECONFIG=")[1].split("\n")[0]
    assert f"make demo KUBECONFIG={kubeconfig}\n" in said
    kubectl = [programs.Programs().binary("kubectl"), f"--kubeconfig={kubeconfig}", "get", "nodes", "--no-headers"]
    nodes = subprocess.run(kubectl, check=True, capture_output=True, text=True).stdout
    assert re.fullmatch(r"node +Ready .*\n", nodes)

    assert command("down", state) == "Nothing of the cluster runs any more.\n"
    assert not any(belongings.of(state).values())
    assert command("down", state) == "Nothing of the cluster runs any more.\n"


def test_the_next_run_of_the_tests_ends_what_a_killed_one_left(tmp_path: Path) -> None:
    """Of two runs that have a TMPDIR of their own, so that they are not this one."""
    run = [sys.executable, "-m", "pytest", "-q", f"{Path(__file__).with_name('test_control_plane.py')}::{A_QUICK_ONE}"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = subprocess.Popen(run, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (state,) = until(lambda: list(tmp_path.glob("rig-*/*-shared")), "it has a cluster")
    until(lambda: processes.running(state), "something of it runs")
    killed.kill()
    killed.wait()
    left = belongings.of(state)
    assert left["processes"] and left["links"]

    again = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout
    assert not any(belongings.of(state).values())


def command(verb: str, state: Path) -> str:
    """What it prints, when it has ended: what it started stays."""
    words = [sys.executable, "-m", "rig", verb, "--state", state]
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": str(RIG)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
