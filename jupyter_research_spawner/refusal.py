"""Why not: the one exception that a person is meant to read.  It is a value until the edge shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


# Not frozen: Python itself writes __traceback__ into an exception that is raised.
@dataclass(unsafe_hash=True)
class Refusal(Exception):
    """A sentence for the person who asked, with the field at fault and a way out.

    `status` is the HTTP status it becomes: 400 (the request is wrong), 403 (not yours), 409 (conflicts with what
    exists), 503 (something is down; `retry_after` in seconds).  A refusal never counts as a failed spawn.
    """

    code: str
    message: str
    field: str | None = None
    hint: str = ""
    status: int = 400
    retry_after: int | None = None

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def as_dict(self) -> dict[str, Any]:
        """The JSON object that REST callers get under the key `error`."""
        return {
            "code": self.code,
            "field": self.field,
            "message": self.message,
            "hint": self.hint,
            "status": self.status,
            "retry_after": self.retry_after,
        }
