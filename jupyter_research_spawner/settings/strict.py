"""The base of everything that a site writes, and the two shapes that recur: maps by name, and maps of groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, StrictBool, StringConstraints

# Our names become label values and object names (RFC 1123 label): one rule for all of them.
NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
Name = Annotated[str, StringConstraints(pattern=NAME, strict=True)]
Groups = dict[str, StrictBool]

T = TypeVar("T")
ByName = dict[Name, T]


class Settings(BaseModel):
    """Unknown keys are errors, values are what they look like, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Ordered(Protocol):
    @property
    def order(self) -> int: ...


Item = TypeVar("Item", bound=Ordered)


def ordered(by_name: Mapping[str, Item]) -> list[tuple[str, Item]]:
    """Items by `order`, then by name: helm sorts the keys of a map, so their order in a file means nothing."""
    return sorted(by_name.items(), key=lambda item: (item[1].order, item[0]))


def open_to(groups: Groups, mine: Iterable[str]) -> bool:
    """Whether a person in the groups `mine` may use what is meant for `groups`.

    No key at all means everybody.  Any key: only those that are true, so a map of falses is nobody.
    """
    if not groups:
        return True
    return any(groups.get(group, False) for group in mine)
