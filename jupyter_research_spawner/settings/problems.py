"""Settings that cannot be used: every error at once, each with its path and what would be right."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .strict import NAME


@dataclass(frozen=True)
class Problem:
    """One error: the path in the settings (`profiles.a100.gpu.kind`) and a sentence."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class SettingsError(ValueError):
    """All that is wrong with a site's settings, one line each."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    @classmethod
    def single(cls, path: str, message: str) -> SettingsError:
        return cls([Problem(path, message)])

    @classmethod
    def of(cls, error: ValidationError, model: type[BaseModel]) -> SettingsError:
        """pydantic's errors about a `model` as sentences."""
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
        # The value is not repeated: it may be a secret in the wrong place.
        written = f"Write it as in {examples[0]!r}; it" if examples else "It"
        return Problem(path, f"is not written as it must be. {written} has to match {item['ctx']['pattern']}")
    message = item["msg"].removeprefix("Value error, ")
    # What was written may be a secret in the wrong place, so only what a wrong type was is shown, and only plain ones.
    shown = item.get("input")
    if kind.endswith(("_type", "_parsing")) and isinstance(shown, (str, int, float, bool)):
        message = f"{message}, not {shown!r}"
    return Problem(path, message)


def _bad_key(pattern: str | None) -> str:
    if pattern == NAME:
        return "is no name: use 1 to 63 lower-case letters, digits and dashes, as in stats-101"
    return f"cannot be a key here{': it has to match ' + pattern if pattern else ''}"


def _unknown(name: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    if close:
        return f"there is no such setting. Did you mean {close[0]!r}?"
    here = f"Here may stand: {', '.join(sorted(allowed))}" if allowed else "Here is nothing to set"
    return f"there is no such setting. {here}"


def _walk(model: Any, location: tuple[int | str, ...]) -> tuple[list[str], list[str], list[Any]]:
    """The path as it stands in the file, the keys allowed beside its last part, and examples of what may stand there.

    pydantic puts the tag of a union into the location (`sources.local.nss.order`); the file has none there.
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
    """A field's own examples; below a map or a list, what stands in the examples of that."""
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
    """The types that may stand below `at` at the key `part`."""
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
