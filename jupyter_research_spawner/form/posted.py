"""A posted form, or the query of a link, as options.  Whether they may be had is not judged here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OFFER = "offer"
# Fields that belong to one offer are called `queue--profile:small`.
SEPARATOR = "--"
FIELDS = ("profile", "class", "queue", "wall_time", "image")
OF_AN_OFFER = ("queue", "wall_time", "image")


def field_name(field: str, offer: str) -> str:
    return f"{field}{SEPARATOR}{offer}"


def offer_value(kind: str, name: str) -> str:
    """`profile:small` or `class:stats-101`: a class may be called as a profile is."""
    return f"{kind}:{name}"


def chosen_by_form(posted: Mapping[str, Sequence[object]]) -> dict[str, str]:
    """The options that a form's fields mean.  Fields of offers that were not chosen, and empty ones, mean nothing."""
    options = {field: text for field in FIELDS if (text := _first(posted, field))}
    offer = _first(posted, OFFER)
    if not offer:
        return options
    kind, _, name = offer.partition(":")
    options = {"class" if kind == "class" else "profile": name}
    for field in OF_AN_OFFER:
        if text := _first(posted, field_name(field, offer)):
            options[field] = text.strip()
    return options


def chosen_by_link(query: Mapping[str, Sequence[object]]) -> dict[str, str]:
    """JupyterHub 6 takes the `opt-` away, JupyterHub 5 does not.  Whatever else a link carries means nothing."""
    return {field: text for field in FIELDS if (text := _first(query, field) or _first(query, f"opt-{field}"))}


def _first(fields: Mapping[str, Sequence[object]], name: str) -> str:
    values = fields.get(name) or [""]
    return values[0] if isinstance(values[0], str) else ""
