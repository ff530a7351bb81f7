"""Layers of Python packages: a virtual environment on top of a Debian, and a project's own wheel on top of that.

Contract: pip's own configuration and environment say where packages come from; seen with pip 26.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .layers import CannotBuildImage, run

# On every PATH, and the place where Jupyter looks for its own files.
ENVIRONMENT = "usr/local"
# Of pure Python, so that one layer does for every version of the environment's Python.
PROJECT = "usr/local/lib/project"
# Half of all files, and none that a notebook server reads: what the hub's pages load, other languages' calendars,
# tests, and sources of what browsers load.
_LEFT_OUT = re.compile(
    r"/share/jupyterhub/static/components$"
    r"|/babel/locale-data/(?!root|en)"
    r"|/site-packages/.*/tests$"
    r"|\.(js\.map|pyi)$"
)

# The image's /usr on this machine's /etc and home: its own Python installs with the settings of this machine's pip, and
# nothing of them comes into the image.  In a mount namespace, which ends with it.
_INSIDE = """
mount --bind "$1" "$2/usr/local"
mount --rbind "$2/usr" /usr
shift 2
exec "$@"
"""


def keep(path: str) -> bool:
    return not _LEFT_OUT.search(path)


def install(
    debian: Path, tree: Path, work: Path, *, packages: Sequence[str], constraints: Path, started: Sequence[str]
) -> None:
    """A virtual environment with `packages` in `tree`.

    started: modules that a start imports: just these are compiled, as users cannot do it there.
    """
    environment = tree / ENVIRONMENT
    environment.mkdir(parents=True)
    pip = _copy_of_pip(work)
    inside: list[str | Path] = ["unshare", "--mount", "--propagation=private", "sh", "-ec", _INSIDE, "sh"]
    inside += [environment, debian]
    run([*inside, "/usr/bin/python3", "-m", "venv", "--without-pip", "/usr/local"])
    python = "/usr/local/bin/python3"
    command = ["install", "--no-compile", "--only-binary=:all:", "--no-warn-script-location"]
    run(
        [*inside, python, "-B", "-m", "pip", *command, f"--constraint={constraints}", *packages],
        environment={**os.environ, "PYTHONPATH": str(pip), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        directory=work,
    )
    run(
        [*inside, python, "-c", f"import {', '.join(started)}"],
        environment={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(work)},
    )
    (site_packages,) = environment.glob("lib/python3.*/site-packages")
    (site_packages / "project.pth").write_text(f"/{PROJECT}\n")


def install_project(sources: Path, tree: Path, work: Path) -> None:
    """The packages of a project's wheel, without what they need and without scripts."""
    copy = work / "sources"
    for file in files_of(sources):  # setuptools writes beside the sources that it builds from
        target = copy / file.relative_to(sources)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
    run([sys.executable, "-m", "pip", "wheel", "--no-deps", f"--wheel-dir={work}", copy], directory=work)
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tree / PROJECT)


def files_of(sources: Path) -> list[Path]:
    """What the wheel of a project is made of: its packages and the files beside them."""
    return sorted(_files(sources))


def _files(sources: Path) -> Iterator[Path]:
    for entry in sources.iterdir():
        if entry.is_file() and not entry.name.startswith("."):
            yield entry
        elif (entry / "__init__.py").exists():
            yield from (file for file in entry.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def texts_of(files: Iterable[Path], base: Path) -> Iterator[bytes]:
    """Names and contents, for a digest."""
    for file in files:
        yield str(file.relative_to(base)).encode()
        yield file.read_bytes()


def _copy_of_pip(work: Path) -> Path:
    """A directory with this Python's pip alone, which the image's Python can run."""
    found = importlib.util.find_spec("pip")
    if found is None or found.origin is None:
        raise CannotBuildImage(f"{sys.executable} has no pip: `{sys.executable} -m ensurepip` installs it.")
    directory = work / "pip"
    shutil.copytree(Path(found.origin).parent, directory / "pip", ignore=shutil.ignore_patterns("__pycache__"))
    return directory
