"""Refusal, the exception whose text is shown to users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


# The dataclass is not frozen, because Python sets __traceback__ on an exception that is raised.
@dataclass(unsafe_hash=True)
class Refusal(Exception):
    """The reason why a request is refused, with the invalid field and a hint that says what to do.

    `status` is the HTTP status of the response, for example 400 (invalid request), 403 (not allowed), 409 (conflict
    with an existing object) or 503 (a service is down).  `retry_after` is in seconds.  `heading` is a
    sentence before the message, for which a page can have a heading of its own.  JupyterHub does not count a refusal as
    a failed spawn.
    """

    code: str
    message: str
    field: str | None = None
    hint: str = ""
    status: int = 400
    retry_after: int | None = None
    heading: str = ""

    @property
    def sentences(self) -> str:
        """Return what happened, without the hint."""
        return f"{self.heading} {self.message}".strip()

    @property
    def shown_message(self) -> str:
        """Return the message for a page, without the name of the option at its beginning: pages have labels."""
        return self.message.removeprefix(f"{self.field}: ")

    def __str__(self) -> str:
        return f"{self.sentences} {self.hint}".strip()

    def as_dict(self) -> dict[str, Any]:
        """Return the value of the key `error` in the JSON response to REST clients."""
        return {
            "code": self.code,
            "field": self.field,
            "message": self.sentences,
            "hint": self.hint,
            "status": self.status,
            "retry_after": self.retry_after,
        }
