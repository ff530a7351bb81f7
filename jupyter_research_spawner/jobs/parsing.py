"""Validate untrusted JSON from a form, a REST call or the hub's database with a strict model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from ..refusal import Refusal
from ..settings import Settings, SettingsError
from ..settings.units import AskedWallTime
from ..wording import quote

# Names of fields, in lower case and without `_`, that would set the user's identity.  Only the hub may set that.
_IDENTITY_FIELDS = frozenset(
    {"uid", "gid", "groups", "group", "user", "username", "identity", "runasuser", "runasgroup"}
)


def _one_line(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    if not text.isprintable():
        raise ValueError(f"{quote(text)} is not one line of text")
    return text


Choice = Annotated[str, StringConstraints(strict=True, max_length=512), AfterValidator(_one_line)]


class Submitted(Settings):
    """The fields that notebooks and all kinds of job have.  None means the site's default."""

    profile: Choice | None = Field(None, title="Profile", examples=["small"])
    queue: Choice | None = Field(None, title="Queue", examples=["climate"])
    wall_time: AskedWallTime | None = Field(
        None, title="Hard wall time", description="8h, 1h30m, or as for sbatch.", examples=["8h", "4:00:00", "1-12"]
    )
    image: Choice | None = Field(None, title="Name of an image in the settings, or a full image name")


M = TypeVar("M", bound=Settings)


def parse(model: type[M], body: Mapping[Any, Any], what: str, hints: Mapping[str, str]) -> M:
    """Return `body` as an instance of `model`.  Raises Refusal (400) with the first invalid field.

    `what` is the subject of messages ("A job").  `hints` has a hint for each field.
    """
    names = {field.alias or name for name, field in model.model_fields.items()}
    for name in body:
        if name not in names:
            raise _unknown(name, sorted(names), what)
    for name, value in body.items():
        _refuse_unusable_text(name, value)
    try:
        return model.model_validate(body)
    except ValidationError as error:
        problem = SettingsError.of(error, model).problems[0]
        field = problem.path.partition(".")[0]
        # Below the field, the path has keys of maps, which the user chooses.
        where = problem.path[:200] if problem.path.isprintable() else field
        message = problem.message[:500].rstrip(".")
        raise Refusal("invalid", f"{where}: {message}.", field=field, hint=hints.get(field, "")) from None


def _unknown(name: Any, names: list[str], what: str) -> Refusal:
    field = name if isinstance(name, str) and name.isidentifier() and len(name) <= 60 else None
    if isinstance(name, str) and re.sub(r"[^a-z]", "", name.lower()) in _IDENTITY_FIELDS:
        return Refusal(
            "unknown-field",
            f"There is no field {quote(name)}, because the hub determines your identity.",
            field=field,
            hint="Remove this field. Everything that you start runs as you.",
        )
    close = difflib.get_close_matches(name[:60], names, n=1) if isinstance(name, str) else []
    return Refusal(
        "unknown-field",
        f"There is no field {quote(name)}.",
        field=field,
        hint=f"Did you mean {close[0]!r}?" if close else f"{what} has the fields {', '.join(names)}.",
    )


def _refuse_unusable_text(field: str, value: Any) -> None:
    """Raise Refusal for a NUL, which execve(2) cannot pass, or an unpaired surrogate, which UTF-8 cannot encode."""
    left = [value]
    while left:
        found = left.pop()
        if isinstance(found, list):
            left += found
        elif isinstance(found, dict):
            left += [*found, *found.values()]
        elif isinstance(found, str) and ("\0" in found or not _is_unicode(found)):
            raise Refusal(
                "invalid",
                f"{field}: the text has a character that cannot be passed to a program.",
                field=field,
                hint="Remove NUL bytes and unpaired UTF-16 surrogates, or put the text into a file.",
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def json_type(value: Any) -> str:
    """Return the JSON type of a value as words for a message."""
    names = {
        type(None): "null",
        bool: "true or false",
        dict: "an object",
        list: "a list",
        str: "text",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "binary data")
