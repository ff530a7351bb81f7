"""Read the files that the command line names: settings, helm values that contain settings, and jupyterhub_config.py."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traitlets.config.loader import Config, PyFileConfigLoader

from ..chart_values import has_path
from ..settings import Document, Places, SettingsError, merge_values, read_document
from ..settings.places import Place
from ..settings.problems import Problem, collect, located
from ..site import Site, load_documents
from ..wording import format_list

RESEARCH = "custom.research"


@dataclass(frozen=True)
class SettingsFile:
    """A file named on the command line.

    `-f` names Helm values.  `--site` names settings, or Helm values that contain settings.
    """

    path: Path
    is_values: bool = False

    @classmethod
    def of_values(cls, text: str) -> SettingsFile:
        """Return a file of helm values.  As for helm, `-` is the standard input."""
        return cls(Path("/dev/stdin" if text == "-" else text), is_values=True)

    @classmethod
    def of_settings(cls, text: str) -> SettingsFile:
        """Return a file of settings, or of helm values with settings under `custom.research`."""
        return cls(Path(text))

    def read(self) -> Document:
        """Return the content in the structure of helm values.  Raises SettingsError."""
        document = read_document(self.path)
        return document if self.is_values or "custom" in document.data else document.under(RESEARCH)


@dataclass(frozen=True)
class SettingsFiles:
    """The site of the files of a command, and the merged helm values that contain its settings.

    `values` keeps each null that is the last value of its key, as helm does before it merges the values with the
    defaults of a chart.  `places` knows the lines of settings, and `places_of_values` those of all values.
    """

    site: Site
    values: dict[str, Any]
    places: Places
    places_of_values: Places
    base: Path

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Add the file and the line to the problems of a SettingsError: paths of settings, and of helm values."""
        with located(self.places, self.places_of_values):
            yield


def read_files(files: Sequence[SettingsFile]) -> SettingsFiles:
    """Merge these files from first to last, as helm merges values, and return what they contain.

    Raises SettingsError with all problems.
    """
    return merge_documents(files, read_documents(files))


def read_documents(files: Sequence[SettingsFile]) -> list[Document]:
    """Return the contents of the files, as helm values.  Raises SettingsError if a file cannot be read.

    A pipe, as in `lint -f -`, can be read only once.
    """
    return _of_hub(collect(files, SettingsFile.read))


def merge_documents(files: Sequence[SettingsFile], documents: Sequence[Document]) -> SettingsFiles:
    """Return what these contents of the files are together.  Raises SettingsError with all problems of the settings."""
    settings = collect(documents, lambda document: document.below(RESEARCH))
    if not any(document.data for document in settings) and any(document.data for document in documents):
        named = format_list(str(file.path) for file in files)
        raise SettingsError([Problem(RESEARCH, f"is missing in the helm values {named}")])
    site, places = load_documents(settings)
    values, places_of_values = merged_values(documents)
    return SettingsFiles(site, values, places, places_of_values, base_of(files))


def merged_values(documents: Sequence[Document]) -> tuple[dict[str, Any], Places]:
    """Return the merged helm values, whose settings need not be valid, and their places."""
    values = merge_values(*(document.data for document in documents))
    return values, Places(tuple(document.spots for document in documents))


def base_of(files: Sequence[SettingsFile]) -> Path:
    """Return the directory to which relative paths in the settings are relative."""
    return files[0].path.parent.absolute()


# The paths of Zero to JupyterHub's values: in its own chart, and in charts that have it as a dependency.
_PLACES_OF_HUB = ("", "jupyterhub", "binderhub.jupyterhub", "basehub.jupyterhub")

# The depth of charts that depend on others, in which the values of Zero to JupyterHub are looked for.
_DEPTH_OF_CHARTS = 3


def _of_hub(documents: list[Document]) -> list[Document]:
    """Return the parts of the files that are values of Zero to JupyterHub.

    Raises SettingsError if settings are beside these values, where the hub does not get them.
    """
    nested = [place for document in documents for place in _with_singleuser(document.data)]
    for place in (*_PLACES_OF_HUB, *nested):
        with suppress(SettingsError):  # a chart can have a scalar under such a name
            parts = [document.below(place) if place else document for document in documents]
            if any({"hub", "singleuser"} & part.data.keys() for part in parts):
                break
    else:
        return _with_custom(documents)
    misplaced = [document for document in documents if place and has_path(document.data, ("custom", "research"))]
    if misplaced and not any("custom" in part.data for part in parts):
        why = f"is beside {place}, so the hub does not get it. Move it to {place}.{RESEARCH}"
        raise SettingsError([Problem(RESEARCH, why).located(Places((one.spots,))) for one in misplaced])
    return parts


def _with_custom(documents: list[Document]) -> list[Document]:
    """Return the parts of the files that have `custom`, in which settings are."""
    for place in _PLACES_OF_HUB:
        with suppress(SettingsError):
            parts = [document.below(place) if place else document for document in documents]
            if any("custom" in part.data for part in parts):
                return parts
    return documents


def _with_singleuser(values: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of maps with the chart's key `singleuser`, from outside to inside."""
    for key, below in values.items() if path.count(".") < _DEPTH_OF_CHARTS else ():
        if isinstance(key, str) and isinstance(below, dict) and "." not in key and key != "custom":
            at = f"{path}.{key}".removeprefix(".")
            if isinstance(below.get("singleuser"), dict):
                yield at
            yield from _with_singleuser(below, at)


def read_config(file: Path) -> tuple[Config, list[Problem]]:
    """Run a jupyterhub_config.py; return its configuration, and the problems in a SettingsError of `configure`.

    Raises SettingsError with the line that failed.
    """
    if not file.is_file():
        raise SettingsError([Problem("", "is not a file", Place(str(file)))])
    loader = PyFileConfigLoader(file.name, path=str(file.parent.absolute()))
    try:
        loader.load_config()
    except SettingsError as error:
        return loader.config, error.problems
    except (Exception, SystemExit) as error:  # the file is a program, which can raise anything
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(file.name)
        ]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
        message = getattr(error, "msg", None) if isinstance(error, SyntaxError) else str(error)
        raise SettingsError([Problem("", f"{type(error).__name__}: {message}", Place(str(file), line))]) from None
    return loader.config, []
