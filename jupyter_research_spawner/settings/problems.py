"""Errors in settings.  They are reported together, each with the path of the setting and the valid values."""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ..wording import flow_yaml, format_list, quote, shorten
from .ambiguous_scalars import may_be_secret
from .places import Place, Places
from .strict import MAP_TAG, NAME, SeveralProblems

# A path can have keys of any length, which are not valid.
LONGEST_PATH = 300

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Problem:
    """An error or a piece of advice: the path of a setting, for example `profiles.a100.gpu.kind`, and a message.

    `place` is the line where the setting is written, if it is from a file.
    """

    path: str
    message: str
    place: Place | None = field(default=None, compare=False)
    of_key: bool = field(default=False, compare=False)
    # Advice among errors, which come first.
    is_advice: bool = False

    def __str__(self) -> str:
        place, advice = "" if self.place is None else str(self.place), "advice" if self.is_advice else ""
        parts = (place, shorten(self.path, LONGEST_PATH), advice, self.message)
        return ": ".join(part for part in parts if part)

    def located(self, places: Places) -> Problem:
        """Return the problem with its place, if it has none and `places` knows it."""
        if self.place is not None or self.path.startswith("c."):  # the hub's configuration is not in these files
            return self
        return replace(self, place=places.find(self.path, of_key=self.of_key))


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems in the order of files and lines: those without a place last, and advice after errors."""

    def order(problem: Problem) -> tuple[bool, bool, str, int]:
        place = problem.place or Place("")
        return problem.is_advice, problem.place is None, place.file, place.line or 0

    return sorted(problems, key=order)


class SettingsError(ValueError):
    """The settings of a site are not valid.  The message has one line for each error, in the order of the files."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def single(cls, path: str, message: str) -> SettingsError:
        """Return an error with one problem."""
        return cls([Problem(path, message)])

    @classmethod
    def of(cls, error: ValidationError, model: type[BaseModel], places: Places | None = None) -> SettingsError:
        """Return pydantic's errors about `model` as one SettingsError."""
        return cls(problems_of(error, model, places or Places()))

    def located(self, places: Places) -> SettingsError:
        """Return the error with the place of each problem that has none and whose place is known."""
        return SettingsError([problem.located(places) for problem in self.problems])


def collect(items: Iterable[Item], read: Callable[[Item], Result]) -> list[Result]:
    """Return what `read` returns for each item.  Raises SettingsError with the problems of all items."""
    problems: list[Problem] = []

    def tried() -> Iterator[Result]:
        for item in items:
            with _into(problems):
                yield read(item)

    found = list(tried())
    if problems:
        raise SettingsError(problems)
    return found


@contextmanager
def _into(problems: list[Problem]) -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        problems += error.problems


@contextmanager
def located(*places: Places) -> Iterator[None]:
    """Add the place to each problem of a SettingsError that has none, from those places that know most of its path."""
    try:
        yield
    except SettingsError as error:
        found = [problem.located(max(places, key=lambda one: one.known(problem.path))) for problem in error.problems]
        raise SettingsError(found) from None


def problems_of(error: ValidationError, model: type[BaseModel], places: Places) -> list[Problem]:
    """Return pydantic's errors about `model`, with the places of the settings that are in files."""
    items = (dict(item) for item in error.errors(include_url=False))
    return [problem.located(places) for item in items for problem in _problems(item, model, places)]


def _problems(item: dict[str, Any], model: type[BaseModel], places: Places) -> Iterator[Problem]:
    problem = _problem(item, model, places)
    several = item.get("ctx", {}).get("error")
    if isinstance(several, SeveralProblems):
        for path, message in several.problems:
            yield Problem(".".join(filter(None, (problem.path, path))), message)
    else:
        yield problem


def _problem(item: dict[str, Any], model: type[BaseModel], places: Places) -> Problem:
    parts, allowed, examples, at = _walk(model, item["loc"])
    path, kind = ".".join(parts), item["type"]
    if kind == "extra_forbidden":
        return Problem(path, _unknown(parts[-1], allowed), of_key=True)
    if kind == "missing":
        return Problem(path, "is missing")
    if "[key]" in item["loc"]:
        return Problem(path, _bad_key(item.get("ctx", {}).get("pattern")), of_key=True)
    if kind == "string_pattern_mismatch":
        # The value is not repeated, because it may be a secret in the wrong place.
        example = f" Example: {quote(examples[0])}." if examples else ""
        return Problem(path, f"has an invalid format.{example} Expected pattern: {item['ctx']['pattern']}")
    value = item.get("input")
    if kind in _EXPECTED:
        return Problem(
            path, f"must be {_EXPECTED[kind]}{_example(kind, examples, at)}{_not(path, kind, value, places)}"
        )
    if kind in _LENGTHS:
        return Problem(path, _bad_length(value, item["ctx"]))
    message = item["msg"].removeprefix("Value error, ").replace("Input should be ", "must be ", 1)
    return Problem(path, message.replace("Dictionary should ", "The map should ", 1))


# What pydantic expects (docs.pydantic.dev, Validation Errors), in the words of YAML.
_TEXT, _NUMBER, _MAP = "text", "a whole number", "a map (key: value)"
_EXPECTED = {
    "bool_type": "a boolean (true or false)",
    "bool_parsing": "a boolean (true or false)",
    "string_type": _TEXT,
    "path_type": _TEXT,
    "int_type": _NUMBER,
    "int_parsing": _NUMBER,
    "int_from_float": _NUMBER,
    "float_type": "a number",
    "float_parsing": "a number",
    "dict_type": _MAP,
    "model_type": _MAP,
    "model_attributes_type": _MAP,
    "list_type": "a list",
    "tuple_type": "a list",
}


_LENGTHS = ("string_too_long", "string_too_short", "too_long", "too_short")


def _bad_length(value: Any, limits: Mapping[str, Any]) -> str:
    most = limits.get("max_length")
    limit = limits["min_length"] if most is None else most
    one, several = ("character", "characters") if isinstance(value, str) else ("entry", "entries")
    found = f", not {len(value)}" if hasattr(value, "__len__") else ""
    return f"must have at {'least' if most is None else 'most'} {limit} {one if limit == 1 else several}{found}"


def _example(kind: str, examples: list[Any], at: list[Any]) -> str:
    """Return an example of the form that is expected, if the path is a map or a list, else ""."""
    if _EXPECTED[kind] not in (_MAP, "a list"):
        return ""
    if examples:
        return f", for example {flow_yaml(examples[0])}"
    required = [name for model in _models(at) for name, field in model.model_fields.items() if field.is_required()]
    if required:
        return f" with {format_list(required)}"
    return " with a name for each entry" if any(_is_by_name(option) for option in at) else ""


def _is_by_name(option: Any) -> bool:
    arguments = get_args(option)
    return get_origin(option) is dict and any(_models(list(options_of(arguments[-1]))))


def _not(path: str, kind: str, value: Any, places: Places) -> str:
    """Return the end of a message: the value that is invalid, or only its kind if it may be a secret."""
    if value is None or isinstance(value, (Mapping, list, tuple)):
        return f", not {kind_of(value)}"
    if may_be_secret(path) or not isinstance(value, (str, int, float, date)):
        return f", not {kind_of(value)}{'. Quote it' if _EXPECTED[kind] == _TEXT else ''}"
    # For example 3.10, which YAML reads as 3.1.
    written = shorten(places.written(path) or flow_yaml(value))
    if _EXPECTED[kind] != _TEXT:
        return f", not {quote(value) if isinstance(value, str) else written}"
    return f', but {written} is {kind_of(value)}. Quote it: "{written}"'


def kind_of(value: Any) -> str:
    """Return the kind of a value in the words of YAML: `a map`, `a list`, `null`, `a date`."""
    if value is None:
        return "null"
    kinds = ((Mapping, "a map"), ((list, tuple), "a list"), (str, "text"), (bool, "a boolean"), (date, "a date"))
    return next((word for kind, word in kinds if isinstance(value, kind)), "a number")


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


def _walk(model: Any, location: tuple[int | str, ...]) -> tuple[list[str], list[str], list[Any], list[Any]]:
    """Return the path in the file, the keys that are allowed at its last part, example values and allowed types.

    The path leaves out the tags of unions that pydantic's location has, for example `nss` in `sources.local.nss.order`,
    and MAP_TAG or TEXT_TAG for a setting that can be text or a map.
    """
    at: list[Any] = [model]
    parts: list[str] = []
    allowed: list[str] = []
    examples: list[Any] = []
    for part in location:
        if part == "[key]":
            continue
        models = _models(at)
        if str in at and models:
            at = models if part == MAP_TAG else [str]
            continue
        tagged = [option for option in models if len(models) > 1 and _kind(option) == part]
        if tagged:
            at = tagged
            continue
        parts.append(str(part))
        allowed = [key for option in _models(at) for key in _fields(option)]
        examples = _examples(at, str(part), examples)
        at = [below for option in at for below in _below(option, part)]
    return parts, allowed, examples, at


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
        yield from options_of(_fields(at).get(str(part)))
    elif get_origin(at) in (dict, list, tuple):
        yield from options_of(get_args(at)[-1])


def options_of(annotation: Any) -> Iterator[Any]:
    """Yield the types of a union, or the type itself, without annotations."""
    if get_origin(annotation) is Annotated:
        yield from options_of(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from options_of(option)
    elif annotation is not None:
        yield annotation
