"""JupyterHub notebooks and batch jobs that run as the user who started them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .configuration import configure

__all__ = ["configure"]


def __getattr__(name: str) -> Any:
    # Imported only on use, because the command line, the client's archive and the embedded cluster work without
    # JupyterHub.
    if name == "configure":
        from .configuration import configure  # noqa: PLC0415

        return configure
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
