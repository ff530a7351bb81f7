"""What the tutorial tells a new site to write works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from traitlets.config import Config

from jupyter_research_spawner.cli import main
from jupyter_research_spawner.site import load

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial" / "first-site.md").read_text()


def block(language: str) -> str:
    [text] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return text


@pytest.fixture
def site_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.yaml").write_text(block("yaml"))
    return tmp_path / "site.yaml"


def test_its_settings_are_a_site_that_everybody_can_use(site_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(yaml.safe_load(block("yaml")))
    assert main(["lint", "--site", "site.yaml"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("No mistakes.")
    assert "gets no default" not in said


def test_its_configuration_sets_up_a_hub(site_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_TOKEN", "token")
    c = Config()
    exec(block("python"), {"get_config": lambda: c})
    assert c.JupyterHub.spawner_class == "jupyter_research_spawner.spawner.ResearchSpawner"
    assert [service["name"] for service in c.JupyterHub.services] == ["batch"]


def test_its_configuration_has_about_ten_lines() -> None:
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 11


def test_its_commands_are_there() -> None:
    for command in re.findall(r"^research-spawner (\w+)", PAGE, re.MULTILINE):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
