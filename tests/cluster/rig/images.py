"""The images of the cluster's containers, built from Debian's packages, wheels and this project."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import IO

from . import debian, layers, oci, python_layers
from .containerd import SANDBOX_IMAGE
from .layers import Recipe, Say
from .oci import Layer
from .programs import go_environment

JOB = "localhost/rig/job:1"
NOTEBOOK = "localhost/rig/notebook:1"
# The notebook's, with an /etc/group that puts alice into a group of others.
CLAIMS_GROUP = "localhost/rig/claims-group:1"
NAMES = (SANDBOX_IMAGE, JOB, NOTEBOOK, CLAIMS_GROUP)

_PROJECT = Path(__file__).parents[3]
_LOCK = _PROJECT / "requirements.lock"
_SOURCES = Path(__file__).parents[1] / "images"
_NOTEBOOK_PACKAGES = ("jupyterlab", "jupyterhub", "ipykernel")
# The modules that a notebook server and a kernel import when they start.
_NOTEBOOK_START = (
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "jupyter_lsp",
    "jupyter_server.services.api.handlers",
    "jupyter_server.services.contents.handlers",
    "jupyter_server.services.kernels.websocket",
    "jupyter_server.services.sessions.handlers",
    "jupyter_server_terminals.app",
    "jupyterhub.singleuser.app",
    "jupyterhub.singleuser.extension",
    "jupyterlab.labapp",
)
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    # As in images for CUDA, whose containers get all GPUs of a node that has NVIDIA's runtime.
    "NVIDIA_VISIBLE_DEVICES": "all",
}


def build(names: Sequence[str] = NAMES, say: Say = print) -> list[oci.Image]:
    """Return these images, and build those that are not in the cache. Raises CannotBuildImage."""
    return [_IMAGES[name](say) for name in names]


def write(stream: IO[bytes], names: Sequence[str] = NAMES, say: Say = print) -> None:
    """Write an archive with these images, for Node.import_images.  Raises CannotBuildImage."""
    oci.write_archive(stream, build(names, say))


def _pause_image(say: Say) -> oci.Image:
    return oci.Image(SANDBOX_IMAGE, [layers.build(_pause(), say)], entrypoint=["/pause"])


def _job_image(say: Say) -> oci.Image:
    return oci.Image(JOB, [layers.build(_base(), say)], command=["python3"], environment=_ENVIRONMENT)


def _notebook_image(say: Say) -> oci.Image:
    base = layers.build(_base(), say)
    made = [base, layers.build(_environment(base), say), layers.build(_project(), say)]
    return oci.Image(NOTEBOOK, made, command=["jupyterhub-singleuser"], environment=_ENVIRONMENT)


def _claims_group_image(say: Say) -> oci.Image:
    notebook = _notebook_image(say)
    made = [*notebook.layers, layers.build(_claim(), say)]
    return dataclasses.replace(notebook, name=CLAIMS_GROUP, layers=made)


_IMAGES: Mapping[str, Callable[[Say], oci.Image]] = {
    SANDBOX_IMAGE: _pause_image,
    JOB: _job_image,
    NOTEBOOK: _notebook_image,
    CLAIMS_GROUP: _claims_group_image,
}


def _base() -> Recipe:
    made_of = [debian.suite().encode(), *_texts(debian)]
    return Recipe("debian", made_of, debian.make, debian.keep)


def _environment(base: Layer) -> Recipe:
    def make(tree: Path, work: Path) -> None:
        below = work / "debian"
        below.mkdir()
        layers.unpack(base, below)
        python_layers.install(
            below, tree, work, packages=_NOTEBOOK_PACKAGES, constraints=_LOCK, started=_NOTEBOOK_START
        )

    chosen = " ".join([base.sha256, *_NOTEBOOK_PACKAGES, *_NOTEBOOK_START]).encode()
    return Recipe("notebook", [chosen, _LOCK.read_bytes(), *_texts(python_layers)], make, python_layers.keep)


def _project() -> Recipe:
    sources = python_layers.texts_of(python_layers.files_of(_PROJECT), _PROJECT)
    make = functools.partial(python_layers.install_project, _PROJECT)
    return Recipe("project", [*_texts(python_layers), *sources], make)


def _pause() -> Recipe:
    source = _SOURCES / "pause/main.go"

    def make(tree: Path, work: Path) -> None:
        build: list[str | Path] = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", tree / "pause", source]
        layers.run(build, environment=go_environment(), directory=work)

    return Recipe("pause", [source.read_bytes()], make)


def _claim() -> Recipe:
    source = _SOURCES / "claims-group"

    def make(tree: Path, work: Path) -> None:
        shutil.copytree(source, tree, dirs_exist_ok=True)

    return Recipe("claims-group", python_layers.texts_of(sorted(source.glob("etc/*")), source), make)


def _texts(module: ModuleType) -> list[bytes]:
    """Return the source of the module that builds a layer, because the layer depends on it."""
    assert module.__file__
    return [Path(module.__file__).read_bytes()]
