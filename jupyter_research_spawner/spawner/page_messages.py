"""Keeps what a button on the hub's pages did, until the next page shows it to the same user."""

from __future__ import annotations

from typing import Any

_ATTRIBUTE = "_research_message"


def keep_message(user: Any, message: str) -> None:
    """Keep the message on the hub's User.  A later message replaces it."""
    setattr(user, _ATTRIBUTE, message)


def take_message(user: Any) -> str:
    """Remove the message that was kept for this user and return it; "" if there is none."""
    kept = str(getattr(user, _ATTRIBUTE, ""))
    if kept:
        setattr(user, _ATTRIBUTE, "")
    return kept
