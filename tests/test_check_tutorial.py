"""tools/check_tutorial.py finds each step of the tutorial.  It runs them on a cluster, which these tests do not."""

from __future__ import annotations

import importlib.util
import json
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from doc_pages import TREE


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_tutorial", TREE / "tools" / "check_tutorial.py")
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_files_of_the_page_are_written(check: ModuleType, tmp_path: Path) -> None:
    check.Tutorial(Namespace(registry="localhost:5000", helm_repository="here"), tmp_path).write_files()
    site = yaml.safe_load((tmp_path / "site.yaml").read_text())
    assert site["hub"]["image"]["name"] == "localhost:5000/research-hub"
    assert [found["metadata"]["name"] for found in yaml.safe_load_all((tmp_path / "volumes.yaml").read_text())] == [
        *("test-home", "home", "test-course", "course-stats-101"),
    ]
    assert yaml.safe_load((tmp_path / "hub-database.yaml").read_text())["spec"]["claimRef"]["name"] == "hub-db-dir"
    assert (tmp_path / "people.passwd").read_text().startswith("alice:x:20001:")


def test_the_installation_and_the_removal_use_the_commands_of_the_page(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With programs that only write down how they were called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    called = tmp_path / "called"
    for name in ("kubectl", "helm", "research-spawner", "install", "mkdir"):
        (programs / name).write_text(
            f"#!{sys.executable}\nimport json, sys\n"
            f"open({str(called)!r}, 'a').write(json.dumps([{name!r}, *sys.argv[1:]]) + '\\n')\n"
        )
        (programs / name).chmod(0o700)
    options = Namespace(registry="localhost:5000", helm_repository="here", node_shell="sh", has_image=True)
    tutorial = check.Tutorial(options, tmp_path)
    tutorial.environment["PATH"] = f"{programs}:{tutorial.environment['PATH']}"
    tutorial.install()
    tutorial.remove()
    lines = [json.loads(line) for line in called.read_text().splitlines()]
    values = ["-f", "base.yaml", "-f", "batch.yaml", "-f", "classes/stats-101.yaml", "-f", "site.yaml"]
    assert ["install", "-d", "-m", "700", "-o", "20002", "-g", "20002", "/srv/research/home/bob"] in lines
    assert ["research-spawner", "lint", *values] in lines
    assert ["helm", "repo", "add", "jupyterhub", "here"] in lines
    # No default StorageClass was printed, so the volume of the hub's database comes before the chart.
    database = lines.index(["kubectl", "apply", "-f", "hub-database.yaml"])
    assert lines[database + 1][:4] == ["helm", "upgrade", "--install", "jhub"]
    assert lines[database + 1][-8:] == values
    assert ["helm", "uninstall", "jhub", "--namespace", "jhub", "--wait"] in lines
    assert ["research-spawner", "manifests", *values] in lines
