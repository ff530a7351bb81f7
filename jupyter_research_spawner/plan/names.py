"""How sentences for users name profiles, queues and classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..shape import NOTEBOOK_KIND
from ..site import Site
from ..wording import format_list, quote
from .model import Request


@dataclass(frozen=True)
class Names:
    """The names of profiles, queues and classes in sentences about one request.

    A person who starts a notebook sees titles.  A person who submits a job writes the names of the settings.
    """

    site: Site
    uses_titles: bool = True

    @classmethod
    def in_request(cls, site: Site, request: Request) -> Names:
        """Return the names for sentences about this request."""
        return cls(site, request.shape.kind == NOTEBOOK_KIND)

    def of(self, field: str, name: str) -> str:
        """Return a profile, queue or class in quotes.  `name` can be one that does not exist.

        field: `profile`, `queue` or `class`.
        """
        return quote(self._title(field, name) if self.uses_titles else name)

    def listed(self, field: str, names: Iterable[str]) -> str:
        """Return the profiles, queues or classes that the user may choose, as a list."""
        return format_list(self.of(field, name) if self.uses_titles else name for name in names)

    def to_write(self, field: str, names: Iterable[str]) -> str:
        """Return the list for a user who has written a name: each name, with its title in brackets if that differs."""
        titles = {name: self._title(field, name) if self.uses_titles else name for name in names}
        return format_list(name if name == title else f"{name} ({title})" for name, title in titles.items())

    def _title(self, field: str, name: str) -> str:
        choices: dict[str, Mapping[str, Any]] = {
            "profile": self.site.profiles,
            "queue": self.site.queues,
            "class": self.site.classes,
        }
        found = choices[field].get(name)
        return (found.title if found is not None else None) or name
