"""binder/: what repo2docker reads is there and runs, and the notebook names only what exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import nbformat
import pytest
import yaml

from jupyter_research_spawner.cli import main

TREE = Path(__file__).parent.parent
BINDER = TREE / "binder"


def test_the_environment_has_what_the_demo_needs() -> None:
    names = {entry.split("=")[0] for entry in yaml.safe_load((BINDER / "environment.yml").read_text())["dependencies"]}
    assert names == {"python", "nodejs"}


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_scripts_can_be_run(name: str) -> None:
    script = BINDER / name
    assert os.access(script, os.X_OK), "repo2docker runs it as a program"
    subprocess.run(["sh", "-n", script], check=True)


def test_scripts_name_files_that_exist() -> None:
    words = shlex.split((BINDER / "postBuild").read_text(), comments=True)
    assert {"tools/npm_package.sh", "requirements.lock"} <= set(words)
    assert (TREE / "tools" / "npm_package.sh").exists()


def test_post_build_installs_the_proxy_with_the_node_of_the_environment(tmp_path: Path) -> None:
    for name in ("python3", "node"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>"$PWD/calls"\n')
        program.chmod(0o755)
    (tmp_path / "tools").symlink_to(TREE / "tools")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    subprocess.run(["sh", BINDER / "postBuild"], cwd=tmp_path, env={**os.environ, "PATH": path}, check=True)
    installed = (tmp_path / "calls").read_text().splitlines()[-1]
    assert installed.startswith(f"node {tmp_path}/bin/../lib/node_modules/npm/bin/npm-cli.js install ")
    assert f"--prefix {tmp_path} configurable-http-proxy@" in installed


def test_start_puts_the_proxy_on_the_path_and_hands_over(tmp_path: Path) -> None:
    done = subprocess.run(
        [BINDER / "start", "sh", "-c", 'echo "$PATH"'], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{tmp_path}/node_modules/.bin:")


def commands() -> list[str]:
    notebook = nbformat.read(BINDER / "demo.ipynb", as_version=4)
    nbformat.validate(notebook)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return [line[1:] for source in sources for line in source.splitlines() if line.startswith("!")]


def test_the_notebook_runs_the_tour() -> None:
    assert "python3 -m jupyter_research_spawner.demo --tour only" in commands()


def test_the_notebook_shows_what_its_text_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(TREE)
    shown = [line for line in commands() if line.startswith("research-spawner ")]
    codes = [main(shlex.split(re.sub(r"\|.*", "", line))[1:]) for line in shown]
    assert codes == [0, 1, 0]
    told = capsys.readouterr()
    assert "Queue 'Climate' requires membership in group climate" in told.err
    assert "because classes.stats-101.profile sets it" in told.out
