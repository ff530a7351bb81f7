"""JupyterHub notebooks and batch jobs that run as the user who started them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .configuration import configure
    from .spawner import ResearchSpawner

__all__ = ["ResearchSpawner", "configure"]

# Imported only on use, because the command line, the client's archive and the embedded cluster work without JupyterHub.
_MODULES = {"ResearchSpawner": ".spawner", "configure": ".configuration"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)
