"""Read the files that the command line names: settings, helm values that contain settings, and jupyterhub_config.py."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from traitlets.config.loader import Config, PyFileConfigLoader

from ..settings import SettingsError, merge, read
from ..site import Site, load


def read_site(files: Sequence[Path]) -> Site:
    """Merge these settings files from first to last, and return the Site.  Raises SettingsError."""
    return load(*(_settings(file) for file in files))


def _settings(file: Path) -> dict[str, Any]:
    """Return the settings in a file.  Helm values contain them under the key `custom.research`."""
    found = read(file)
    if "custom" not in found:
        return found
    custom = found["custom"]
    research = custom.get("research") if isinstance(custom, dict) else None
    if not isinstance(research, dict):
        raise SettingsError.single(str(file), "is a helm values file without settings under custom.research")
    return research


def read_added_containers(files: Sequence[Path]) -> dict[str, Any]:
    """Return the sidecars and init containers that helm values add to a notebook.  Raises SettingsError."""
    found = merge(*(read(file) for file in files))
    singleuser = found.get("singleuser") if "custom" in found else None
    if not isinstance(singleuser, dict):
        return {}
    return {"containers": singleuser.get("extraContainers"), "initContainers": singleuser.get("initContainers")}


def base_directory(files: Sequence[Path]) -> Path:
    """Return the first file's directory, to which relative paths in the settings are relative."""
    return files[0].parent.absolute()


def read_config(file: Path) -> Config:
    """Run a jupyterhub_config.py and return its configuration.  Raises SettingsError with the line that failed."""
    if not file.is_file():
        raise SettingsError.single(str(file), "is not a file")
    try:
        config: Config = PyFileConfigLoader(file.name, path=str(file.parent.absolute())).load_config()
    except Exception as error:  # the file is a program, which can raise anything
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(file.name)
        ]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
        where = f"line {line}: " if line else ""
        raise SettingsError.single(str(file), f"{where}{type(error).__name__}: {error}") from None
    return config
