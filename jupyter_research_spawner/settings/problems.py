"""Errors in settings.  They are reported together, each with the path of the setting and the valid values."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ..wording import quote
from .strict import NAME


@dataclass(frozen=True)
class Problem:
    """An error or a piece of advice: the path of a setting, for example `profiles.a100.gpu.kind`, and a message."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class SettingsError(ValueError):
    """The settings of a site are not valid.  The message has one line for each error."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    @classmethod
    def single(cls, path: str, message: str) -> SettingsError:
        """Return an error with one problem."""
        return cls([Problem(path, message)])

    @classmethod
    def of(cls, error: ValidationError, model: type[BaseModel]) -> SettingsError:
        """Return pydantic's errors about `model` as one SettingsError."""
        return cls([_problem(dict(item), model) for item in error.errors(include_url=False)])


def _problem(item: dict[str, Any], model: type[BaseModel]) -> Problem:
    parts, allowed, examples = _walk(model, item["loc"])
    path, kind = ".".join(parts), item["type"]
    if kind == "extra_forbidden":
        return Problem(path, _unknown(parts[-1], allowed))
    if kind == "missing":
        return Problem(path, "is missing")
    if "[key]" in item["loc"]:
        return Problem(path, _bad_key(item.get("ctx", {}).get("pattern")))
    if kind == "string_pattern_mismatch":
        # The value is not repeated, because it may be a secret in the wrong place.
        example = f" Example: {examples[0]!r}." if examples else ""
        return Problem(path, f"has an invalid format.{example} Expected pattern: {item['ctx']['pattern']}")
    message = "must be a boolean (true or false)" if kind in _BOOLEAN else item["msg"].removeprefix("Value error, ")
    # The value may be a secret in the wrong place, so it is shown only if it is a scalar of the wrong type.
    shown = item.get("input")
    if kind.endswith(("_type", "_parsing")) and isinstance(shown, (str, int, float, bool)):
        message = f"{message}, not {quote(shown)}"
    return Problem(path, message)


_BOOLEAN = ("bool_type", "bool_parsing")


def _bad_key(pattern: str | None) -> str:
    if pattern == NAME:
        return "is not a valid name: use 1 to 63 lower-case letters, digits and dashes, for example stats-101"
    return f"is not a valid key here{'. Expected pattern: ' + pattern if pattern else ''}"


def _unknown(name: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(name[:60], allowed, n=1)
    if close:
        return f"there is no such setting. Did you mean {close[0]!r}?"
    keys = f"Allowed keys: {', '.join(sorted(allowed))}" if allowed else "No keys are allowed here"
    return f"there is no such setting. {keys}"


def _walk(model: Any, location: tuple[int | str, ...]) -> tuple[list[str], list[str], list[Any]]:
    """Return the path in the file, the keys that are allowed at its last part, and example values.

    The path leaves out the tags of unions that pydantic's location has, for example `nss` in `sources.local.nss.order`.
    """
    at: list[Any] = [model]
    parts: list[str] = []
    allowed: list[str] = []
    examples: list[Any] = []
    for part in location:
        if part == "[key]":
            continue
        tagged = [option for option in _models(at) if len(_models(at)) > 1 and _kind(option) == part]
        if tagged:
            at = tagged
            continue
        parts.append(str(part))
        allowed = [key for option in _models(at) for key in _fields(option)]
        examples = _examples(at, str(part), examples)
        at = [below for option in at for below in _below(option, part)]
    return parts, allowed, examples


def _examples(at: list[Any], part: str, above: list[Any]) -> list[Any]:
    """Return example values of the field or map key `part`.  For a map key, they are taken from examples of the map."""
    fields = [
        field for option in _models(at) for name, field in option.model_fields.items() if part == (field.alias or name)
    ]
    if fields:
        return [example for field in fields for example in field.examples or []]
    return [value for example in above if isinstance(example, dict) for value in example.values()]


def _models(at: list[Any]) -> list[type[BaseModel]]:
    return [option for option in at if isinstance(option, type) and issubclass(option, BaseModel)]


def _kind(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    return next(iter(get_args(field.annotation)), None) if field else None


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _below(at: Any, part: int | str) -> Iterator[Any]:
    """Yield the types that are allowed at the key `part` of `at`."""
    if isinstance(at, type) and issubclass(at, BaseModel):
        yield from _options(_fields(at).get(str(part)))
    elif get_origin(at) in (dict, list, tuple):
        yield from _options(get_args(at)[-1])


def _options(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _options(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from _options(option)
    elif annotation is not None:
        yield annotation
