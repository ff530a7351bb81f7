"""Make a model of the valid parts of settings that have mistakes, so that other checks can report theirs too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from .problems import options_of

M = TypeVar("M", bound=BaseModel)
_INVALID = object()


def valid_parts(model: type[M], raw: Any) -> M:
    """Return an unchecked instance of the model with the fields of `raw` that are valid, and with default values.

    A field that is missing or not valid does not exist: reading it raises AttributeError.  Maps by name keep all names.
    Use it only to find more mistakes.
    """
    written = raw if isinstance(raw, Mapping) else {}
    values: dict[str, Any] = {}
    invalid = set() if isinstance(raw, Mapping) else set(model.model_fields)
    for name, field in model.model_fields.items():
        key = field.alias or name
        if key not in written:
            continue
        found = _valid(_annotation(field), written[key])
        if found is _INVALID:
            invalid.add(name)
        else:
            values[key] = found
    made = model.model_construct(**values)
    for name in invalid:
        made.__dict__.pop(name, None)
    return made


def _annotation(field: FieldInfo) -> Any:
    annotated: Any = Annotated
    parts = (field.annotation, *field.metadata)
    return annotated[parts] if field.metadata else field.annotation


def _valid(annotation: Any, value: Any) -> Any:
    """Return the value that pydantic validated, or the valid parts of a map, or else _INVALID."""
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError:
        pass
    if not isinstance(value, Mapping):
        return _INVALID
    for option in options_of(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return valid_parts(option, value)
        for model in _models_by_name(option):
            return {name: valid_parts(model, item) for name, item in value.items()}
    return _INVALID


def _models_by_name(annotation: Any) -> Iterator[type[BaseModel]]:
    if get_origin(annotation) is dict:
        for option in options_of(get_args(annotation)[-1]):
            if isinstance(option, type) and issubclass(option, BaseModel):
                yield option
