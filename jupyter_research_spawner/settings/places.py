"""The file and the line of each path of the settings, so that a message can name them.

The settings are plain maps, lists and scalars.  Their places are in a separate table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Place:
    """A line of a file, or a whole file."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Spot:
    """Where a key of a file and its value are.  `written` is the text of a scalar without quotes, else None.

    Settings that are not from a file have no place.
    """

    key: Place | None = None
    value: Place | None = None
    written: str | None = None


Spots = Mapping[str, Spot]


@dataclass(frozen=True)
class Places:
    """The files and lines of merged settings, by paths such as `profiles.a100.cpu`; empty without files."""

    # In the order in which they are merged: the last file that has a path has the value that is used.
    files: tuple[Spots, ...] = ()
    # The paths of keys that `like` has copied, and the paths from which it copied them.
    copied: Mapping[str, str] = field(default_factory=dict)

    def find(self, path: str, *, of_key: bool = False) -> Place | None:
        """Return where the value, or with `of_key` the key, of `path` is written.

        If the path is not in the files, for example because a key is missing, return the place of the map that would
        contain it.
        """
        for part in _from_longest(path):
            if (spot := self._own(part)) is not None:
                return spot.value if part == path and not of_key else spot.key
            if (origin := self.copied.get(part)) is not None:
                return self.find(origin + path[len(part) :], of_key=of_key)
        return None

    def origin(self, path: str) -> str | None:
        """Return the path from which `like` has copied the value at `path`, or None."""
        for part in _from_longest(path):
            if (origin := self.copied.get(part)) is not None:
                return origin + path[len(part) :]
        return None

    def known(self, path: str) -> int:
        """Return the length of the longest part of the path, from its beginning, that is in the files."""
        for part in _from_longest(path):
            if part in self.copied or self._own(part) is not None:
                return len(part)
        return -1

    def written(self, path: str) -> str | None:
        """Return the text of the scalar at `path` if it is written without quotes."""
        for part in _from_longest(path):
            if part != path and self._own(part) is not None:
                return None
            if (spot := self._own(part)) is not None:
                return spot.written
            if (origin := self.copied.get(part)) is not None:
                return self.written(origin + path[len(part) :])
        return None

    def _own(self, path: str) -> Spot | None:
        return next((spots[path] for spots in reversed(self.files) if path in spots), None)


def without_places(value: Any, path: str = "") -> dict[str, Spot]:
    """Return spots without a place for a map that is not from a file, for the paths of the map and all below it."""
    below = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return {
        path: Spot(),
        **{at: spot for key, item in below for at, spot in without_places(item, join(path, key)).items()},
    }


# An item of a list, as paths of PodSpecs have it.
_INDEX = re.compile(r"\[([0-9]+)\]")


def _from_longest(path: str) -> Iterator[str]:
    """Yield the path, and then each path above it.  The last one is "", the whole file."""
    path = _INDEX.sub(r".\1", path)
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def join(path: str, key: object) -> str:
    """Return the path of `key` in the map or list at `path`."""
    return f"{path}.{key}" if path else str(key)
