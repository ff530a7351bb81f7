"""binder/: what repo2docker reads, and the commands of the notebook.

`make test-binder` does what Binder does, and executes the notebook.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import nbformat
import pytest

from jupyter_research_spawner.cli import main

TREE = Path(__file__).parent.parent
BINDER = TREE / "binder"


def test_binder_makes_the_environment_with_pip_alone() -> None:
    assert {path.name for path in BINDER.iterdir()} == {
        *("demo.ipynb", "postBuild", "requirements.txt", "runtime.txt", "start")
    }
    assert re.fullmatch(r"python-3\.1[0-4]\n", (BINDER / "runtime.txt").read_text())


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_scripts_can_be_run(name: str) -> None:
    script = BINDER / name
    assert os.access(script, os.X_OK), "repo2docker runs it as a program"
    subprocess.run(["sh", "-n", script], check=True)


def test_scripts_name_files_that_exist() -> None:
    words = shlex.split((BINDER / "postBuild").read_text(), comments=True)
    assert {"tools/npm_package.sh", "requirements.lock"} <= set(words)
    assert (TREE / "tools" / "npm_package.sh").exists()


def test_start_puts_proxy_and_node_on_the_path_and_hands_over(tmp_path: Path) -> None:
    done = subprocess.run(
        [BINDER / "start", "sh", "-c", 'echo "$PATH"'], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    proxy, node, *_ = done.stdout.split(":")
    assert proxy == f"{tmp_path}/node_modules/.bin"
    assert (Path(node) / "node").exists()


def commands() -> list[str]:
    notebook = nbformat.read(BINDER / "demo.ipynb", as_version=4)
    nbformat.validate(notebook)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return [line[1:] for source in sources for line in source.splitlines() if line.startswith("!")]


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
