"""The base class of all settings models, and two types for them: maps by name, and maps of POSIX groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, StrictBool, StringConstraints

# Names in settings become label values and object names, so each must be an RFC 1123 label.
NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
Name = Annotated[str, StringConstraints(pattern=NAME, strict=True)]
# A line of text that pages show to users.
Title = Annotated[str, StringConstraints(min_length=1, max_length=120)]
Groups = dict[str, StrictBool]

# The tags of pydantic's unions for a setting that can be text or a map.
TEXT_TAG, MAP_TAG = "text", "map"

T = TypeVar("T")
ByName = dict[Name, T]


class Settings(BaseModel):
    """The base class of settings models: unknown keys are errors, and a model cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class SeveralProblems(ValueError):
    """Mistakes that a validator of a model finds, each with its path below the model: `mounts.climate.path`.

    A path that is empty stands for the whole model.
    """

    def __init__(self, problems: Iterable[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(": ".join(filter(None, problem)) for problem in self.problems))

    @classmethod
    def check(cls, problems: Iterable[tuple[str, str]]) -> None:
        """Raise SeveralProblems if there are any."""
        if found := tuple(problems):
            raise cls(found)


class Ordered(Protocol):
    """A model with the field `order`.  Items are sorted by it."""

    @property
    def order(self) -> int: ...


Item = TypeVar("Item", bound=Ordered)


def ordered(by_name: Mapping[str, Item]) -> list[tuple[str, Item]]:
    """Return the items sorted by `order`, then by name.

    The order in the file has no meaning, because helm sorts the keys of a map.
    """
    return sorted(by_name.items(), key=lambda item: (item[1].order, item[0]))


def open_to(
    groups: Mapping[str, bool],
    mine: Iterable[str],
    classes: Mapping[str, bool] = MappingProxyType({}),
    my_classes: Iterable[str] = (),
) -> bool:
    """Return whether a user in the groups `mine` and the classes `my_classes` may use what these maps restrict.

    Two empty maps allow all users.  Otherwise the maps allow only the groups and the classes with the value true.
    """
    if not groups and not classes:
        return True
    return any(map(groups.get, mine)) or any(map(classes.get, my_classes))
