"""JupyterHub notebooks and batch jobs that run as the user who started them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .configuration import configure
    from .spawner import ResearchSpawner

__all__ = ["ResearchSpawner", "configure"]


def __getattr__(name: str) -> Any:
    # Imported only on use, because the command line, the client's archive and the embedded cluster work without
    # JupyterHub.
    if name == "configure":
        from .configuration import configure  # noqa: PLC0415

        return configure
    if name == "ResearchSpawner":
        from .spawner import ResearchSpawner  # noqa: PLC0415

        return ResearchSpawner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
