"""The registry of identity sources: a new source is one module and one entry in `_MODULES`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Discriminator, Tag

from . import nss, static
from .source_interface import SourceKind, SourceOptions

# Typed, and one module a line, so that mypy shows the module that lacks a member of SourceKind.
_MODULES: list[SourceKind] = [
    static,
    nss,
]

SOURCES: dict[str, SourceKind] = {module.KIND: module for module in _MODULES}


def _kind(options: Any) -> str:
    return str(options.get("kind") if isinstance(options, dict) else getattr(options, "kind", None))


if TYPE_CHECKING:
    AnyOptions = SourceOptions
else:
    # `discriminator="kind"` would be shorter, but its error for a missing kind is hard to understand.
    AnyOptions = Annotated[
        Union[tuple(Annotated[source.Options, Tag(kind)] for kind, source in SOURCES.items())],  # noqa: UP007
        Discriminator(
            _kind,
            custom_error_type="unknown_kind",
            custom_error_message=f"kind is missing or unknown. Allowed kinds of sources: {', '.join(sorted(SOURCES))}",
        ),
    ]
