"""make starts an interrupted installation again; uv gets the package index that pip is configured with."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from patience import PATIENCE_SECONDS, eventually

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")
PROJECT = """
[project]
name = "small"
version = "1"
optional-dependencies = { demo = [], test = [], check = [] }
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
# The first installation waits until it is killed.
BACKEND = """
import os, pathlib, time, zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    pathlib.Path("installing").touch()
    while os.environ.get("SLOW"):
        time.sleep(0.1)
    name = "small-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.writestr("small-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: small\\nVersion: 1\\n"
            "Provides-Extra: demo\\nProvides-Extra: test\\nProvides-Extra: check\\n")
        wheel.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("small-1.dist-info/RECORD", "")
    return name
"""


def make(folder: Path, **more: str) -> subprocess.Popen[bytes]:
    """Start make in a small project with our Makefile, and with a real uv that needs no network."""
    environment = {**os.environ, "UV_CACHE_DIR": str(folder / "cache"), "UV_OFFLINE": "true", **more}
    target = f".venv/{sys.version_info.major}.{sys.version_info.minor}/demo.stamp"
    # Tests that were started in the background ignore SIGINT, which programs inherit (sh(1), `&`).
    command = ["env", "--default-signal=INT", "make", "--old-file=.venv/uv/uv.stamp"]
    command += [f"PYTHON={sys.executable}", f"UV={UV}", target]
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_an_interrupted_installation_is_begun_anew(tmp_path: Path, number: signal.Signals) -> None:
    if not UV.exists():
        pytest.skip(f"there is no {UV}: `make test` installs it")
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name, text in (("pyproject.toml", PROJECT), ("backend.py", BACKEND), ("setup.cfg", "")):
        (tmp_path / name).write_text(text)
    (tmp_path / "requirements.lock").touch()
    (tmp_path / ".venv" / "uv").mkdir(parents=True)
    (tmp_path / ".venv" / "uv" / "uv.stamp").touch()

    await interrupt(tmp_path, number)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    site_packages = tmp_path / ".venv" / version / "lib" / f"python{version}" / "site-packages"
    half_a_package = site_packages / "half.py"
    half_a_package.touch()
    assert make(tmp_path).wait(PATIENCE_SECONDS) == 0
    assert not half_a_package.exists()
    assert (site_packages / "small-1.dist-info").is_dir()

    half_a_package.touch()
    assert make(tmp_path).wait(PATIENCE_SECONDS) == 0
    assert half_a_package.exists(), "make replaced a finished environment"

    # A newer lock file is installed into the finished environment, and that is interrupted, too.
    for name in ("pyproject.toml", "requirements.lock"):
        (tmp_path / name).touch()
    await interrupt(tmp_path, number)
    assert make(tmp_path).wait(PATIENCE_SECONDS) == 0
    assert not half_a_package.exists()


async def interrupt(folder: Path, number: signal.Signals) -> None:
    """Kill make in the middle of an installation."""
    installing = folder / "installing"
    installing.unlink(missing_ok=True)
    running = make(folder, SLOW="1")
    await eventually(installing.exists)
    os.killpg(running.pid, number)
    assert running.wait(PATIENCE_SECONDS) != 0


@pytest.fixture(scope="module")
def uv() -> ModuleType:
    """Return tools/uv.py, which is not part of a package."""
    spec = importlib.util.spec_from_file_location("uv_with_pip_settings", ROOT / "tools" / "uv.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_uv_gets_the_index_that_pip_is_configured_with(uv: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror.example/simple\ntimeout = 7\n"
        "[install]\ntrusted-host = a.example\n    b.example\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_EXTRA_INDEX_URL": "https://a/b=c https://d"}
    listed = subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], env=environment, text=True)
    found = uv.variables(listed)
    assert found["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert found["UV_INDEX"] == "https://a/b=c https://d"
    assert found["UV_INSECURE_HOST"] == "a.example b.example"
    assert found["UV_HTTP_TIMEOUT"] == "7"


def test_the_environment_overrides_pips_files(uv: ModuleType) -> None:
    listed = (
        "global.index-url='https://file'\n:env:.index-url='https://environment'\ninstall.index-url='https://install'"
    )
    assert uv.variables(listed) == {"UV_DEFAULT_INDEX": "https://environment"}
