"""The sources we know.  Adding one is adding a module and its name here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union, cast

from pydantic import Discriminator, Tag

from . import static
from .base import SourceKind, SourceOptions

SOURCES: dict[str, SourceKind] = {module.KIND: cast(SourceKind, module) for module in (static,)}


def _tag(options: Any) -> str:
    kind = options.get("kind") if isinstance(options, dict) else getattr(options, "kind", None)
    return f"[{kind}]"


if TYPE_CHECKING:
    AnyOptions = SourceOptions
else:
    # A tag in brackets is no part of the path that an error shows: the site did not write it.
    AnyOptions = Annotated[
        Union[tuple(Annotated[source.Options, Tag(f"[{kind}]")] for kind, source in SOURCES.items())],  # noqa: UP007
        Discriminator(
            _tag,
            custom_error_type="unknown_kind",
            custom_error_message=f"the kind of a source is one of {', '.join(sorted(SOURCES))}",
        ),
    ]
