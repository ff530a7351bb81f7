"""`python -m jupyter_research_spawner.batch` where it cannot start: one sentence, and no secret in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub import SITE

from jupyter_research_spawner.batch.__main__ import main

SECRET = "the-token-of-an-administrator"


@pytest.mark.parametrize(
    "text", [f"users: [{{name: admin, user: {{token: {SECRET}}}}}]\n", f'token: "{SECRET}\n', f"[{SECRET}]"]
)
def test_a_kubeconfig_that_cannot_be_used_is_told_without_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "site.yaml").write_text(json.dumps(SITE))
    config = tmp_path / "config"
    config.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of-the-service")
    monkeypatch.setenv("JUPYTERHUB_API_URL", "http://127.0.0.1:1/hub/api")
    monkeypatch.setattr("sys.argv", ["batch", "--site", str(tmp_path / "site.yaml")])
    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith(f"The kubeconfig {config} cannot be used: ")
    assert said.count("\n") == 1
    assert SECRET not in said
