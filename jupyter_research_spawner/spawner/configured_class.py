"""Find the spawner class in a hub's configuration, as the hub does, and the sections that configure the class."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from traitlets import import_item
from traitlets.config import Config

from ..settings import SettingsError
from .research import ResearchSpawner

ENTRY_POINTS = "jupyterhub.spawners"
# The value of c.JupyterHub.spawner_class that `configure` sets.
OWN = "jupyter_research_spawner.spawner.ResearchSpawner"
# Values of c.JupyterHub.spawner_class that mean ResearchSpawner here: the values of the chart and of KubeSpawner.
REPLACED = (None, "kubespawner.KubeSpawner", "kubespawner.spawner.KubeSpawner", "kubernetes")


def configured_class(c: Config) -> type[ResearchSpawner]:
    """Return ResearchSpawner, or its subclass in `c.JupyterHub.spawner_class`.

    The value can be a class, a dotted path or an entry point.  Raises SettingsError if it cannot be imported, or is
    not such a class.
    """
    chosen = c.JupyterHub.get("spawner_class") if "JupyterHub" in c else None
    name = _path(chosen) or chosen
    if name in REPLACED or name == OWN:  # without a search for entry points, which takes long
        return ResearchSpawner
    try:
        found = _load(chosen) if isinstance(chosen, str) else chosen
    except Exception as error:  # an import runs a module of the administrators, which can raise anything
        why = f"cannot be imported ({type(error).__name__}: {error})"
    else:
        if isinstance(found, type) and issubclass(found, ResearchSpawner):
            return found
        why = "is not derived from ResearchSpawner"
    raise SettingsError.single(
        "c.JupyterHub.spawner_class",
        f"is {name!r}, but it {why}. Remove it, or derive your class from ResearchSpawner",
    )


def sections_of(spawner_class: type[ResearchSpawner]) -> tuple[str, ...]:
    """Return the names of the sections that configure the class.  A section replaces values in those after it."""
    return tuple(reversed(spawner_class.section_names()))


def _path(chosen: Any) -> str | None:
    return f"{chosen.__module__}.{chosen.__qualname__}" if isinstance(chosen, type) else None


def _load(name: str) -> Any:
    """Return the class of an entry point or of a dotted path.  Entry points come first, as in JupyterHub."""
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name.lower() == name.lower():
            return entry.load()
    return import_item(name)
